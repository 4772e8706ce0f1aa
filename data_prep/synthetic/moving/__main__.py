"""Counts how many captions of the `moving` dataset are exactly true.

python -m data_prep.synthetic.moving runs/moving/predictions.json --lang en
"""

import re
import sys
from functools import partial

from data_prep.synthetic import truth as command
from data_prep.synthetic.moving.grammar import is_true, is_true_of
from data_prep.synthetic.moving.scene import MovingEvent, MovingScene, make_moving_scene

_ID = re.compile(r"moving-(\d+)(?:@(\d+\.?\d*)-(\d+\.?\d*))?")
_TOLERANCE = 0.05  # seconds; times are rounded in ids, and every event is longer


def _event_at(scene: MovingScene, start: float, end: float, id: str) -> MovingEvent:
    for event in scene.events:
        if abs(event.start - start) < _TOLERANCE and abs(event.end - end) < _TOLERANCE:
            return event
    raise ValueError(f"{id!r}: the scene has no event from {start:g} to {end:g} s; is --seed that of the dataset?")


def judge(id: str, caption: str, lang: str, seed: int) -> tuple[str, bool]:
    """Returns the kind of the scene's message, and whether the caption is true of it; the kind of the event for a clip
    of a single event (`--clips events`).

    Raises:
      ValueError: the id is not of a moving dataset.
    """
    match = _ID.fullmatch(id)
    if match is None:
        raise ValueError(
            f"{id!r} is not an id of a moving video, such as 'moving-0000018', or of an event, as "
            "'moving-0000018@0.52-3.10'"
        )
    scene = make_moving_scene(seed, int(match[1]))
    if match[2] is None:
        return scene.message, is_true(scene, lang, caption)
    event = _event_at(scene, float(match[2]), float(match[3]), id)
    return event.kind, is_true_of(event, lang, caption)


truth = partial(command.count_true, judge)
main = partial(command.main, "moving", judge)

if __name__ == "__main__":
    sys.exit(main())
