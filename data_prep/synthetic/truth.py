"""Command that counts how many captions of a generated dataset are exactly true."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path


def main(name: str, description: str, truth: Callable[[list[dict], str, int], dict[str, tuple[int, int]]]) -> int:
    """Runs `python -m data_prep.synthetic.NAME` and returns its exit status.

    Args:
      name: name of the dataset.
      description: one line for --help.
      truth: function of predictions in COCO's results format, language and seed that returns {kind of message: (true
        captions, captions)}; it raises ValueError for predictions of another dataset.
    """
    parser = argparse.ArgumentParser(prog=f"python -m data_prep.synthetic.{name}", description=description)
    parser.add_argument("predictions", type=Path, help=f"predictions.json of a run on {name}")
    parser.add_argument("--lang", default="en", help="language of the captions (default: en)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the dataset (default: 0)")
    args = parser.parse_args()
    try:
        kinds = truth(json.loads(args.predictions.read_text()), args.lang, args.seed)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"python -m data_prep.synthetic.{name}: {args.predictions}: {error}", file=sys.stderr)
        return 1
    true, total = (sum(counts) for counts in zip(*kinds.values(), strict=True))
    by_kind = ", ".join(f"{kind} {right} of {count}" for kind, (right, count) in kinds.items())
    print(f"exactly true: {true} of {total} captions, {100 * true / total:.0f} % ({by_kind})")
    return 0
