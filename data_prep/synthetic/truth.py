"""The command that tells how many captions of a drawn dataset are exactly true."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path


def main(name: str, what: str, truth: Callable[[list[dict], str, int], dict[str, tuple[int, int]]]) -> int:
    """Runs `python -m data_prep.NAME`, and gives its exit status.

    Args:
      what: what is told, in a line.
      truth: predictions in COCO's results form, language, seed -> {kind of message: (true captions, captions)}; a
        ValueError says what is wrong with them.
    """
    parser = argparse.ArgumentParser(prog=f"python -m data_prep.{name}", description=what)
    parser.add_argument("predictions", type=Path, help=f"predictions.json of a run on {name}")
    parser.add_argument("--lang", default="en", help="language of the captions (default: en)")
    parser.add_argument("--seed", type=int, default=0, help="of the dataset (default: 0)")
    args = parser.parse_args()
    try:
        kinds = truth(json.loads(args.predictions.read_text()), args.lang, args.seed)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"python -m data_prep.{name}: {args.predictions}: {error}", file=sys.stderr)
        return 1
    true, total = (sum(counts) for counts in zip(*kinds.values(), strict=True))
    told = ", ".join(f"{kind} {right} of {count}" for kind, (right, count) in kinds.items())
    print(f"exactly true: {true} of {total} captions, {100 * true / total:.0f} % ({told})")
    return 0
