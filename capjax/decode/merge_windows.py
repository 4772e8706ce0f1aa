"""Merges the events of a video's overlapping windows into one list."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from capjax.decode.results import Event
from capjax.metrics.temporal import match_events, tiou_matrix

# Least tIoU of two events of different windows, within the time that both windows cover, to be one event.
MIN_TIOU = 0.5


class WindowEvents(NamedTuple):
    """A window of a video, in seconds, and the events found in it, with seconds from the start of the video."""

    start: float
    end: float
    events: Sequence[Event]


class _TrackedEvent(NamedTuple):
    """An event, and the seconds covered by the windows that it was found in."""

    event: Event
    start: float
    end: float


def merge_windows(windows: Sequence[WindowEvents]) -> list[Event]:
    """Returns the events of a video in order of start.

    Overlapping windows each find the events of their overlap, and cut an event that reaches beyond them at their edge.
    Of two such events the earlier window has the better start and the later window the better end; the merged event
    takes these. Its text and score are those of the longer of the two, which covers more of the event.
    """
    merged: list[_TrackedEvent] = []
    for window in sorted(windows, key=lambda window: (window.start, window.end)):
        events = [_TrackedEvent(event, window.start, window.end) for event in window.events]
        # Only events of different windows can be duplicates.
        duplicates = list(zip(*_match(merged, events, window), strict=True))
        for i, k in duplicates:
            events[k] = _combine(merged[i], events[k])
        replaced = {i for i, _ in duplicates}
        merged = [tracked for i, tracked in enumerate(merged) if i not in replaced] + events
    return sorted((tracked.event for tracked in merged), key=lambda event: (event.start, event.end))


def _match(
    earlier: Sequence[_TrackedEvent], events: Sequence[_TrackedEvent], window: WindowEvents
) -> tuple[Int[np.ndarray, " duplicates"], Int[np.ndarray, " duplicates"]]:
    """One-to-one matching of earlier events with the same events of a window: indices of both."""
    tiou = np.zeros((len(earlier), len(events)))
    same_text = np.zeros_like(tiou)
    times = np.asarray([(tracked.event.start, tracked.event.end) for tracked in events]).reshape(-1, 2)
    for i, tracked in enumerate(earlier):
        shared = max(tracked.start, window.start), min(tracked.end, window.end)
        same_text[i] = [tracked.event.text == other.event.text for other in events]
        if shared[0] < shared[1]:
            interval = np.clip([tracked.event.start, tracked.event.end], *shared)
            tiou[i] = tiou_matrix(interval, np.clip(times, *shared))[0]
    # Events at the same time are told apart by their texts.
    return match_events(np.where(tiou >= MIN_TIOU, tiou + same_text, 0.0))


def _combine(earlier: _TrackedEvent, later: _TrackedEvent) -> _TrackedEvent:
    longer = max(later.event, earlier.event, key=lambda event: event.end - event.start)
    event = replace(longer, start=earlier.event.start, end=later.event.end)
    return _TrackedEvent(event, earlier.start, max(earlier.end, later.end))
