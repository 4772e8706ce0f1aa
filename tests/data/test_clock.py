"""Joining of clocks: by FFmpeg's rule where it has one, and otherwise whatever an intact stream cannot have."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from capjax.data.clock import PacketTimes, offsets_as_ffmpeg, offsets_of_parts

FRAME = 0.04


def packets(pts, *, dts=None, key=None, stream=None, length=None) -> PacketTimes:
    pts = np.asarray(pts, float)
    return PacketTimes(
        stream=np.zeros(len(pts), np.int64) if stream is None else np.asarray(stream),
        pts=pts,
        dts=pts if dts is None else np.asarray(dts, float),
        length=np.full(len(pts), FRAME) if length is None else np.asarray(length, float),
        key=np.ones(len(pts), bool) if key is None else np.asarray(key, bool),
    )


def clip(seconds: float, start: float = 0.0) -> np.ndarray:
    return start + FRAME * np.arange(round(seconds / FRAME))


def corrected(times: PacketTimes, declared_end: float = 0.0) -> np.ndarray:
    return times.pts + offsets_of_parts(times, FRAME, declared_end, lambda: np.zeros(0))


@given(st.lists(st.tuples(st.floats(0.5, 30), st.floats(-1e5, 1e5)), min_size=1, max_size=5))
def test_parts_of_any_clocks_follow_one_another_by_the_rule_of_ffmpeg(parts):
    """Each clock starts again far from the end of the part before it."""
    times, end = [], 0.0
    for seconds, start in parts:
        times.append(clip(seconds, start))
        if len(times) > 1 and -0.1 - FRAME <= times[-1][0] - times[-2][-1] <= 10.1:
            return  # as one clock that goes on
    joined = np.concatenate(times)
    out = joined + offsets_as_ffmpeg(packets(joined), 0, FRAME)
    end = FRAME * (len(joined) - 1)
    np.testing.assert_allclose(out - out[0], np.linspace(0, end, len(joined)), atol=1e-6)


def test_sound_that_restarts_first_takes_the_picture_along():
    """Audio and video packets alternate; the part restarts with a packet of sound."""
    video, audio = clip(2), clip(2)
    part = np.stack([audio, video], 1).ravel()
    stream = np.tile([1, 0], len(part))
    times = np.concatenate([part, part])
    out = times + offsets_as_ffmpeg(packets(times, stream=stream), 0, FRAME)
    np.testing.assert_allclose(out[stream == 0], FRAME * np.arange(2 * len(video)), atol=1e-6)


@given(st.lists(st.integers(1, 500), min_size=3, max_size=60), st.integers(0, 3), st.integers(1, 12))
def test_an_intact_stream_is_left_alone(gaps, depth, group):
    """Closed groups with frames out of order, at any rate, with steps up to ten seconds."""
    display = np.cumsum(gaps) / 50
    order = []
    for start in range(0, len(display), group):
        inner = list(range(start + 1, min(start + group, len(display))))
        order.append(start)
        for place in range(0, len(inner), depth + 1):
            run = inner[place : place + depth + 1]
            order += [run[-1], *run[:-1]]
    times = packets(display[order], dts=display - 1, key=np.isin(order, range(0, len(display), group)))
    assert not offsets_of_parts(times, FRAME, 0.0, lambda: np.zeros(0)).any()


def test_a_part_whose_key_frame_is_displayed_before_earlier_frames_follows_them():
    times = np.concatenate([clip(4), clip(3), clip(2, start=1.0)])
    np.testing.assert_allclose(corrected(packets(times)), FRAME * np.arange(len(times)), atol=1e-9)


def test_a_jump_is_taken_out_only_if_nothing_declares_it():
    times = np.concatenate([clip(2), clip(2, start=5000.0)])
    steady = FRAME * np.arange(len(times))
    np.testing.assert_allclose(corrected(packets(times)), steady, atol=1e-9)
    # The header says that the file is as long.
    np.testing.assert_allclose(corrected(packets(times), declared_end=5002.0), times)
    # The frame before the jump lasts as long.
    length = np.full(len(times), FRAME)
    length[49] = 4998.04
    np.testing.assert_allclose(corrected(packets(times, length=length)), times)
    # Sound plays on meanwhile.
    sound = np.arange(0, 5002, 1.0)
    np.testing.assert_allclose(times + offsets_of_parts(packets(times), FRAME, 0.0, lambda: sound), times)


def test_timestamps_that_jump_and_return_are_damaged_and_no_clock_of_their_own():
    for wrong in (9000.0, 0.0):
        times = clip(4)
        times[50:52] = wrong
        out = corrected(packets(times, key=np.arange(100) % 50 == 0))
        assert np.isnan(out[50:52]).all()
        assert not np.isnan(np.delete(out, [50, 51])).any()
        np.testing.assert_allclose(np.delete(out, [50, 51]), np.delete(times, [50, 51]))


def test_unknown_times_are_left_to_the_decoder():
    times = packets([0.0, math.nan, 0.0, 5.0])
    assert not offsets_of_parts(times, FRAME, 0.0, lambda: np.zeros(0)).any()
