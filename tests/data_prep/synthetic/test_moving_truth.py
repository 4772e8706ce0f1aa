"""The share of exactly true captions, of whole moving videos and of their events."""

import pytest

from data_prep.synthetic.moving.__main__ import truth
from data_prep.synthetic.moving.grammar import captions, events
from data_prep.synthetic.moving.scene import make_moving_scene


def rows_of_events(indices, seed=0):
    rows = []
    for index in indices:
        scene = make_moving_scene(seed, index)
        for event, (text,) in zip(scene.events, events(scene, "en", 1), strict=True):
            rows.append({"image_id": f"moving-{index:07}@{event.start:.2f}-{event.end:.2f}", "caption": text})
    return rows


def test_captions_of_whole_videos_are_true_of_them():
    rows = [{"image_id": f"moving-{i:07}", "caption": captions(make_moving_scene(0, i), "en", 1)[0]} for i in range(20)]
    assert sum(right for right, _ in truth(rows, "en", 0).values()) == 20


def test_captions_of_events_are_true_of_their_own_event_by_its_kind():
    rows = rows_of_events(range(20))
    counts = truth(rows, "en", 0)
    assert all(right == total for right, total in counts.values())
    assert sum(total for _, total in counts.values()) == len(rows)
    assert set(counts) <= {"move", "bounce", "shrink", "grow", "turn", "appear", "leave", "color"}


def test_the_caption_of_another_event_is_false():
    rows = rows_of_events(range(20))
    swapped = [{**row, "caption": other["caption"]} for row, other in zip(rows, rows[1:] + rows[:1], strict=True)]
    assert sum(right for right, _ in truth(swapped, "en", 0).values()) < 0.2 * len(rows)


@pytest.mark.parametrize("id", ["shapes-0000001", "moving-0000001@", "moving-0000001@x-y"])
def test_an_id_of_something_else_is_an_error_that_names_it(id):
    with pytest.raises(ValueError, match=id):
        truth([{"image_id": id, "caption": "x"}], "en", 0)


def test_an_event_that_the_scene_does_not_have_is_an_error_that_asks_for_the_seed():
    with pytest.raises(ValueError, match="--seed"):
        truth([{"image_id": "moving-0000001@0.00-0.11", "caption": "x"}], "en", 0)
