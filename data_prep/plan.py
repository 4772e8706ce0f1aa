"""Plans shards: checks items without decoding media, and assigns each record to a shard."""

import hashlib
import re
from collections.abc import Iterable
from functools import partial
from itertools import chain, groupby
from pathlib import Path

from capjax.data.photo import MediaError, check_file
from data_prep.build_report import Report
from data_prep.media import Storage
from data_prep.readers.item import InputError, Item, ItemStream, Problem, is_text
from data_prep.shards import Shard, ShardFile, fingerprint, shard_paths


def check_items(items: ItemStream, report: Report) -> tuple[dict[str, list[Item]], dict[str, tuple[int, int]]]:
    """Groups usable items by split and adds the rest to the report.

    Returns:
      {split: items}, train, val and test first, each in its final order (by a hash of the id, so that a shard is a
      random sample of the split); and {id: (bytes, time of change)} of the media files.

    Raises:
      InputError: there is nothing to write.
      TooMuchBad: as `Report.add` and `Report.check`.
    """
    splits: dict[str, list[Item]] = {}
    files: dict[str, tuple[int, int]] = {}
    locations: dict[str, str] = {}
    for item in items:
        if isinstance(item, Problem):
            report.items += item.costs in ("photo", "video")
            report.captions += item.costs == "caption"
            if item.costs in ("absent", "video"):
                report.noun = "video"
                if item.split and item.kind != "duplicate_id":
                    report.count_video(item.split, usable=False)
            if item.costs == "absent":
                report.problems.append(item)  # not a fault of the input: --strict does not stop
            else:
                report.add(item)
            continue
        if not item.split:
            report.left_out += 1
            continue
        report.items += 1
        report.captions += len(item.captions)
        problem = _problem(item, locations, files)
        if item.video:
            report.noun = "video"
            if not problem or problem.kind != "duplicate_id":
                report.count_video(item.split, usable=not problem)
        if problem:
            report.add(problem)
            continue
        locations[item.id] = item.where
        splits.setdefault(item.split, []).append(item)
    absent = sum(counts["named"] - counts["there"] for counts in report.videos.values())
    if not report.items and absent:
        first = next(problem for problem in report.problems if problem.costs == "absent")
        raise InputError(f"none of the {absent} videos that the annotations name exists. The first: {first.message}")
    if not report.items:
        raise InputError(f"the annotations name no {report.noun}" + (" of any split" if report.left_out else ""))
    report.check()
    if not splits:
        raise InputError(f"none of the {report.items} {report.noun}s can be used")
    order = {"train": 0, "val": 1, "test": 2}
    names = sorted(splits, key=lambda name: (order.get(name, 3), name))
    return {name: sorted(splits[name], key=_sort_key) for name in names}, files


def _problem(item: Item, locations: dict[str, str], files: dict[str, tuple[int, int]]) -> Problem | None:
    bad = partial(Problem, where=item.where, id=item.id, costs="video" if item.video else "photo")
    if not re.fullmatch(r"\w+", item.split, re.ASCII) or item.split == "all":
        return bad("unknown_split", f"split {item.split!r} should be letters and digits")
    if not is_text(item.id):
        return bad("encoding", f"the id {item.id!r} is not valid UTF-8")
    if item.id in locations:
        return bad("duplicate_id", f"the id {item.id!r} is already used ({locations[item.id]})")
    if not item.captions:
        return bad("no_caption", f"{item.name or item.id} has no caption")
    if isinstance(item.media, Path):
        try:
            files[item.id] = check_file(item.media, "video", None) if item.video else check_file(item.media)
        except MediaError as error:
            return bad(error.kind, str(error))
    return None


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
