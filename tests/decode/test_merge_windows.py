"""Merging the events of overlapping windows."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from capjax.data.windows import WindowSettings, split_into_windows
from capjax.decode.merge_windows import WindowEvents, merge_windows
from capjax.decode.results import Event


def event(start: float, end: float, text: str = "x", score: float = 0.5) -> Event:
    return Event(start, end, text, score)


def by_time(event: Event):
    return event.start, event.end


def seen_in(windows, events) -> list[WindowEvents]:
    """What a model without fault finds in each window: what is to be seen there of each event, if half a second or more
    of it is."""
    windows_with_events = []
    for start, end in windows:
        inside = [replace(e, start=max(e.start, start), end=min(e.end, end)) for e in events]
        windows_with_events.append(WindowEvents(start, end, [e for e in inside if e.end - e.start >= 0.5]))
    return windows_with_events


times = st.tuples(st.integers(0, 900), st.integers(10, 300)).map(lambda t: (t[0] / 10, min((t[0] + t[1]) / 10, 100.0)))


@settings(max_examples=300, deadline=None)
@given(time=times, length=st.floats(10, 60), overlap=st.floats(3, 5))
def test_an_event_that_windows_cut_comes_back_whole(time, length, overlap):
    whole = event(*time)
    windows = split_into_windows(0.0, 100.0, length, overlap)
    (merged,) = merge_windows(seen_in(windows, [whole])[::-1])
    # What reaches into a window by less than a model can see there is lost to it.
    assert abs(merged.start - whole.start) < 0.5
    assert abs(merged.end - whole.end) < 0.5
    assert (merged.text, merged.score) == (whole.text, whole.score)


@settings(max_examples=300, deadline=None)
@given(events=st.lists(times, max_size=8), data=st.data())
def test_of_one_window_everything_stays_as_it_is(events, data):
    events = [event(*time, data.draw(st.sampled_from("ab"))) for time in events]
    assert merge_windows([WindowEvents(0.0, 100.0, events)]) == sorted(events, key=by_time)
    assert merge_windows([]) == []


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(st.lists(times, max_size=4), min_size=1, max_size=5))
def test_events_that_share_no_moment_are_never_made_one(parts):
    # Each window's events keep to a part of the video that no other window's events are in.
    windows = [
        WindowEvents(10.0 * i, 10.0 * i + 12.0, [event(10 * i + 10 * a / 100, 10 * i + 10 * b / 100) for a, b in part])
        for i, part in enumerate(parts)
    ]
    events = [e for window in windows for e in window.events]
    assert sorted(merge_windows(windows), key=by_time) == sorted(events, key=by_time)


def test_an_event_in_the_overlap_is_told_once_with_the_better_seen_edges():
    (merged,) = merge_windows(
        [WindowEvents(0, 60, [event(56, 58)]), WindowEvents(55, 115, [event(56.2, 58.4, score=0.9)])]
    )
    assert merged == event(56, 58.4, score=0.9)


def test_a_short_event_inside_a_long_one_is_not_taken_for_it():
    long, short = event(40, 90, "long"), event(56, 58, "short")
    assert merge_windows(seen_in([(0, 60), (55, 115)], [long, short])) == [long, short]


def test_what_happens_at_the_same_time_is_told_apart_by_its_text():
    pair = [event(50, 70, "a"), event(50, 70, "b")]
    windows = seen_in([(0, 60), (55, 115)], pair)
    windows[1] = windows[1]._replace(events=windows[1].events[::-1])
    assert sorted(merge_windows(windows), key=lambda e: e.text) == pair


def test_the_text_is_of_the_window_that_saw_more_of_the_event():
    windows = [
        WindowEvents(0, 60, [event(58, 60, "it moves")]),
        WindowEvents(55, 115, [event(58, 80, "it moves left", 0.8)]),
    ]
    assert merge_windows(windows) == [event(58, 80, "it moves left", 0.8)]
    windows = [
        WindowEvents(0, 60, [event(20, 60, "it moves left")]),
        WindowEvents(55, 115, [event(55, 61, "it moves")]),
    ]
    assert merge_windows(windows) == [event(20, 61, "it moves left")]


def test_an_event_longer_than_a_window_is_one():
    (merged,) = merge_windows(seen_in(split_into_windows(0.0, 100.0, 20.0, 5.0), [event(7, 93)]))
    assert merged == event(7, 93)


def test_a_video_far_longer_than_what_training_saw_is_cut_as_long_as_that():
    assert WindowSettings(512.0, 5.0).split(500.0) == [(0.0, 500.0)]
    assert WindowSettings(512.0, 5.0, longest=20.0).split(29.0) == [(0.0, 29.0)], "a little longer does no harm"
    windows = WindowSettings(512.0, 5.0, longest=20.0).split(35.0)
    assert windows == [(0.0, 20.0), (15.0, 35.0)]
    assert WindowSettings(60.0, 10.0, longest=60.0).split(110.0) == [(0.0, 60.0), (50.0, 110.0)], "as training cut it"
    assert WindowSettings(60.0, 10.0, longest=20.0).override(40.0, None).split(50.0) == [(0.0, 40.0), (10.0, 50.0)]
