"""Writes one shard: items in, an ArrayRecord file and a report out.

What `write_shard` writes depends only on its Shard and the media. So shards can be written in any order, by any number
of processes or machines, and an interrupted run resumes from the finished ones.
"""

import hashlib
import json
import os
import pickle
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path

import av
import PIL
from array_record.python.array_record_module import ArrayRecordWriter

from capjax.data.record import SIZES, Record, serialize
from capjax.files import write_text
from capjax.metrics.messages import describe_unforeseen, noting
from capjax.metrics.writing import write_errors_named
from data_prep.media import Storage, read_media
from data_prep.pool import Stopped
from data_prep.readers.files import at, current_location
from data_prep.readers.item import Item, Problem

# Increase it when the same items are to give other bytes than before.
_FORMAT = 4


@dataclass(frozen=True)
class ShardFile:
    """A file to write.

    Attributes:
      path: the file.
      report_path: where its ShardReport is kept until the dataset is finished.
      fingerprint: hash of everything that determines the bytes; a finished shard with another one is rewritten.
    """

    path: Path
    report_path: Path
    fingerprint: str

    @property
    def size(self) -> int:
        """Number of items that are read to write it."""
        raise NotImplementedError


@dataclass(frozen=True)
class Shard(ShardFile):
    """The input of `write_shard`.

    Attributes:
      frames_dir: where frames of long videos are kept until the shard is finished.
      items: the items of the shard, in order.
      media: how media are stored.
      kills: number of items that had been read each time when a worker was killed while it wrote this shard.
    """

    frames_dir: Path
    items: tuple[Item, ...]
    media: Storage
    kills: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        return len(self.items)


def shard_paths(work_dir: Path, name: str, split: str, index: int, count: int) -> tuple[Path, Path]:
    """`path` and `report_path` of a shard, one of `count` of a split."""
    file = f"{name}-{split}.array_record-{index:05d}-of-{count:05d}"
    return work_dir / "dataset" / file, work_dir / "shards" / f"{file}.json"


@dataclass(frozen=True)
class ShardReport:
    """The result of a shard: number of records, bytes of their examples, captions by language, the sizes of each record
    (see `Tally`), and the problems of skipped items."""

    fingerprint: str
    records: int
    bytes: int
    file_bytes: int
    captions: dict[str, int]
    sizes: dict[str, list[float]]
    problems: tuple[Problem, ...]

    @classmethod
    def read(cls, shard: ShardFile) -> "ShardReport | None":
        """The report of a finished shard that still matches `shard`; otherwise None."""
        try:
            stored = json.loads(shard.report_path.read_bytes())
            report = cls(**{**stored, "problems": tuple(Problem(**problem) for problem in stored["problems"])})
            complete = report.fingerprint == shard.fingerprint and report.file_bytes == shard.path.stat().st_size
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return report if complete else None


@dataclass
class Tally:
    """Counts captions and sizes of records while they are written.

    Attributes:
      captions: number of captions by language.
      sizes: for each record in order: frames, seconds, mean number of words per caption, and the number of captions,
        summaries and events (of the largest annotation set). Batches are planned from these.
    """

    captions: Counter = field(default_factory=Counter)
    sizes: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in SIZES})

    def add(self, record: Record):
        self.captions.update(caption.lang for caption in record.captions)
        events = Counter((c.lang, c.set) for c in record.captions if c.kind == "event")
        words = [max(len(c.text.split()), len(c.text.encode()) / 10) for c in record.captions]
        self.sizes["frames"].append(len(record.frame_times))
        self.sizes["seconds"].append(round(record.duration, 3))
        for kind in ("caption", "summary"):
            self.sizes[kind].append(sum(c.kind == kind for c in record.captions))
        self.sizes["event"].append(max(events.values(), default=0))
        self.sizes["words"].append(round(sum(words) / max(len(words), 1), 2))

    def report(self, fingerprint: str, records: int, size: int, path: Path, problems=()) -> ShardReport:
        captions = dict(sorted(self.captions.items()))
        return ShardReport(fingerprint, records, size, path.stat().st_size, captions, self.sizes, tuple(problems))


def after_kill(shard: Shard, items_read: float) -> Shard:
    """Returns the shard to write once more after its worker was killed, and removes what the worker left.

    An item is left out if two workers were killed while they read it.

    Raises:
      RuntimeError: workers are killed at the same place even so.
    """
    kills = (*shard.kills, int(items_read + 1e-6))
    if kills.count(kills[-1]) > 3:
        raise RuntimeError(f"{shard.path.name}: worker processes are killed again and again; use fewer workers")
    for path in shard.path.parent.glob(f".{shard.path.name}.*.tmp"):
        path.unlink(missing_ok=True)
    return replace(shard, kills=kills)


def write_report(report: ShardReport, path: Path):
    """Raises WriteError if it cannot be written."""
    write_text(path, json.dumps(asdict(report)))


def write_shard(shard: Shard, on_items: Callable[[float], None] = lambda count: None) -> ShardReport:
    """Writes the records of a shard under a temporary name, then renames the file.

    Args:
      on_items: called after every item, and after parts of a video; if it raises, no file is left.

    Raises:
      WriteError: the disk is full, or the file cannot be written.
    """
    problems: list[Problem] = []
    tally = Tally()

    def records() -> Iterator[Record]:
        for result in make_records(shard, on_items):
            if isinstance(result, Problem):
                problems.append(result)
            else:
                tally.add(result)
                yield result

    with warnings.catch_warnings(), _located_errors():
        # Pillow warns about every unusual EXIF block.
        warnings.filterwarnings("ignore", module="PIL")
        count, size = write_records(shard.path, records())
    report = tally.report(shard.fingerprint, count, size, shard.path, problems)
    write_report(report, shard.report_path)
    shutil.rmtree(shard.frames_dir, ignore_errors=True)
    return report


@contextmanager
def _located_errors() -> Iterator[None]:
    """Names the item being read in unforeseen errors, as RuntimeError."""
    try:
        with noting(current_location):
            yield
    except (Stopped, OSError):
        raise
    except Exception as error:
        raise RuntimeError(describe_unforeseen(error)) from error


def make_records(shard: Shard, on_items: Callable[[float], None]) -> Iterator[Record | Problem]:
    """The records of a shard's items in order, or the Problem of an item that cannot be read."""
    start = 0
    for number, (_, group) in enumerate(groupby(shard.items, key=lambda item: item.media if item.video else item.id)):
        items = list(group)
        at(f"{items[0].where} {items[0].name or items[0].id}")
        kills = sum(start <= items_read < start + len(items) for items_read in shard.kills)
        start += len(items)
        if kills > 1:
            yield from (_killed(item) for item in items)
            on_items(len(items))
            continue
        spool = shard.frames_dir / f"{number}-{shard.fingerprint}"
        reported = [0.0]

        def on_share(share: float, count: int = len(items), reported: list[float] = reported):
            reported[0] += share
            on_items(share * count)

        yield from read_media(items, shard.media, on_share, spool)
        on_share(1 - reported[0])  # photos, and parts that cannot be read, count as done


def _killed(item: Item) -> Problem:
    message = f"{item.name or item.id}: a worker was killed each time it read this; did memory run out?"
    return Problem("killed", message, item.where, item.id, "video" if item.video else "photo")


def write_records(path: Path, records: Iterable[Record]) -> tuple[int, int]:
    """Writes records as tf.Examples to an ArrayRecord file, under a temporary name that is then renamed.

    Returns:
      The number of records, and the bytes of their examples (num_bytes of TFDS).

    Raises:
      WriteError: the disk is full, or the file cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    count = size = 0
    try:
        # One record per group, as TFDS writes it, so that each record can be read alone.
        with write_errors_named(path):
            writer = ArrayRecordWriter(str(aside), "group_size:1")
            try:
                for record in records:
                    example = serialize(record)
                    writer.write(example)
                    count, size = count + 1, size + len(example)
            finally:
                writer.close()
            with aside.open("rb") as file:
                os.fsync(file.fileno())
            aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return count, size


def fingerprint(items: Sequence[Item], files: Mapping[str, tuple[int, int]], settings: Storage) -> str:
    """Hash of everything that determines a shard's bytes: items, sizes and times of files, settings, versions.

    Args:
      files: {item id: (bytes, time of change in ns)}.
    """
    digest = hashlib.blake2b(repr((_FORMAT, PIL.__version__, av.library_versions, settings)).encode(), digest_size=16)
    for item in items:
        media = str(item.media) if isinstance(item.media, Path) else pickle.dumps(item.media)
        annotations = (item.name, item.where, item.captions, item.labels, item.clip, item.video, item.transcript)
        digest.update(repr((item.id, media, files.get(item.id), *annotations)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
