"""How many captions of drawn videos are exactly true.

python -m data_prep.moving runs/moving/predictions.json --lang en
"""

import argparse
import json
import re
import sys
from collections import Counter
from pathlib import Path

from data_prep.moving.grammar import is_true
from data_prep.moving.scene import make_moving_scene


def truth(predictions: list[dict], lang: str, seed: int) -> dict[str, tuple[int, int]]:
    """{kind of message: (true captions, captions)}, for predictions in COCO's results form.

    Raises:
      ValueError: no predictions, or an id that is none of a moving dataset.
    """
    if not predictions:
        raise ValueError("there are no predictions")
    true, total = Counter(), Counter()
    for row in predictions:
        match = re.fullmatch(r"moving-(\d+)", str(row["image_id"]))
        if match is None:
            raise ValueError(f"{row['image_id']!r} is no id of a whole moving video, such as 'moving-0000018'")
        scene = make_moving_scene(seed, int(match[1]))
        total[scene.message] += 1
        true[scene.message] += is_true(scene, lang, row["caption"])
    return {kind: (true[kind], total[kind]) for kind in sorted(total)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m data_prep.moving", description=__doc__.splitlines()[0])
    parser.add_argument("predictions", type=Path, help="predictions.json of a run on whole moving videos")
    parser.add_argument("--lang", default="en", help="language of the captions (default: en)")
    parser.add_argument("--seed", type=int, default=0, help="of the dataset (default: 0)")
    args = parser.parse_args()
    try:
        kinds = truth(json.loads(args.predictions.read_text()), args.lang, args.seed)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"python -m data_prep.moving: {args.predictions}: {error}", file=sys.stderr)
        return 1
    true, total = (sum(counts) for counts in zip(*kinds.values(), strict=True))
    told = ", ".join(f"{kind} {right} of {count}" for kind, (right, count) in kinds.items())
    print(f"exactly true: {true} of {total} captions, {100 * true / total:.0f} % ({told})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
