"""Counts how many captions of the `shapes` dataset are exactly true.

python -m data_prep.synthetic.shapes runs/demo/model/predictions.json
"""

import re
import sys
from collections import Counter

from data_prep.synthetic.shapes.grammar import is_true
from data_prep.synthetic.shapes.scene import make_scene
from data_prep.synthetic.truth import main as command


def truth(predictions: list[dict], lang: str, seed: int) -> dict[str, tuple[int, int]]:
    """{kind of message: (true captions, captions)} for predictions in COCO's results format.

    Raises:
      ValueError: there are no predictions, or an id is not of a shapes dataset.
    """
    if not predictions:
        raise ValueError("there are no predictions")
    true: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for row in predictions:
        match = re.fullmatch(r"shapes-(\d+)", str(row["image_id"]))
        if match is None:
            raise ValueError(f"{row['image_id']!r} is not an id of a shapes dataset, such as 'shapes-0000018'")
        scene = make_scene(seed, int(match[1]))
        total[scene.message.kind] += 1
        true[scene.message.kind] += is_true(scene, lang, row["caption"])
    return {kind: (true[kind], total[kind]) for kind in sorted(total)}


def main() -> int:
    return command("shapes", __doc__.splitlines()[0], truth)


if __name__ == "__main__":
    sys.exit(main())
