"""The output of every reader: Items, and Problems with parts of the input."""

import functools
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from capjax.data.record import Label, RecordCaption, TranscriptSegment
from capjax.metrics.json_types import is_text
from capjax.metrics.languages import canonical
from capjax.metrics.messages import show_value
from data_prep.readers.values import is_number

# Common spellings of the standard splits.
_SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validate": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


class InputError(ValueError):
    """The input as a whole cannot be used. The message says what is wrong, where, and what to do."""


@dataclass(frozen=True, slots=True)
class Item:
    """One photo or clip with its annotations.

    Attributes:
      id: unique within the dataset.
      media: the media file, or a picklable function without arguments that returns the bytes of one (generated data).
      split: `train`, `val` or `test`; empty if the dataset's own split lists leave the item out.
      captions: times are seconds from the start of the clip; an `end` of infinity is the end of the video.
      labels: objects in the photo.
      clip: (start, end) in seconds of the file; None: the whole file.
      transcript: speech with times.
      where: the location in the annotations, such as `captions.txt:17`.
      name: the media's name as the annotations write it, for messages and for joining translations.
      video: whether the item is a video; otherwise it is a photo.
      hashed: whether a hash of the name assigned the split; another annotation of the same file may assign it.
    """

    id: str
    media: Path | Callable[[], bytes]
    split: str
    captions: tuple[RecordCaption, ...]
    labels: tuple[Label, ...] = ()
    clip: tuple[float, float] | None = None
    transcript: tuple[TranscriptSegment, ...] = ()
    where: str = ""
    name: str = ""
    video: bool = False
    hashed: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """A part of the input that is skipped.

    Attributes:
      kind: a short name to count by, such as `empty_caption`.
      message: what is wrong and what was expected.
      where: as in Item.
      id: the item it belongs to, if known.
      costs: what is lost: a `photo` or a `video` with all its captions, or one `caption`; `absent`: a video that the
        annotations name and that is not in the download; `nothing`: the problem was repaired, or costs a label alone.
      split: split of a video that is absent or bad, if known.
    """

    kind: str
    message: str
    where: str
    id: str = ""
    costs: str = "photo"
    split: str = ""


ItemStream = Iterator[Item | Problem]
T = TypeVar("T")


def without_problems(results: Iterable[T | Problem]) -> Generator[Problem, None, list[T]]:
    """Yields the Problems among results; returns the other results."""
    valid: list[T] = []
    for result in results:
        if isinstance(result, Problem):
            yield result
        else:
            valid.append(result)
    return valid


def standard_split(name: object) -> str | None:
    """`train`, `val` or `test` for any common spelling (`dev`, `validation`, ...); None for an unknown split."""
    return _SPLITS.get(name.strip().lower()) if isinstance(name, str) else None


def parse_split(name: object, where: str, id: str, costs: str) -> str | Problem:
    """The `standard_split` of a name, or a Problem if there is none."""
    message = f"split {show_value(name)}; known: {', '.join(sorted(_SPLITS))}"
    return standard_split(name) or Problem("unknown_split", message, where, id, costs)


def two_splits(name: str, first: str, first_split: str, split: str, where: str, id: str) -> Problem:
    """The Problem of media that the annotations put into two splits; they stay in the first.

    Args:
      first: location of the annotation with `first_split`.
      where: location of the annotation with `split`.
    """
    message = (
        f"{name} is in split {first_split!r} ({first}) and here in {split!r}; all its captions are in {first_split!r}"
    )
    return Problem("two_splits", message, where, id, "nothing")


@functools.lru_cache(maxsize=256)
def language(code: str) -> str:
    """A language code as BCP-47 writes it: `EN` -> `en`, `deu` -> `de`, `pt_br` -> `pt-BR`, `zh-hans` -> `zh-Hans`.

    Raises:
      ValueError: there is no such language.
    """
    try:
        return canonical(code)
    except ValueError as error:
        raise ValueError(f"language {show_value(code)} should be a BCP-47 code: {error}") from None


def make_caption(
    text: object, lang: object, where: str, id: str = "", *, times: object = None, set: int = 0, kind: str = "caption",
    origin: str = "human",
) -> RecordCaption | Problem:  # fmt: skip
    """A caption in which runs of whitespace are single spaces, or a Problem.

    Args:
      times: (start, end) in seconds of the event that the caption describes; None: the caption describes the whole.
      set: number of its annotation set.
      kind: kind of a caption without times.
      origin: one of `ORIGINS` of capjax.data.record.
    """
    bad = partial(Problem, where=where, id=id, costs="caption")
    if not isinstance(text, str):
        return bad("malformed", f"the caption should be text, not {show_value(text)}")
    if not is_text(text):
        return bad("encoding", f"not valid UTF-8: {show_value(text)}")
    text = " ".join(text.split())
    if not text:
        return bad("empty_caption", "the caption has no text")
    if "\0" in text:
        return bad("malformed", f"the caption has a NUL character: {show_value(text)}")
    if not isinstance(lang, str):
        return bad("malformed", f"the language should be a code as text, not {show_value(lang)}")
    try:
        lang = language(lang)
    except ValueError as error:
        return bad("malformed", str(error))
    if times is None:
        return RecordCaption(text, lang, kind=kind, set=set, origin=origin)
    if (event := interval(times)) is None:
        message = f"times should be [start, end] in seconds with 0 <= start < end, not {show_value(times)}"
        return bad("bad_times", message)
    return RecordCaption(text, lang, *event, kind="event", set=set, origin=origin)


def interval(times: object) -> tuple[float, float] | None:
    """(start, end) in seconds, or None unless `times` are two numbers with 0 <= start < end."""
    if not isinstance(times, list | tuple) or len(times) != 2:
        return None
    if not all(map(is_number, times)):
        return None
    start, end = map(float, times)
    return (start, end) if 0 <= start < end else None
