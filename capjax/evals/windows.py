"""Events of overlapping windows to events of the whole video."""

from collections.abc import Sequence
from typing import NamedTuple

from capjax.evals.generate import Event

# Two events of neighbouring windows are one if they share so much of the shorter.
SAME = 0.5


class Window(NamedTuple):
    """A part of a video, in seconds, and the events found there, with seconds of the video."""

    start: float
    end: float
    events: Sequence[Event]


def merge(windows: Sequence[Window]) -> list[Event]:
    """The events of a video, in order of start.

    Where windows overlap, each finds the events that lie there. Of two that are the same, that one stays which lies
    farther from the edge of its window, beyond which its window saw nothing; where both reach an edge, in one of them
    the event was cut, and the event is from the start of the one to the end of the other.
    """
    windows = sorted(windows, key=lambda window: (window.start, window.end))
    first, last = windows[0].start, max(window.end for window in windows)
    merged: list[tuple[Event, Window]] = []
    for window in windows:
        # Events of this window are not each other's doubles, only those of the windows before.
        before, kept = list(merged), []
        for event in window.events:
            double = next((k for k, (other, _) in enumerate(before) if _shared(event, other) >= SAME), None)
            if double is None:
                kept.append((event, window))
                continue
            other, whose = before.pop(double)
            merged.remove((other, whose))
            kept.append(_one(other, whose, event, window, first, last))
        merged += kept
    return sorted((event for event, _ in merged), key=lambda event: (event.start, event.end))


def _shared(a: Event, b: Event) -> float:
    """Seconds that both cover, as a share of the shorter."""
    shorter = min(a.end - a.start, b.end - b.start)
    return max(0.0, min(a.end, b.end) - max(a.start, b.start)) / shorter if shorter > 0 else 0.0


def _one(a: Event, of_a: Window, b: Event, of_b: Window, first: float, last: float) -> tuple[Event, Window]:
    room_a, room_b = _room(a, of_a, first, last), _room(b, of_b, first, last)
    best, whose, room = (a, of_a, room_a) if room_a >= room_b else (b, of_b, room_b)
    if room > 0.05 * (best.end - best.start):
        return best, whose
    return best._replace(start=min(a.start, b.start), end=max(a.end, b.end)), whose


def _room(event: Event, window: Window, first: float, last: float) -> float:
    """Seconds from the event to the nearer edge of its window, but for the edges that are the video's own."""
    before = event.start - window.start if window.start > first else float("inf")
    after = window.end - event.end if window.end < last else float("inf")
    return min(before, after)
