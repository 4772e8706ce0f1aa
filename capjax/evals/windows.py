"""Events of overlapping windows to events of the whole video."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from capjax.evals.generate import Event
from capjax.metrics.temporal import match_events, tiou_matrix

# Two events of neighboring windows are one if, of the time that both windows saw, they cover the same: at this tIoU.
SAME = 0.5


class Window(NamedTuple):
    """A part of a video, in seconds, and the events found there, with seconds of the video."""

    start: float
    end: float
    events: Sequence[Event]


class _Found(NamedTuple):
    """An event, and the seconds that the windows saw in which it was found."""

    event: Event
    start: float
    end: float


def merge(windows: Sequence[Window]) -> list[Event]:
    """The events of a video, in order of start.

    Where windows overlap, each finds the events that lie there, and an event that reaches beyond a window is cut at its
    edge. Of two that are the same the earlier window saw the start better, and the later one the end; so the event is
    from the start of the one to the end of the other. The text and the score are those of the longer of the two, which
    is what more of the event was seen for.
    """
    merged: list[_Found] = []
    for window in sorted(windows, key=lambda window: (window.start, window.end)):
        events = [_Found(event, window.start, window.end) for event in window.events]
        # Events of one window are not each other's doubles, only those of the windows before.
        for i, k in zip(*_doubles(merged, events, window), strict=True):
            events[k] = _one(merged[i], events[k])
            merged[i] = None
        merged = [found for found in merged if found] + events
    return sorted((found.event for found in merged), key=lambda event: (event.start, event.end))


def _doubles(before: Sequence[_Found], events: Sequence[_Found], window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Which of the events before are the same as which of a window: indices of both, one to one."""
    tiou = np.zeros((len(before), len(events)))
    times = np.asarray([found.event[:2] for found in events]).reshape(-1, 2)
    for i, found in enumerate(before):
        both = max(found.start, window.start), min(found.end, window.end)
        if both[0] < both[1]:
            tiou[i] = tiou_matrix(np.clip(found.event[:2], *both), np.clip(times, *both))[0]
    said = [[a.event.text == b.event.text for b in events] for a in before]
    # What happens at the same time is told apart by what is said of it.
    return match_events(np.where(tiou >= SAME, tiou + np.asarray(said).reshape(tiou.shape), 0.0))


def _one(a: _Found, b: _Found) -> _Found:
    best = max(b.event, a.event, key=lambda event: event.end - event.start)
    return _Found(best._replace(start=a.event.start, end=b.event.end), a.start, max(a.end, b.end))
