"""Items of videos with events, shared by the readers of dense captioning datasets."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from capjax.data.record import RecordCaption
from capjax.metrics.json_types import Rule, type_mismatch
from data_prep.readers.files import at
from data_prep.readers.item import Item, ItemStream, Problem, make_caption, without_problems
from data_prep.readers.values import is_number
from data_prep.readers.videos import Videos

_Duration = Annotated[
    float, Rule("a number of seconds above 0", lambda value: value == math.inf or (is_number(value) and value > 0))
]


@dataclass(frozen=True, slots=True)
class EventSet:
    """The annotation of a video by one person.

    Attributes:
      rows: (times, sentence), unchecked; a tuple of times that ends at infinity means the end of the video.
      where: location of the annotation in its file.
      duration: duration of the video in seconds, unchecked; infinity if the file does not have it.
      set: number of the annotation set.
    """

    rows: Sequence[tuple[Any, object]]
    where: str
    duration: Any = math.inf
    set: int = 0


def event_captions(events: EventSet, id: str, lang: str) -> Iterator[RecordCaption | Problem]:
    """Yields the captions of a set in order. An event that ends after the video is cut at its end; one that starts
    after the video is a Problem."""
    end_of_video = float(events.duration)
    for number, (times, sentence) in enumerate(events.rows):
        where = f"{events.where}[{number}]"
        open_end = isinstance(times, tuple) and times[1] == math.inf
        checked = (times[0], times[0] + 1) if open_end else times
        caption = make_caption(sentence, lang, where, id, times=() if checked is None else checked, set=events.set)
        if isinstance(caption, Problem) or caption.start is None or caption.end is None:
            yield caption
        elif caption.start >= end_of_video:
            message = f"the event begins at {caption.start:g} s, and the video ends at {end_of_video:g} s"
            yield Problem("beyond_end", message, where, id, costs="caption")
        else:
            yield replace(caption, end=min(math.inf if open_end else caption.end, end_of_video))


def event_item(
    id: str, names: Sequence[str], split: str, sets: Iterable[EventSet], videos: Videos, lang: str
) -> ItemStream:
    """Yields the item of a video and its Problems.

    Args:
      names: possible names of the video file, without extension.
    """
    sets = list(sets)
    where = at(sets[0].where)
    for events in sets:
        if message := type_mismatch(events.duration, _Duration, "duration"):
            yield Problem("malformed", message, events.where, id, "video", split)
            return
    media = videos.find(id, names, where, split)
    if isinstance(media, Problem):
        yield media  # its sentences are lost with it and are not counted
        return
    captions = yield from without_problems(caption for events in sets for caption in event_captions(events, id, lang))
    yield Item(id, media, split, tuple(captions), where=where, name=id, video=True)
