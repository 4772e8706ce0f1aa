"""Captions in further languages, joined to a dataset's photos by name.

One caption per line; the language is in the line, in the file's name, or given with the file:

    NAME.jpg#zhc#0 TEXT          (flickr8k-cn)         NAME.jpg#de#0<TAB>TEXT       (Multi30k)
    NAME.jpg#0<TAB>TEXT          (such as Flickr8k.arabic.full.txt)

Such files often cover more photos than a dataset has: lines for other photos are counted and are not an error, unless
  no line of the file is for a photo of the dataset.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from capjax.data.record import RecordCaption
from capjax.metrics.messages import show_value
from data_prep.readers.files import lines
from data_prep.readers.item import InputError, Item, ItemStream, Problem, language, make_caption
from data_prep.readers.languages import LANGUAGES
from data_prep.readers.media_folder import plain_name

_LINE = re.compile(r"(?P<name>[^\t#]+)#(?:(?P<lang>[A-Za-z][A-Za-z_-]*)#)?\d+[ \t]+(?P<text>.*)")
_EMPTY = re.compile(r"[^\t#]+#(?:[A-Za-z][A-Za-z_-]*#)?\d+")

# flickr8k-cn marks the source of its Chinese captions: people, or one of three machine translations.
_TAGS = {"zhc": "zh", "zhb": "zh", "zhg": "zh", "zhm": "zh"}
# Only codes that are neither English words nor common abbreviations: `photo_id.txt` is not Indonesian.
_CODES = {"ar", "cs", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ru", "tr", "uk", "vi", "zh"}


@dataclass(frozen=True, slots=True)
class Source:
    """A file of translations. If `lang` is empty, its lines or its name give the language."""

    path: Path
    lang: str = ""

    @classmethod
    def parse(cls, text: str) -> "Source":
        """`FILE` or `FILE:LANG`.

        Raises:
          ValueError: LANG is not a language code.
        """
        path, colon, lang = text.rpartition(":")
        if not colon or "/" in lang or Path(text).exists():
            return cls(Path(text))
        return cls(Path(path), language(lang))


class Translations:
    """Captions by photo name, from any number of files.

    Attributes:
      problems: problems of the files.
      counts: for each file, the number of captions and of those joined to a photo of the dataset.
    """

    def __init__(self, sources: Iterable[Source]):
        self._captions: dict[str, list[tuple[str, RecordCaption]]] = {}
        self.problems: list[Problem] = []
        self.counts: dict[str, dict[str, int]] = {}
        for source in sources:
            for name, caption in _read(source):
                if isinstance(caption, Problem):
                    self.problems.append(caption)
                else:
                    self._captions.setdefault(plain_name(name), []).append((source.path.name, caption))
                    count = self.counts.setdefault(source.path.name, {"captions": 0, "joined": 0})
                    count["captions"] += 1

    def join(self, items: ItemStream) -> ItemStream:
        """Adds the captions to items of the same name, and first yields the problems of the translation files.

        Raises:
          InputError: after the last item, if a file has captions for none of the photos.
        """
        yield from self.problems
        joined: set[str] = set()
        for item in items:
            name = plain_name(item.name) if isinstance(item, Item) and item.name and item.split else ""
            # Several items of one photo become one later.
            if isinstance(item, Item) and name in self._captions and name not in joined:
                joined.add(name)
                more = self._captions[name]
                for file, _ in more:
                    self.counts[file]["joined"] += 1
                item = replace(item, captions=item.captions + tuple(caption for _, caption in more))
            yield item
        for file, count in self.counts.items():
            if not count["joined"]:
                example = next(name for name, more in self._captions.items() if any(f == file for f, _ in more))
                raise InputError(
                    f"{file}: none of its captions (for {example!r} and others) is for a photo of this dataset; the "
                    "names must match"
                )


def _read(source: Source) -> Iterator[tuple[str, RecordCaption | Problem]]:
    guess = source.lang or _guess(source.path)
    for location, line in lines(source.path, source.path.name):
        if isinstance(line, Problem):
            yield "", line
        elif match := _LINE.fullmatch(line):
            tag = match["lang"] and _TAGS.get(match["lang"].lower(), match["lang"])
            lang = source.lang or tag or guess
            if not lang:
                raise InputError(f"{source.path}: the language is unknown; write --translations {source.path}:LANG")
            yield match["name"], make_caption(match["text"], lang, location, match["name"])
        elif _EMPTY.fullmatch(line.strip()):
            yield "", Problem("empty_caption", "the caption has no text", location, costs="caption")
        else:
            message = f"expected NAME#LANG#NUMBER or NAME#NUMBER, a space or tab, and text; found {show_value(line)}"
            yield "", Problem("malformed", message, location, costs="caption")


def _guess(path: Path) -> str:
    """The language in a file's name: `Flickr8k.arabic.full.txt` -> ar, `multi30k.de.txt` -> de; empty if none."""
    for part in re.split(r"[^A-Za-z]+", path.stem.lower()):
        if part in LANGUAGES or part in _CODES:
            return LANGUAGES.get(part, part)
    return ""
