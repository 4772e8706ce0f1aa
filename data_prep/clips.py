"""Divides videos into the parts that become records.

whole     the item as annotated; in windows if it is too long for one record
events    each event, with its sentences as the captions of the record
windows   overlapping parts of equal length, with the events in them
shots     the parts between two cuts of the picture, with the events in them
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from capjax.data.photo import MediaError
from capjax.data.record import RecordCaption
from capjax.data.video import EPSILON
from capjax.data.windows import split_into_windows
from data_prep.readers.item import Item, Problem

CUTS = ("whole", "events", "windows", "shots")


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """Settings for dividing videos into records.

    Attributes:
      cut: one of CUTS.
      window: length of a window in seconds; 0: the longest possible record.
      overlap: overlap of two consecutive windows in seconds.
      max_frames: largest number of frames of a record. A longer item, event or shot is divided into windows, whatever
        `cut` is.
      min_shot: shortest shot in seconds; an earlier cut is ignored.
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
            raise ValueError(
                f"windows of {self.window} s overlap by {self.overlap} s; the overlap should be smaller than the window"
            )
        if self.max_frames < 1:
            raise ValueError(f"max_frames = {self.max_frames} should be 1 or more")

    def windows(self, fps: float) -> tuple[float, float]:
        """Length of the longest record, and overlap of the windows of a longer item, both in seconds."""
        longest = self.max_frames / fps
        if self.cut == "windows" and self.overlap < longest:
            return min(self.window or longest, longest), self.overlap
        return longest, min(self.overlap, longest / 2)


@dataclass(frozen=True, slots=True)
class Clip:
    """A part of a video that becomes a record.

    Attributes:
      id: id of the record.
      video: id of the item that it is a part of; empty if it is the whole item.
      start, end: seconds in the file.
      offset: start of the part in the item, in seconds.
      captions: captions with times relative to the part's start.
    """

    id: str
    video: str
    start: float
    end: float
    offset: float
    captions: tuple[RecordCaption, ...]


def bounds(item: Item, duration: float) -> tuple[float, float]:
    """(start, end) of an item, in seconds of its file, whose length is `duration`.

    Raises:
      MediaError: the item's clip is beyond the end of the file.
    """
    start, end = item.clip or (0.0, duration)
    end = min(end, duration)
    if end - start < EPSILON:
        raise MediaError("beyond_end", f"the clip {item.clip} s is beyond the end of the file, at {duration:.2f} s")
    return start, end


def fit_events(item: Item, duration: float) -> tuple[Item, list[Problem]]:
    """Fits the events of an item to the length of its file: an event that ends later is cut at the end; one that starts
    later is left out and reported.

    Raises:
      MediaError: as `bounds`.
    """
    start, end = bounds(item, duration)
    length, captions, problems = end - start, [], []
    for caption in item.captions:
        if caption.start is not None and caption.start > length - EPSILON:
            message = f"the event starts at {caption.start:g} s, and {item.name or item.id} ends at {length:.2f} s"
            problems.append(Problem("beyond_end", message, item.where, item.id, costs="caption"))
        elif caption.end is not None and caption.end > length:
            captions.append(replace(caption, end=length))
        else:
            captions.append(caption)
    return replace(item, captions=tuple(captions)), problems


def make_clips(item: Item, settings: ClipSettings, fps: float, duration: float, cuts: Sequence[float]) -> list[Clip]:
    """The parts of an item, by start.

    Args:
      item: an item with events from `fit_events`.
      settings: how videos are divided.
      fps: frames per second of records.
      duration: length of the file in seconds.
      cuts: times of the cuts in seconds, for `shots`.

    Raises:
      MediaError: as `bounds`.
    """
    start, end = bounds(item, duration)
    if settings.cut == "events":
        return list(_events(item, start, settings.max_frames / fps))
    length, overlap = settings.windows(fps)
    if settings.cut == "shots":
        inner = [cut for cut in cuts if start + EPSILON < cut < end - EPSILON]
        shots = zip([start, *inner], [*inner, end], strict=True)
        spans = [part for shot in shots for part in split_into_windows(*shot, length, 0.0)]
    else:
        spans = split_into_windows(start, end, length, overlap)
    if len(spans) == 1:
        return [Clip(item.id, "", start, end, 0.0, item.captions)] if item.captions else []
    return [clip for span in spans if (clip := _part(item, *span, start)).captions]


def _part(item: Item, start: float, end: float, zero: float) -> Clip:
    """A window with the events of which at least half is in it, or that fill half of it. Events keep their true times,
    also
    outside the window, so that all windows together have the complete events."""
    captions = []
    for caption in item.captions:
        if caption.start is None or caption.end is None:
            continue  # it describes the whole, not a part
        first, last = caption.start + zero, caption.end + zero
        if 2 * (min(last, end) - max(first, start)) >= min(last - first, end - start) - EPSILON:
            captions.append(replace(caption, start=first - start, end=last - start))
    return Clip(_name(item.id, start - zero, end - zero), item.id, start, end, start - zero, tuple(captions))


def _events(item: Item, start: float, longest: float) -> Iterator[Clip]:
    events: dict[tuple[float, float], list[RecordCaption]] = {}
    for caption in item.captions:
        if caption.start is not None and caption.end is not None:
            events.setdefault((caption.start, caption.end), []).append(caption)
    names: set[str] = set()
    for (first, last), captions in sorted(events.items()):
        texts = tuple(RecordCaption(caption.text, caption.lang) for caption in captions)
        for begin, end in split_into_windows(first, last, longest, 0.0):
            name = _name(item.id, begin, end)
            name = name if name not in names else f"{item.id}@{begin!r}-{end!r}"
            names.add(name)
            yield Clip(name, item.id, start + begin, start + end, begin, texts)


def _name(id: str, start: float, end: float) -> str:
    return f"{id}@{start:.2f}-{end:.2f}"
