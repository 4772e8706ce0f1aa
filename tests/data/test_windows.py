"""Windows over the frames of a video."""

from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from capjax.data.windows import frames_by_window, sample_times


class Frame(NamedTuple):
    indices: range


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=8),
)
def test_each_window_has_the_frames_displayed_at_its_times(lengths, spans):
    stops = np.cumsum(lengths)
    frames = [Frame(range(stop - length, stop)) for stop, length in zip(stops.tolist(), lengths, strict=True)]
    windows = [np.arange(start, start + length) for start, length in sorted(spans)]
    expected = [[frame for frame in frames if set(frame.indices) & set(window.tolist())] for window in windows]
    assert list(frames_by_window(iter(frames), windows)) == expected


def test_frames_are_taken_only_as_windows_need_them():
    taken = []
    frames = (taken.append(i) or Frame(range(i, i + 1)) for i in range(100))
    windows = frames_by_window(frames, [np.arange(0, 3), np.arange(2, 6), np.arange(50, 52)])
    counts = [(len(next(windows)), len(taken)) for _ in range(3)]
    assert counts == [(3, 3), (4, 6), (2, 52)]


def test_windows_that_overlap_by_whole_frames_share_sample_times():
    first, second = sample_times(0.0, 10.0, 3.0), sample_times(7.0, 17.0, 3.0)
    assert set(second[:9]) <= set(first)
