"""Files with one caption per line, grouped by photo: shared by the readers of Flickr8k and Flickr30k."""

import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from capjax.data.record import RecordCaption
from capjax.metrics.messages import show_value
from data_prep.readers.files import at, lines, shown, split_by_hash
from data_prep.readers.item import Item, ItemStream, Problem, make_caption, without_problems
from data_prep.readers.media_folder import MediaFolder, plain_name


@dataclass(slots=True)
class Photo:
    """The captions of a photo; `where` is the location of the first."""

    where: str
    captions: list[RecordCaption] = field(default_factory=list)


def parse_tokens(path: Path, input_dir: Path) -> Iterator[tuple[str, tuple[str, str] | Problem]]:
    """Yields (location, (photo's name, caption)) of each line `NAME.jpg#0<TAB>CAPTION`."""
    for location, line in lines(path, shown(path, input_dir)):
        if isinstance(line, Problem):
            yield location, line
        elif match := re.fullmatch(r"([^\t]+)#\d+\s*\t(.*)", line):
            yield location, (match[1], match[2])
        else:
            yield location, malformed(line, location, "NAME#NUMBER, a tab, and the caption")


def malformed(line: str, where: str, expected: str) -> Problem:
    return Problem("malformed", f"expected {expected}; found {show_value(line)}", where, costs="caption")


def listed_photos(
    entries: Iterable[tuple[str, tuple[str, str] | Problem]], lists: Mapping[str, Path], input_dir: Path,
    photos: MediaFolder, fractions: Sequence[float], suffix: str = "",
) -> ItemStream:  # fmt: skip
    """Yields items of photos with captions in English, in the order of their first captions.

    Args:
      entries: (location, (photo's name, caption)) of each caption.
      lists: lists of names by split; photos in none of them are left out. Without lists a hash assigns splits.
      suffix: as in `read_lists`.
    """
    gathered = yield from _gather(entries)
    splits = yield from read_lists(lists, input_dir, suffix)
    for name, photo in gathered.items():
        media = photos.path(name, at(photo.where), name)
        if isinstance(media, Problem):
            yield media
            continue
        split = splits.get(plain_name(name), ("", ""))[0] if splits else split_by_hash(name, fractions)
        yield Item(name, media, split, tuple(photo.captions), where=photo.where, name=name, hashed=not splits)
    names = set(map(plain_name, gathered))
    for name, (split, location) in splits.items():
        if name not in names:
            yield Problem("no_caption", f"{name} is listed for {split} but has no caption", location, name)


def _gather(
    entries: Iterable[tuple[str, tuple[str, str] | Problem]],
) -> Generator[Problem, None, dict[str, Photo]]:
    """Yields Problems; returns the photos by name, in the order of their first captions."""
    photos: dict[str, Photo] = {}
    for location, entry in entries:
        if isinstance(entry, Problem):
            yield entry
            continue
        name, text = entry
        photo = photos.setdefault(name, Photo(location))
        photo.captions += yield from without_problems([make_caption(text, "en", location, name)])
    return photos


def read_lists(
    paths: Mapping[str, Path], input_dir: Path, suffix: str = "", costs: str = "photo"
) -> Generator[Problem, None, dict[str, tuple[str, str]]]:
    """Yields Problems; returns {photo's plain name: (split, where)} of lists with one name per line.

    A photo in two lists stays in the first, so that no photo of train is scored.

    Args:
      suffix: appended to names without a suffix, as in the lists of Flickr30k.
      costs: what a bad line costs, `photo` or `video`.
    """
    splits: dict[str, tuple[str, str]] = {}
    for split, path in paths.items():
        for location, line in lines(path, shown(path, input_dir), costs):
            if isinstance(line, Problem):
                yield line
                continue
            name = plain_name(line)
            name = name if Path(name).suffix else name + suffix
            if name in splits:
                message = f"{name} is already listed for {splits[name][0]} ({splits[name][1]})"
                yield Problem("duplicate_id", message, location, name, costs)
                continue
            splits[name] = (split, location)
    return splits
