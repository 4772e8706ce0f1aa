"""Keys of objects and columns of tables: the names that a field may have, one table for all readers."""

import functools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from capjax.metrics.messages import show_value
from data_prep.readers.item import Problem

# {field: its names}, the preferred one first. Case does not matter, and spaces and hyphens are underscores.
NAMES: dict[str, tuple[str, ...]] = {
    "image": ("image", "image_name", "image_path", "image_file", "photo"),
    "video": ("video", "video_name", "video_path", "video_file"),
    "file": ("file_name", "filename", "file", "path"),  # a photo or a video
    "captions": ("captions", "texts", "sentences", "descriptions"),
    "caption": ("caption", "text", "sentence", "comment", "description"),
    "text": ("text", "caption", "sentence", "comment", "description"),  # in the object of a caption
    "lang": ("lang", "language"),
    "start": ("start", "start_time"),
    "end": ("end", "end_time"),
}
# Words in the names of keys that probably belong to captions, languages, splits, times or labels.
_MEANINGFUL = {
    "alt", "bbox", "bboxes", "box", "boxes", "caption", "captions", "clip", "comment", "comments", "description",
    "descriptions", "end", "fold", "label", "labels", "lang", "language", "languages", "langs", "locale", "objects",
    "partition", "segment", "segments", "sentence", "sentences", "split", "start", "subset", "text", "texts",
    "timestamp", "timestamps", "title", "transcript", "transcription", "translation", "translations",
}  # fmt: skip
# With one of these a key describes the file or the annotation itself: `caption_id`, `text_length`.
_HARMLESS = {"confidence", "count", "date", "hash", "height", "id", "ids", "length", "num", "number", "score", "size",
             "source", "url", "width"}  # fmt: skip
_ALL_NAMES = {name for names in NAMES.values() for name in names}
_MAX_REPORTED_KEYS = 50


@functools.lru_cache(maxsize=4096)
def _normal(key: str) -> str:
    return re.sub(r"[\s-]+", "_", key.strip().lower())


@functools.cache
def _field_by_name(fields: tuple[str, ...]) -> dict[str, tuple[str, int]]:
    """{name: (field, position among its names)} of these fields."""
    return {name: (field, rank) for field in fields for rank, name in enumerate(NAMES.get(field, (field,)))}


def is_name(key: str) -> bool:
    """Whether a key is the name of a field."""
    return _normal(key) in _ALL_NAMES


def resolve_keys(keys: Sequence[str], fields: tuple[str, ...]) -> dict[str, str]:
    """{field: key} of the keys or columns that are names of `fields`; of several names of a field the preferred one."""
    names = _field_by_name(fields)
    chosen: dict[str, tuple[int, str]] = {}
    for key in keys:
        field, rank = names.get(_normal(key), ("", 0))
        if field and (field not in chosen or rank < chosen[field][0]):
            chosen[field] = rank, key
    return {field: key for field, (_, key) in chosen.items()}


def read_fields(row: Mapping[str, Any], fields: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    """The values of an object's fields, and its other keys. A field that is null is absent."""
    keys = resolve_keys([key for key, value in row.items() if value is not None], fields)
    used = set(keys.values())
    return {field: row[key] for field, key in keys.items()}, [
        key for key, value in row.items() if value is not None and key not in used
    ]


def read_field(row: Mapping[str, Any], field: str) -> Any:
    """The value of one field of an object; None if it is absent or null."""
    value = row.get(NAMES[field][0])
    return read_fields(row, (field,))[0].get(field) if value is None else value


class IgnoredKeys:
    """Keys of a file that are not read although their names suggest captions, languages, splits, times or labels."""

    def __init__(self):
        self._first_location: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def add(self, keys: Collection[str], where: str):
        """Adds keys of the object or table at a location; those without such a name are left out."""
        for key in keys:
            if key in self._counts:
                self._counts[key] += 1
            elif (
                len(self._counts) < _MAX_REPORTED_KEYS and words_of(key) & _MEANINGFUL and not words_of(key) & _HARMLESS
            ):
                self._first_location[key], self._counts[key] = where, 1

    def problems(self, read_keys: Sequence[str]) -> Iterator[Problem]:
        """Yields a Problem for each key.

        Args:
          read_keys: the keys that are read, for the message.
        """
        for key, count in self._counts.items():
            times = f" ({count:,} times)" if count > 1 else ""
            message = f"{show_value(key)}{times} is not read; rename it if it should be one of {', '.join(read_keys)}"
            yield Problem("unknown_key", message, self._first_location[key], costs="nothing")


@functools.lru_cache(maxsize=4096)
def words_of(key: str) -> frozenset[str]:
    """The words of a key in lower case: `image_captionDe` has three."""
    return frozenset(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()))
