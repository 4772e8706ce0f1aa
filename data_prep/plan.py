"""Items to shards: checks what can be checked without decoding, and decides which record lies where."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain, groupby
from pathlib import Path

from data_prep.build_report import Report
from data_prep.media import MediaError, Storage, check_file
from data_prep.readers.item import Found, InputError, Item, Problem, is_text
from data_prep.shards import Shard, fingerprint


def check_items(found: Found, report: Report) -> tuple[dict[str, list[Item]], dict[str, tuple[int, int]]]:
    """Sorts out what is bad, and the rest by split.

    Returns:
      {split: items}, train, val and test first, each in its final order (by a hash of the id, so that a shard is a
      sample of the whole); and {id: (bytes, time)} of their files.

    Raises:
      InputError: there is nothing to write.
      TooMuchBad: as `Report.add` and `Report.check`.
    """
    splits: dict[str, list[Item]] = {}
    files: dict[str, tuple[int, int]] = {}
    places: dict[str, str] = {}
    for item in found:
        if isinstance(item, Problem):
            report.items += item.costs in ("photo", "video")
            report.captions += item.costs == "caption"
            if item.costs in ("absent", "video"):
                report.noun = "video"
                if item.split and item.kind != "duplicate_id":
                    report.count_video(item.split, there=False)
            if item.costs == "absent":
                report.problems.append(item)  # no fault: --strict does not stop at it
            else:
                report.add(item)
            continue
        if not item.split:
            report.left_out += 1
            continue
        report.items += 1
        report.captions += len(item.captions)
        problem = _problem(item, places, files)
        if item.video:
            report.noun = "video"
            if not problem or problem.kind != "duplicate_id":
                report.count_video(item.split, there=not problem)
        if problem:
            report.add(problem)
            continue
        places[item.id] = item.where
        splits.setdefault(item.split, []).append(item)
    absent = sum(counts["named"] - counts["there"] for counts in report.videos.values())
    if not report.items and absent:
        first = next(problem for problem in report.problems if problem.costs == "absent")
        raise InputError(f"none of the {absent} videos that the annotations name is there. The first: {first.message}")
    if not report.items:
        raise InputError(f"the annotations name no {report.noun}" + (" of any split" if report.left_out else ""))
    report.check()
    if not splits:
        raise InputError(f"none of the {report.items} {report.noun}s can be used")
    order = {"train": 0, "val": 1, "test": 2}
    names = sorted(splits, key=lambda name: (order.get(name, 3), name))
    return {name: sorted(splits[name], key=_place) for name in names}, files


def _problem(item: Item, places: dict[str, str], files: dict[str, tuple[int, int]]) -> Problem | None:
    if problem := _fault(item, places, files):
        return replace(problem, costs="video") if item.video else problem
    return None


def _fault(item: Item, places: dict[str, str], files: dict[str, tuple[int, int]]) -> Problem | None:
    if not re.fullmatch(r"\w+", item.split, re.ASCII) or item.split == "all":
        return Problem("unknown_split", f"split {item.split!r} should be letters and digits", item.where, item.id)
    if not is_text(item.id):
        return Problem("encoding", f"the id {item.id!r} is not valid UTF-8", item.where, item.id)
    if item.id in places:
        message = f"the id {item.id!r} is taken already ({places[item.id]})"
        return Problem("duplicate_id", message, item.where, item.id)
    if not item.captions:
        return Problem("no_caption", f"{item.name or item.id} has no caption", item.where, item.id)
    if isinstance(item.media, Path):
        try:
            files[item.id] = check_file(item.media, "video", None) if item.video else check_file(item.media)
        except MediaError as error:
            return Problem(error.kind, str(error), item.where, item.id)
    return None


def _place(item: Item) -> tuple:
    """Where an item comes in its split. Parts of one video come together, in order."""
    file = item.media if item.video and isinstance(item.media, Path) else None
    name = file.name if file else item.id
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8, person=b"capjax order").digest()
    return digest, str(file or ""), item.clip or (0.0, 0.0), item.id


def shard_count(items: int, *, videos: bool = False) -> int:
    """Shards of a split: enough for the cores of one machine (128 photos each, up to 16; a video each), and 2048 photos
    or 64 videos each in the large. It depends on the number of items alone, so that the files do not depend on the
    machine."""
    if videos:
        return max(min(items, 16), -(-items // 64))
    return max(min(-(-items // 128), 16), -(-items // 2048))


def make_shards(
    name: str, splits: dict[str, list[Item]], files: dict, settings: Storage, work_dir: Path
) -> dict[str, list[Shard]]:
    """Cuts each split into shards of equal size, give or take one item; all parts of a video are in one of them."""
    shards: dict[str, list[Shard]] = {}
    for split, items in splits.items():
        groups = [list(group) for _, group in groupby(items, key=lambda item: item.media if item.video else item.id)]
        count = shard_count(len(groups), videos=any(item.video for item in items))
        shards[split] = []
        for index in range(count):
            part = tuple(chain(*groups[index * len(groups) // count : (index + 1) * len(groups) // count]))
            file = f"{name}-{split}.array_record-{index:05d}-of-{count:05d}"
            shards[split].append(
                Shard(
                    path=work_dir / "dataset" / file,
                    report_path=work_dir / "shards" / f"{file}.json",
                    frames_dir=work_dir / "frames" / file,
                    items=part,
                    media=settings,
                    fingerprint=fingerprint(part, files, settings),
                )
            )
    return shards


def clear_stale(work_dir: Path, shards: Iterable[Shard]):
    """Removes what an earlier run left that is no finished part of this one."""
    shards = list(shards)
    wanted = {path for shard in shards for path in (shard.path, shard.report_path)}
    for folder in (work_dir / "dataset", work_dir / "shards"):
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if path not in wanted:
                path.unlink()
