"""Which parts of a video become records."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capjax.data.photo import MediaError
from capjax.data.record import RecordCaption
from data_prep.clips import CUTS, ClipSettings, fit_events, make_clips
from data_prep.readers.item import Item

ALL = RecordCaption("all of it")


def item(captions=(ALL,), clip=None) -> Item:
    return Item("v", "v.mp4", "train", tuple(captions), clip=clip, video=True)


def event(start: float, end: float, text: str = "an event", **more) -> RecordCaption:
    return RecordCaption(text, "en", start, end, "event", **more)


def test_a_whole_video_is_one_record_with_all_that_is_said_of_it():
    captions = (RecordCaption("all of it"), event(1, 2))
    (clip,) = make_clips(item(captions), ClipSettings(), 2.0, 10.0, ())
    assert (clip.id, clip.video, clip.start, clip.end, clip.captions) == ("v", "", 0.0, 10.0, captions)


def test_an_item_that_is_a_part_of_its_file_begins_there():
    (clip,) = make_clips(item(clip=(3.0, 8.0)), ClipSettings(), 2.0, 7.5, ())
    assert (clip.start, clip.end, clip.offset) == (3.0, 7.5, 0.0)


def test_a_part_beyond_the_end_of_the_file_is_told():
    with pytest.raises(MediaError, match="beyond the end of the file, at 7.50 s"):
        make_clips(item(clip=(8.0, 9.0)), ClipSettings(), 2.0, 7.5, ())


def test_each_event_becomes_a_record_with_the_sentences_of_all_who_saw_it():
    captions = (event(1, 3, "a"), RecordCaption("all"), event(1, 3, "b", set=1), event(2, 99, "late"))
    fitting, _ = fit_events(item(captions, clip=(10.0, 20.0)), 50.0)
    clips = make_clips(fitting, ClipSettings("events"), 2.0, 50.0, ())
    assert [(clip.start, clip.end, [c.text for c in clip.captions]) for clip in clips] == [
        (11.0, 13.0, ["a", "b"]), (12.0, 20.0, ["late"]),
    ]  # fmt: skip
    assert {(c.start, c.kind) for clip in clips for c in clip.captions} == {(None, "caption")}
    assert [clip.id for clip in clips] == ["v@1.00-3.00", "v@2.00-10.00"]
    assert {clip.video for clip in clips} == {"v"}


def test_an_event_ends_with_the_video_at_the_latest():
    captions = (event(1, 12), event(3, math.inf, "open"), event(2, 5), RecordCaption("all"))
    fitting, problems = fit_events(item(captions), 10.0)
    assert not problems
    assert [(c.start, c.end) for c in fitting.captions] == [(1, 10.0), (3, 10.0), (2, 5), (None, None)]


def test_an_event_after_the_end_of_the_video_is_told_and_left_out():
    fitting, (problem,) = fit_events(item((event(1, 2), event(8, 9, "late")), clip=(5.0, 99.0)), 12.0)
    assert [c.text for c in fitting.captions] == ["an event"]
    assert (problem.kind, problem.costs, problem.id) == ("beyond_end", "caption", "v")
    assert "starts at 8 s, and v ends at 7.00 s" in problem.message


def test_a_video_all_of_whose_events_come_after_its_end_gives_nothing():
    fitting, problems = fit_events(item((event(20, 21),)), 10.0)
    assert len(problems) == 1
    for cut in CUTS:
        assert make_clips(fitting, ClipSettings(cut), 2.0, 10.0, ()) == []


@settings(max_examples=200, deadline=None)
@given(
    duration=st.floats(1, 5000),
    window=st.floats(1, 300),
    share=st.floats(0, 0.9),
    events=st.lists(st.tuples(st.floats(0, 1), st.floats(0.001, 1)), max_size=12),
)
def test_windows_cover_all_and_every_event_is_in_one_with_its_true_times(duration, window, share, events):
    times = [(a * duration, min(a * duration + b * duration, duration)) for a, b in events]
    captions = [event(a, b, f"{a} {b}") for a, b in times if b - a > 1e-3]
    settings = ClipSettings("windows", window, share * window, max_frames=10**6)
    full = [RecordCaption("x", start=0.0, end=duration)]  # in every window
    clips = make_clips(item(captions + full), settings, 2.0, duration, ())
    assert clips[0].start == 0
    assert clips[-1].end == pytest.approx(duration)
    for one, following in zip(clips, clips[1:], strict=False):
        assert one.end - one.start == pytest.approx(min(window, duration))
        assert one.end - following.start >= share * window - 1e-3
    events_of_windows = {
        (c.text, round(c.start + clip.offset, 3), round(c.end + clip.offset, 3))
        for clip in clips
        for c in clip.captions
    }
    wanted = {(c.text, round(c.start, 3), round(c.end, 3)) for c in captions + full}
    near = sorted(events_of_windows), sorted(wanted)
    assert len(near[0]) == len(near[1])
    for a, b in zip(*near, strict=True):
        assert a[0] == b[0]
        assert np.allclose(a[1:], b[1:], atol=2e-3)


def test_no_record_has_more_frames_than_allowed():
    captions = (event(5, 20), event(70, 99))
    clips = make_clips(item(captions), ClipSettings(max_frames=60), 2.0, 100.0, ())
    assert all(round((clip.end - clip.start) * 2) <= 60 for clip in clips)
    assert len(clips) >= 2
    assert {c.text for clip in clips for c in clip.captions} == {"an event"}


def test_no_event_has_more_frames_than_allowed_either():
    clips = make_clips(
        item((event(5, 65, "long"), event(7, 9, "short"))), ClipSettings("events", max_frames=60), 2.0, 99.0, ()
    )
    assert [(clip.start, clip.end, clip.captions[0].text) for clip in clips] == [
        (5.0, 35.0, "long"), (35.0, 65.0, "long"), (7.0, 9.0, "short"),
    ]  # fmt: skip


def test_events_that_are_nearly_the_same_have_ids_of_their_own():
    clips = make_clips(item((event(1.001, 3.002), event(1.004, 3.003))), ClipSettings("events"), 2.0, 9.0, ())
    assert [clip.id for clip in clips] == ["v@1.00-3.00", "v@1.004-3.003"]


def test_events_that_end_with_the_file_are_one():
    fitting, _ = fit_events(item((event(1, 30, "a"), event(1, 40, "b"))), 9.0)
    (clip,) = make_clips(fitting, ClipSettings("events"), 2.0, 9.0, ())
    assert (clip.id, clip.end, [c.text for c in clip.captions]) == ("v@1.00-9.00", 9.0, ["a", "b"])


def test_windows_longer_than_a_record_may_be_share_at_most_half():
    settings = ClipSettings("windows", window=10.0, overlap=5.0, max_frames=8)  # 4 s
    clips = make_clips(item((event(0, 20),)), settings, 2.0, 20.0, ())
    assert [(clip.start, clip.end) for clip in clips] == [(2.0 * k, 2.0 * k + 4) for k in range(9)]


def test_shots_go_from_cut_to_cut():
    captions = (event(0, 4.1, "one"), event(4, 9, "two"))
    clips = make_clips(item(captions), ClipSettings("shots"), 2.0, 9.0, [4.0])
    assert [(clip.start, clip.end, [c.text for c in clip.captions]) for clip in clips] == [
        (0.0, 4.0, ["one"]), (4.0, 9.0, ["two"]),
    ]  # fmt: skip


@pytest.mark.parametrize("bad", [{"cut": "scenes"}, {"window": 5, "overlap": 5}, {"overlap": -1}, {"max_frames": 0}])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ValueError):
        ClipSettings(**bad)


def test_windows_that_may_not_be_as_long_as_asked_share_less():
    settings = ClipSettings("windows", window=60.0, overlap=5.0, max_frames=8)
    assert settings.windows(2.0) == (4.0, 2.0)
    captions = [event(i, i + 1) for i in range(10)]
    clips = make_clips(item(captions), settings, 2.0, 10.0, ())
    assert [(clip.start, clip.end) for clip in clips] == [(0, 4), (2, 6), (4, 8), (6, 10)]
