"""The estimate of training time on a CPU."""

import pytest

from capjax.train.cost import duration, measure_flop_rate


@pytest.mark.parametrize(
    ("seconds", "text"), [(90, "2 minutes"), (3600 * 1.5, "90 minutes"), (3600 * 30, "30 hours"), (86400 * 9, "9 days")]
)
def test_durations_are_in_their_largest_unit(seconds, text):
    assert duration(seconds) == text


def test_the_measured_rate_is_that_of_a_processor():
    assert 1e7 < measure_flop_rate() < 1e13
