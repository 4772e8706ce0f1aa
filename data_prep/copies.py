"""Finds exact copies of media: files with the same bytes in several splits."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path

from data_prep.readers.item import Item, Problem

# Of the same size, files are compared by a few bytes first.
_SAMPLE = 4096
_BLOCK = 2**20
# Splits that lose items of which copies are elsewhere.
_SCORED = ("val", "test")


def copies_across_splits(
    splits: Mapping[str, Iterable[Item]], files: Mapping[str, tuple[int, int]]
) -> dict[str, Problem]:
    """{id of an item of val or test: Problem} of the items whose media have a copy in another split.

    Of a copy in train the item is listed; of copies in val and test alone, the item of val.

    Args:
      files: {item id: (bytes, time of change)} of the media files.
    """
    by_size: dict[Hashable, list[tuple[str, Item]]] = defaultdict(list)
    for split, items in splits.items():
        for item in items:
            if item.id in files:
                by_size[files[item.id][0]].append((split, item))
    problems: dict[str, Problem] = {}
    for group in _in_several_splits(by_size.values()):
        for same_sample in _in_several_splits(_grouped(group, _sample)):
            for copies in _in_several_splits(_grouped(same_sample, _digest)):
                problems |= _problems(copies)
    return problems


def _in_several_splits(groups: Iterable[list[tuple[str, Item]]]) -> Iterable[list[tuple[str, Item]]]:
    """The groups with different files in several splits."""
    for group in groups:
        if len({split for split, _ in group}) > 1 and len({item.media for _, item in group}) > 1:
            yield group


def _grouped(group: list[tuple[str, Item]], key: Callable[[Path], Hashable]) -> Iterable[list[tuple[str, Item]]]:
    by_key: dict[Hashable, list[tuple[str, Item]]] = defaultdict(list)
    keys: dict[Path, Hashable] = {}
    for split, item in group:
        assert isinstance(item.media, Path)  # it is a file
        if item.media not in keys:
            try:
                keys[item.media] = key(item.media)
            except OSError:  # reported when the file is read
                keys[item.media] = item.id
        by_key[keys[item.media]].append((split, item))
    return by_key.values()


def _sample(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size // 2 - _SAMPLE // 2))
        return file.read(_SAMPLE)


def _digest(path: Path) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.digest()


def _problems(copies: list[tuple[str, Item]]) -> dict[str, Problem]:
    splits = {split for split, _ in copies}
    dropped = _SCORED if splits - set(_SCORED) else ("val",)
    kept_split, kept = next((split, item) for split, item in copies if split not in dropped)
    return {
        item.id: Problem(
            "copy_across_splits",
            f"{item.name or item.id} in {split} is an exact copy of {kept.name or kept.id} in {kept_split}",
            item.where, item.id, "nothing", split,
        )
        for split, item in copies
        if split in dropped
    }  # fmt: skip
