"""Counts how many captions of the `shapes` dataset are exactly true.

python -m data_prep.synthetic.shapes runs/demo/model/predictions.json
"""

import re
import sys
from functools import partial

from data_prep.synthetic import truth as command
from data_prep.synthetic.shapes.grammar import is_true
from data_prep.synthetic.shapes.scene import make_scene


def judge(id: str, caption: str, lang: str, seed: int) -> tuple[str, bool]:
    """Returns the kind of the scene's message, and whether the caption is true of it.

    Raises:
      ValueError: the id is not of a shapes dataset.
    """
    match = re.fullmatch(r"shapes-(\d+)", id)
    if match is None:
        raise ValueError(f"{id!r} is not an id of a shapes dataset, such as 'shapes-0000018'")
    scene = make_scene(seed, int(match[1]))
    return scene.message.kind, is_true(scene, lang, caption)


truth = partial(command.count_true, judge)
main = partial(command.main, "shapes", judge)

if __name__ == "__main__":
    sys.exit(main())
