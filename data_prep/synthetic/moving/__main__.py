"""Counts how many captions of the `moving` dataset are exactly true.

python -m data_prep.synthetic.moving runs/moving/predictions.json --lang en
"""

import re
import sys
from collections import Counter

from data_prep.synthetic.moving.grammar import is_true, is_true_of
from data_prep.synthetic.moving.scene import MovingEvent, MovingScene, make_moving_scene
from data_prep.synthetic.truth import main as command

_ID = re.compile(r"moving-(\d+)(?:@(\d+\.?\d*)-(\d+\.?\d*))?")
_TOLERANCE = 0.05  # seconds; times are rounded in ids, and every event is longer


def _event_at(scene: MovingScene, start: float, end: float, id: str) -> MovingEvent:
    for event in scene.events:
        if abs(event.start - start) < _TOLERANCE and abs(event.end - end) < _TOLERANCE:
            return event
    raise ValueError(f"{id!r}: the scene has no event from {start:g} to {end:g} s; is --seed that of the dataset?")


def truth(predictions: list[dict], lang: str, seed: int) -> dict[str, tuple[int, int]]:
    """{kind of message: (true captions, captions)} for predictions in COCO's results format; for clips of single events
    (`--clips events`) {kind of event: ...}.

    Raises:
      ValueError: there are no predictions, or an id is not of a moving dataset.
    """
    if not predictions:
        raise ValueError("there are no predictions")
    true: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for row in predictions:
        match = _ID.fullmatch(str(row["image_id"]))
        if match is None:
            raise ValueError(
                f"{row['image_id']!r} is not an id of a moving video, such as 'moving-0000018', or of an event, as "
                "'moving-0000018@0.52-3.10'"
            )
        scene = make_moving_scene(seed, int(match[1]))
        if match[2] is None:
            kind, right = scene.message, is_true(scene, lang, row["caption"])
        else:
            event = _event_at(scene, float(match[2]), float(match[3]), row["image_id"])
            kind, right = event.kind, is_true_of(event, lang, row["caption"])
        total[kind] += 1
        true[kind] += right
    return {kind: (true[kind], total[kind]) for kind in sorted(total)}


def main() -> int:
    return command("moving", __doc__.splitlines()[0], truth)


if __name__ == "__main__":
    sys.exit(main())
