"""Videos with events and their times, to items: what the readers of dense captioning datasets share."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from capjax.data.record import RecordCaption
from data_prep.readers.item import Item, ItemStream, Problem, make_caption
from data_prep.readers.videos import Videos


@dataclass(frozen=True, slots=True)
class EventSet:
    """What one person saw in a video.

    Attributes:
      rows: (times, sentence) as the file has them, unchecked; a tuple that ends at infinity: to the end of the video.
      where: their place in it.
      duration: of the video in seconds, as the file has it, unchecked; infinity: it does not say.
      set: the number of the annotation set.
    """

    rows: Sequence[tuple[object, object]]
    where: str
    duration: object = math.inf
    set: int = 0


def event_captions(told: EventSet, id: str, lang: str) -> Iterator[RecordCaption | Problem]:
    """The captions of a set in order. An event that ends after the video ends with it; one that begins after the
    video is a Problem."""
    end_of_video = float(told.duration)
    for number, (times, sentence) in enumerate(told.rows):
        where = f"{told.where}[{number}]"
        open_end = isinstance(times, tuple) and times[1] == math.inf
        checked = (times[0], times[0] + 1) if open_end else times
        caption = make_caption(sentence, lang, where, id, times=() if checked is None else checked, set=told.set)
        if isinstance(caption, RecordCaption) and open_end:
            caption = replace(caption, end=math.inf)
        if isinstance(caption, RecordCaption) and caption.start >= end_of_video:
            message = f"the event begins at {caption.start:g} s, and the video ends at {end_of_video:g} s"
            yield Problem("beyond_end", message, where, id, costs="caption")
        elif isinstance(caption, RecordCaption):
            yield replace(caption, end=min(caption.end, end_of_video))
        else:
            yield caption


def event_item(
    id: str, names: Sequence[str], split: str, sets: Iterable[EventSet], videos: Videos, lang: str
) -> ItemStream:
    """The item of a video, and what is wrong with it.

    Args:
      names: by which its file may be called.
    """
    sets = list(sets)
    where = sets[0].where
    for told in sets:
        if not _is_duration(told.duration):
            message = f"the duration should be a number of seconds above 0, not {told.duration!r:.80}"
            yield Problem("malformed", message, told.where, id, "video", split)
            return
    media = videos.find(id, names, where, split)
    if isinstance(media, Problem):
        yield media  # its sentences are lost with it, and are no faults of their own
        return
    captions = []
    for told in sets:
        for caption in event_captions(told, id, lang):
            if isinstance(caption, Problem):
                yield caption
            else:
                captions.append(caption)
    yield Item(id, media, split, tuple(captions), where=where, name=id, video=True)


def _is_duration(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return float(value) > 0
    except OverflowError:
        return False
