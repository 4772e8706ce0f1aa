"""What happens in a drawn video."""

import time

import pytest

from data_prep.synthetic.moving.scene import make_moving_scene


@pytest.mark.parametrize("index", [2450])  # its first plan has room on no stage
def test_a_plan_that_nobody_can_carry_out_is_given_up(index):
    before = time.monotonic()
    assert make_moving_scene(0, index).events
    assert time.monotonic() - before < 60


def test_a_turn_of_exactly_a_second_is_a_quarter():
    scene = make_moving_scene(0, 3361)  # 1.0 s, as the difference of two floats a little less
    assert any(event.kind == "turn" for event in scene.events)
