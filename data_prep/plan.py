"""Plans shards: checks items without decoding media, and assigns each record to a shard."""

import hashlib
import os
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple

from capjax.data.media_formats import KINDS_BY_SUFFIX
from capjax.data.photo import MediaError, check_file
from capjax.metrics.json_types import is_text
from data_prep.build_report import Report
from data_prep.copies import copies_across_splits
from data_prep.media import Storage
from data_prep.readers.files import at
from data_prep.readers.item import InputError, Item, ItemStream, Problem, two_splits
from data_prep.readers.media_folder import names_in, nearest_file
from data_prep.shards import Shard, ShardFile, fingerprint, shard_paths

# Missing files whose messages name the nearest file, for which a folder is read.
_MAX_HINTS = 5


def check_items(
    items: ItemStream, report: Report, *, keep_copies: bool = False
) -> tuple[dict[str, list[Item]], dict[str, tuple[int, int]]]:
    """Groups usable items by split and adds the rest to the report.

    Items of one file (and clip) become one item with all captions, in the first split that the annotations give.
    Exact copies across splits are reported.

    Args:
      keep_copies: whether items of val and test stay of which an exact copy is in another split.

    Returns:
      {split: items}, train, val and test first, each in its final order (by a hash of the id, so that a shard is a
      random sample of the split); and {id: (bytes, time of change)} of the media files.

    Raises:
      InputError: there is nothing to write.
      TooMuchBad: as `Report.add` and `Report.check`.
    """
    usable = _UsableItems()
    absent_ids: set[tuple[str, str]] = set()
    named: dict[Path, set[str]] = {}  # by folder
    for item in items:
        if isinstance(item, Problem):
            _count_problem(item, report, absent_ids)
            continue
        at(item.where)
        if isinstance(item.media, Path):
            named.setdefault(item.media.parent, set()).add(item.media.name)
        if not item.split:
            report.left_out += 1
            continue
        report.captions += len(item.captions)
        media = usable.check(item)
        if media is None:
            continue
        problem = media if isinstance(media, Problem) else None
        if not isinstance(media, Problem) and (first := usable.with_media(media)):
            usable.merge(first, item)
            _report_merge(first, item, report)
            continue
        report.items += 1
        if item.video:
            report.noun = "video"
            if not problem or problem.kind != "duplicate_id":
                report.count_video(item.split, usable=not problem)
        if isinstance(media, Problem):
            report.add(media)
        else:
            usable.add(item, media)
    report.unnamed = sum(_count_unnamed(folder, names, report.noun) for folder, names in named.items())
    absent = sum(counts["named"] - counts["there"] for counts in report.videos.values())
    if not report.items and absent:
        first_absent = next(problem for problem in report.problems if problem.costs == "absent")
        raise InputError(
            f"none of the {absent} videos that the annotations name exists. The first: {first_absent.message}"
        )
    if not report.items:
        raise InputError(f"the annotations name no {report.noun}" + (" of any split" if report.left_out else ""))
    report.check()
    if not usable.by_id:
        raise InputError(f"none of the {report.items} {report.noun}s can be used")
    return _without_copies(usable.by_split(), usable.files, report, keep_copies), usable.files


def _count_unnamed(folder: Path, names: set[str], kind: str) -> int:
    """The number of photos, or videos, in a folder that the annotations do not name."""
    suffixes = (os.path.splitext(name)[1].lower() for name in names_in(folder) if name not in names)  # noqa: PTH122
    return sum(KINDS_BY_SUFFIX.get(suffix) == kind for suffix in suffixes)


def _count_problem(problem: Problem, report: Report, absent_ids: set[tuple[str, str]]):
    if problem.costs == "absent" and (problem.split, problem.id) in absent_ids:
        return  # another line of the same video
    report.items += problem.costs in ("photo", "video")
    report.captions += problem.costs == "caption"
    if problem.costs in ("absent", "video"):
        report.noun = "video"
        if problem.split and problem.kind != "duplicate_id":
            report.count_video(problem.split, usable=False)
    if problem.costs == "absent":
        absent_ids.add((problem.split, problem.id))
        report.problems.append(problem)  # not a fault of the input: --strict does not stop
    else:
        report.add(problem)


def _report_merge(first: Item, item: Item, report: Report):
    """Reports that an item is the same file as an earlier one, unless it is another line of the same id and split."""
    if item.split != first.split and not item.hashed and not first.hashed:
        name = item.name or item.id
        report.add(two_splits(name, first.where, first.split, item.split, item.where, item.id))
        return
    if item.video and first.hashed and not item.hashed:
        report.move_video(first.split, item.split)
    if item.id != first.id:
        report.add(_same_file(first, item))


class _UsableItems:
    """The items that can be used, one for each file and clip.

    Attributes:
      by_id: the items in their order.
      files: {id: (bytes, time of change)} of the media files.
    """

    def __init__(self):
        self.by_id: dict[str, Item] = {}
        self.files: dict[str, tuple[int, int]] = {}
        self._ids: dict[Hashable, str] = {}
        self._bad_files: set[tuple] = set()
        self._hints = _MAX_HINTS

    def check(self, item: Item) -> "_Media | Problem | None":
        """The media of an item, or the reason why it cannot be used; None if that of another item was the same file."""
        bad = partial(Problem, where=item.where, id=item.id, costs="video" if item.video else "photo")
        if not re.fullmatch(r"\w+", item.split, re.ASCII) or item.split == "all":
            return bad("unknown_split", f"split {item.split!r} should be letters and digits")
        if not is_text(item.id):
            return bad("encoding", f"the id {item.id!r} is not valid UTF-8")
        media: _Media | MediaError
        try:
            media = _Media.of(item)
        except MediaError as error:
            media = error
        if item.id in self.by_id and (isinstance(media, MediaError) or not self.with_media(media)):
            return bad("duplicate_id", f"the id {item.id!r} is already used ({self.by_id[item.id].where})")
        if not item.captions:
            return bad("no_caption", f"{item.name or item.id} has no caption")
        if isinstance(media, MediaError):
            if (item.media, item.clip) in self._bad_files:
                return None
            self._bad_files.add((item.media, item.clip))
            message = str(media)
            is_missing = isinstance(media.__cause__, FileNotFoundError)
            if is_missing and isinstance(item.media, Path) and self._hints:
                self._hints -= 1
                message += f"; {nearest_file(item.media)}"
            return bad(media.kind, message)
        return media

    def with_media(self, media: "_Media") -> Item | None:
        """The item of the same file and clip, if there is one."""
        id = self._ids.get(media.key)
        return None if id is None else self.by_id[id]

    def add(self, item: Item, media: "_Media"):
        self.by_id[item.id] = item
        self._ids[media.key] = item.id
        if media.file:
            self.files[item.id] = media.file

    def merge(self, first: Item, item: Item):
        """Adds the annotations of an item to those of the first item of its file, which has the first given split."""
        self.by_id[first.id] = replace(
            first,
            split=item.split if first.hashed and not item.hashed else first.split,
            hashed=first.hashed and item.hashed,
            captions=first.captions + item.captions,
            labels=first.labels + tuple(label for label in item.labels if label not in first.labels),
            transcript=first.transcript + tuple(part for part in item.transcript if part not in first.transcript),
        )

    def by_split(self) -> dict[str, list[Item]]:
        """{split: items}, train, val and test first, each split in its final order."""
        splits: dict[str, list[Item]] = {}
        for item in self.by_id.values():
            splits.setdefault(item.split, []).append(item)
        order = {"train": 0, "val": 1, "test": 2}
        names = sorted(splits, key=lambda name: (order.get(name, 3), name))
        return {name: sorted(splits[name], key=_sort_key) for name in names}


class _Media(NamedTuple):
    """The media of an item.

    Attributes:
      key: equal for items of the same clip of the same file, however it is named or linked.
      file: (bytes, time of change) of the file; None if it is generated.
    """

    key: Hashable
    file: tuple[int, int] | None

    @classmethod
    def of(cls, item: Item) -> "_Media":
        """Raises MediaError if the file cannot be used."""
        if not isinstance(item.media, Path):
            return cls(item.id, None)
        file = check_file(item.media, "video", None) if item.video else check_file(item.media)
        status = item.media.stat()
        node = (status.st_dev, status.st_ino) if status.st_ino else str(item.media.resolve())
        return cls((node, item.clip, item.video), file)


def _same_file(first: Item, item: Item) -> Problem:
    message = (
        f"{item.name or item.id} ({item.id}) is the same file as {first.name or first.id} ({first.id}, {first.where}); "
        f"its captions are added to {first.id}"
    )
    return Problem("same_file", message, item.where, item.id, "nothing")


def _without_copies(
    splits: dict[str, list[Item]], files: Mapping[str, tuple[int, int]], report: Report, keep: bool
) -> dict[str, list[Item]]:
    """Reports exact copies across splits, and drops those of val and test unless `keep` is set."""
    copies = copies_across_splits(splits, files)
    videos = {item.id for items in splits.values() for item in items if item.video}
    for problem in copies.values():
        remedy = "it stays, as --keep-copies asks" if keep else "it is dropped (--keep-copies keeps it)"
        report.add(replace(problem, message=f"{problem.message}; {remedy}"))
        if not keep and problem.id in videos:
            report.lose_videos(problem.split, 1)
    if keep:
        return splits
    kept = {split: [item for item in items if item.id not in copies] for split, items in splits.items()}
    return {split: items for split, items in kept.items() if items}


def _sort_key(item: Item) -> tuple:
    """Position of an item in its split. Parts of one video are adjacent, in order."""
    file = item.media if item.video and isinstance(item.media, Path) else None
    name = file.name if file else item.id
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8, person=b"capjax order").digest()
    return digest, str(file or ""), item.clip or (0.0, 0.0), item.id


def shard_count(items: int, *, videos: bool = False) -> int:
    """Number of shards of a split.

    Small splits have enough shards for the cores of one machine (128 photos or one video each, up to 16 shards), large
    ones 2,048 photos or 64 videos per shard. It depends only on the number of items, so that the files do not depend on
    the machine.
    """
    if videos:
        return max(min(items, 16), -(-items // 64))
    return max(min(-(-items // 128), 16), -(-items // 2048))


def make_shards(
    name: str, splits: dict[str, list[Item]], files: dict, settings: Storage, work_dir: Path
) -> dict[str, list[Shard]]:
    """Divides each split into shards whose sizes differ by at most one item. All parts of a video are in one shard."""
    shards: dict[str, list[Shard]] = {}
    for split, items in splits.items():
        groups = [list(group) for _, group in groupby(items, key=lambda item: item.media if item.video else item.id)]
        count = shard_count(len(groups), videos=any(item.video for item in items))
        shards[split] = []
        for index in range(count):
            part = tuple(chain(*groups[index * len(groups) // count : (index + 1) * len(groups) // count]))
            path, report_path = shard_paths(work_dir, name, split, index, count)
            frames_dir = work_dir / "frames" / path.name
            key = fingerprint(part, files, settings)
            shards[split].append(Shard(path, report_path, key, frames_dir, items=part, media=settings))
    return shards


def clear_stale(work_dir: Path, shards: Iterable[ShardFile]):
    """Removes files of an earlier run that are not finished shards of this one."""
    shards = list(shards)
    current = {path for shard in shards for path in (shard.path, shard.report_path)}
    for folder in (work_dir / "dataset", work_dir / "shards"):
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if path not in current:
                path.unlink()
