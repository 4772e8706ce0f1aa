"""Command that counts how many captions of a generated dataset are exactly true."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

# (id, caption, language, seed of the dataset) -> (kind of message, whether the caption is true of it)
Judge = Callable[[str, str, str, int], tuple[str, bool]]


def count_true(judge: Judge, predictions: list[dict], lang: str, seed: int) -> dict[str, tuple[int, int]]:
    """{kind of message: (true captions, captions)} for predictions in COCO's results format.

    Raises:
      ValueError: there are no predictions, or an id is not of the dataset.
    """
    if not predictions:
        raise ValueError("there are no predictions")
    true: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for row in predictions:
        kind, is_true = judge(str(row["image_id"]), row["caption"], lang, seed)
        total[kind] += 1
        true[kind] += is_true
    return {kind: (true[kind], total[kind]) for kind in sorted(total)}


def main(name: str, judge: Judge) -> int:
    """Runs `python -m data_prep.synthetic.NAME` and returns its exit status."""
    parser = argparse.ArgumentParser(
        prog=f"python -m data_prep.synthetic.{name}",
        description=f"Counts how many captions of the `{name}` dataset are exactly true.",
    )
    parser.add_argument("predictions", type=Path, help=f"predictions.json of a run on {name}")
    parser.add_argument("--lang", default="en", help="language of the captions (default: en)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the dataset (default: 0)")
    args = parser.parse_args()
    try:
        kinds = count_true(judge, json.loads(args.predictions.read_text()), args.lang, args.seed)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"python -m data_prep.synthetic.{name}: {args.predictions}: {error}", file=sys.stderr)
        return 1
    true, total = (sum(counts) for counts in zip(*kinds.values(), strict=True))
    by_kind = ", ".join(f"{kind} {right} of {count}" for kind, (right, count) in kinds.items())
    print(f"exactly true: {true} of {total} captions, {100 * true / total:.0f} % ({by_kind})")
    return 0
