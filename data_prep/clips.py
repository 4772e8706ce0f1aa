"""Which parts of a video become records, and what is said of each.

whole     the item as the annotation has it; too long for one record: in windows
events    every event by itself, its sentences as the record's captions
windows   parts of equal length that overlap, with the events that lie in them
shots     from one cut of the picture to the next, with the events that lie in them
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
    """How videos are cut.

    Attributes:
      cut: one of CUTS.
      window: seconds of a window; 0: as long as a record may be.
      overlap: seconds that a window shares with the next.
      max_frames: of a record. A longer item, event or shot is cut into windows whatever `cut` says.
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

    def windows(self, fps: float) -> tuple[float, float]:
        """Seconds of the longest record, and what two windows of a longer item share."""
        longest = self.max_frames / fps
        if self.cut == "windows" and self.overlap < longest:
            return min(self.window or longest, longest), self.overlap
        return longest, min(self.overlap, longest / 2)


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
    captions: tuple[RecordCaption, ...]


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
        return list(_events(item, start, settings.max_frames / fps))
    length, overlap = settings.windows(fps)
    if settings.cut == "shots":
        inner = [at for at in cuts if start + EPSILON < at < end - EPSILON]
        shots = zip([start, *inner], [*inner, end], strict=True)
        spans = [part for shot in shots for part in split_into_windows(*shot, length, 0.0)]
    else:
        spans = split_into_windows(start, end, length, overlap)
    if len(spans) == 1:
        return [Clip(item.id, "", start, end, 0.0, item.captions)] if item.captions else []
    return [clip for span in spans if (clip := _part(item, *span, start)).captions]


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


def _events(item: Item, start: float, longest: float) -> Iterator[Clip]:
    events: dict[tuple[float, float], list[RecordCaption]] = {}
    for caption in item.captions:
        if caption.start is not None:
            events.setdefault((caption.start, caption.end), []).append(caption)
    names: set[str] = set()
    for (first, last), captions in sorted(events.items()):
        told = tuple(RecordCaption(caption.text, caption.lang) for caption in captions)
        for one, other in split_into_windows(first, last, longest, 0.0):
            name = _name(item.id, one, other)
            name = name if name not in names else f"{item.id}@{one!r}-{other!r}"
            names.add(name)
            yield Clip(name, item.id, start + one, start + other, one, told)


def _name(id: str, start: float, end: float) -> str:
    return f"{id}@{start:.2f}-{end:.2f}"
