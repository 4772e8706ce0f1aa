"""Which parts of a video become records, and what is said of each.

whole     the item as the annotation has it; too long for one record: in windows
events    every event by itself, its sentences as the record's captions
windows   parts of equal length that overlap, with the events that lie in them
shots     from one cut of the picture to the next, with the events that lie in them
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from capjax.data.photo import MediaError
from capjax.data.record import Caption
from capjax.data.video import EPSILON
from data_prep.readers.item import Item, Problem

CUTS = ("whole", "events", "windows", "shots")


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """How videos are cut.

    Attributes:
      cut: one of CUTS.
      window: seconds of a window; 0: as long as a record may be.
      overlap: seconds that a window shares with the next.
      max_frames: of a record. A longer item is cut into windows whatever `cut` says.
      min_shot: seconds; a cut sooner after the one before is none.
    """

    cut: str = "whole"
    window: float = 0.0
    overlap: float = 5.0
    max_frames: int = 1024
    min_shot: float = 1.0

    def __post_init__(self):
        if self.cut not in CUTS:
            raise ValueError(f"cut {self.cut!r}: expected {', '.join(CUTS)}")
        if self.window < 0 or self.overlap < 0 or (self.window and self.overlap >= self.window):
            raise ValueError(f"windows of {self.window} s that share {self.overlap} s: the share should be smaller")
        if self.max_frames < 1:
            raise ValueError(f"max_frames = {self.max_frames} should be 1 or more")


@dataclass(frozen=True, slots=True)
class Clip:
    """A part of a video that becomes a record.

    Attributes:
      id: of the record; video: the id of the item it is a part of, empty if it is all of it.
      start, end: seconds in the file.
      offset: seconds in the item at which it begins.
      captions: with times from the part's start.
    """

    id: str
    video: str
    start: float
    end: float
    offset: float
    captions: tuple[Caption, ...]


def bounds(item: Item, duration: float) -> tuple[float, float]:
    """(start, end) of an item in seconds of its file, which lasts `duration`.

    Raises:
      MediaError: the item's clip lies beyond the end of the file.
    """
    start, end = item.clip or (0.0, duration)
    end = min(end, duration)
    if end - start < EPSILON:
        raise MediaError("beyond_end", f"the clip {item.clip} s lies beyond the end of the file, at {duration:.2f} s")
    return start, end


def fit_events(item: Item, duration: float) -> tuple[Item, list[Problem]]:
    """The item with its events as its file has room for them: what ends later ends with it, and what begins later is
    left out and told of.

    Raises:
      MediaError: as `bounds`.
    """
    start, end = bounds(item, duration)
    length, captions, problems = end - start, [], []
    for caption in item.captions:
        if caption.start is not None and caption.start > length - EPSILON:
            message = f"the event begins at {caption.start:g} s, and {item.name or item.id} ends at {length:.2f} s"
            problems.append(Problem("beyond_end", message, item.where, item.id, costs="caption"))
        elif caption.end is not None and caption.end > length:
            captions.append(replace(caption, end=length))
        else:
            captions.append(caption)
    return replace(item, captions=tuple(captions)), problems


def make_clips(item: Item, settings: ClipSettings, fps: float, duration: float, cuts: Sequence[float]) -> list[Clip]:
    """The parts of an item, by start.

    Args:
      item: with events as `fit_events` leaves them.
      duration: seconds of the file; cuts: where its picture changes, for `shots`.

    Raises:
      MediaError: as `bounds`.
    """
    start, end = bounds(item, duration)
    if settings.cut == "events":
        return list(_events(item, start))
    longest = settings.max_frames / fps
    if settings.cut == "shots":
        inner = [cut for cut in cuts if start + EPSILON < cut < end - EPSILON]
        spans = list(zip([start, *inner], [*inner, end], strict=True))
        spans = [part for span in spans for part in _windows(*span, longest, 0.0)]
    elif settings.cut == "windows" and settings.window:
        spans = _windows(start, end, min(settings.window, longest), settings.overlap)
    else:
        spans = _windows(start, end, longest, min(settings.overlap, longest / 2))
    if len(spans) == 1:
        return [Clip(item.id, "", start, end, 0.0, item.captions)] if item.captions else []
    return [clip for span in spans if (clip := _part(item, *span, start)).captions]


def _windows(start: float, end: float, length: float, overlap: float) -> list[tuple[float, float]]:
    """Equal parts of at most `length` seconds that share `overlap`."""
    if end - start <= length + EPSILON:
        return [(start, end)]
    count = math.ceil((end - start - overlap) / (length - overlap) - EPSILON)
    starts = np.linspace(start, end - length, count)
    return [(float(first), float(first + length)) for first in starts]


def _part(item: Item, start: float, end: float, zero: float) -> Clip:
    """A window with the events of which half lies in it, or that fill half of it. They keep their true times, also
    where these lie outside: so that all windows together know the events as they are."""
    captions = []
    for caption in item.captions:
        if caption.start is None:
            continue  # it is true of the whole, not of any part
        first, last = caption.start + zero, caption.end + zero
        if 2 * (min(last, end) - max(first, start)) >= min(last - first, end - start) - EPSILON:
            captions.append(replace(caption, start=first - start, end=last - start))
    return Clip(_name(item.id, start - zero, end - zero), item.id, start, end, start - zero, tuple(captions))


def _events(item: Item, start: float) -> Iterator[Clip]:
    events: dict[tuple[float, float], list[Caption]] = {}
    for caption in item.captions:
        if caption.start is not None:
            events.setdefault((caption.start, caption.end), []).append(caption)
    for (first, last), captions in sorted(events.items()):
        told = tuple(Caption(caption.text, caption.lang) for caption in captions)
        yield Clip(_name(item.id, first, last), item.id, start + first, start + last, first, told)


def _name(id: str, start: float, end: float) -> str:
    return f"{id}@{start:.2f}-{end:.2f}"


class ShotDetector:
    """Finds cuts: frames that differ from the one before far more than frames thereabouts do.

    A frame is looked at as 32 x 18 points of brightness and 32 of each colour difference. The picture has changed where
    the mean difference is above `threshold` (of 255) and above three times the mean of the frames around it.
    """

    def __init__(self, min_shot: float, threshold: float = 15.0):
        self._min_shot, self._threshold = min_shot, threshold
        self._before: np.ndarray | None = None
        self._times: list[float] = []
        self._changes: list[float] = []

    def add(self, time: float, frame):
        """The next av.VideoFrame."""
        small = np.concatenate([_thumbnail(plane) for plane in frame.reformat(64, 36, "yuv420p").planes])
        if self._before is not None:
            self._times.append(time)
            self._changes.append(float(np.abs(small - self._before).mean()))
        self._before = small

    def cuts(self) -> list[float]:
        """Seconds at which a new shot begins; not the start of the video."""
        changes, found = np.asarray(self._changes), []
        for i, (time, change) in enumerate(zip(self._times, changes, strict=True)):
            if change < self._threshold:
                continue
            around = np.concatenate([changes[max(i - 8, 0) : i], changes[i + 1 : i + 9]])
            if len(around) and change < 3 * around.mean():
                continue
            if time - (found[-1] if found else 0.0) >= self._min_shot:
                found.append(time)
        return found


def _thumbnail(plane) -> np.ndarray:
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
    return rows.astype(np.int16).ravel()
