"""One shard: items in, an ArrayRecord file and a report out.

`write_shard` is pure in the sense that matters: what it writes depends on its Shard and the media alone, never on who
else is at work. So shards can be made in any order, in any number of processes or machines, and an interrupted run goes
on from those that are there.
"""

import errno
import hashlib
import json
import os
import pickle
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path

import av
import PIL
from array_record.python.array_record_module import ArrayRecordWriter

from capjax.data.record import Record, serialize
from capjax.files import write_text
from data_prep.media import MediaError, Storage, read_photo, read_video
from data_prep.readers.item import Item, Problem

# Raise it when the same items should give other bytes than before.
_FORMAT = 3
_SIZES = ("frames", "seconds", "words", "caption", "summary", "event")


class OutputError(OSError):
    """The dataset cannot be written: the disk is full, or the like."""


@dataclass(frozen=True)
class Shard:
    """What `write_shard` needs to know.

    Attributes:
      path: the file to write.
      report_path: where its ShardReport is kept until the dataset is finished.
      frames_dir: where frames of long videos are kept until the shard is finished.
      fingerprint: of all that decides the bytes; a finished shard with another one is made anew.
    """

    path: Path
    report_path: Path
    frames_dir: Path
    items: tuple[Item, ...]
    media: Storage
    fingerprint: str


@dataclass(frozen=True)
class ShardReport:
    """What became of a shard: records written, bytes of their examples, captions by language, the size of each record
    (see `Tally`), and what was skipped."""

    fingerprint: str
    records: int
    bytes: int
    file_bytes: int
    captions: dict[str, int]
    sizes: dict[str, list[float]]
    problems: tuple[Problem, ...]

    @classmethod
    def read(cls, shard: Shard) -> "ShardReport | None":
        """The report of a shard that is finished and is still what was asked for; else None."""
        try:
            stored = json.loads(shard.report_path.read_bytes())
            report = cls(**{**stored, "problems": tuple(Problem(**problem) for problem in stored["problems"])})
            whole = report.fingerprint == shard.fingerprint and report.file_bytes == shard.path.stat().st_size
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return report if whole else None


@dataclass
class Tally:
    """Counts records on their way.

    Attributes:
      captions: by language.
      sizes: of each record in order, its frames, its seconds, the mean number of words in what is said of it, and how
        many captions, summaries and (in the largest annotation set) events it has: what batches are made by.
    """

    captions: Counter = field(default_factory=Counter)
    sizes: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in _SIZES})

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


def write_report(report: ShardReport, path: Path):
    """Raises OutputError if it cannot be written."""
    try:
        write_text(path, json.dumps(asdict(report)))
    except OSError as error:
        raise OutputError(error.errno, error.strerror, str(path)) from error


def write_shard(shard: Shard, on_items: Callable[[float], None] = lambda count: None) -> ShardReport:
    """Makes the records of a shard and writes them, aside and then renamed.

    Args:
      on_items: called after every item, and after parts of a video; what it raises ends the work and leaves no file.

    Raises:
      OutputError: the disk is full, or the file cannot be written.
    """
    problems: list[Problem] = []
    tally = Tally()

    def records() -> Iterator[Record]:
        for made in make_records(shard, on_items):
            if isinstance(made, Problem):
                problems.append(made)
            else:
                tally.add(made)
                yield made

    with warnings.catch_warnings():
        # Pillow warns of every odd EXIF block on the web.
        warnings.filterwarnings("ignore", module="PIL")
        count, size = write_records(shard.path, records())
    report = tally.report(shard.fingerprint, count, size, shard.path, problems)
    write_report(report, shard.report_path)
    shutil.rmtree(shard.frames_dir, ignore_errors=True)
    return report


def make_records(shard: Shard, on_items: Callable[[float], None]) -> Iterator[Record | Problem]:
    """The records of a shard's items in order, and what could not be had."""
    for number, (_, group) in enumerate(groupby(shard.items, key=lambda item: item.media if item.video else item.id)):
        items = list(group)
        if items[0].video:
            spool = shard.frames_dir / f"{number}-{shard.fingerprint}"
            told = [0.0]

            def on_share(share: float, count: int = len(items), told: list[float] = told):
                told[0] += share
                on_items(share * count)

            yield from read_video(items, shard.media, on_share, spool)
            on_share(1 - told[0])  # what could not be had counts as done
            continue
        try:
            yield read_photo(items[0], shard.media)
        except MediaError as error:
            yield Problem(error.kind, str(error), items[0].where, items[0].id)
        on_items(1)


def write_records(path: Path, records: Iterable[Record]) -> tuple[int, int]:
    """Writes records as tf.Examples to an ArrayRecord file, aside and then renamed.

    Returns:
      Their number, and the bytes of the examples (what TFDS calls num_bytes).

    Raises:
      OutputError: the disk is full, or the file cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    count = size = 0
    try:
        # One record a group, as TFDS writes it: any record can be read alone.
        with _Writing(aside):
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


class _Writing:
    """Turns what ArrayRecord raises (RuntimeError with the system's words in it) into an OutputError."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO):
            ours = isinstance(error, (RuntimeError, ValueError)) and os.strerror(code) in str(error)
            if ours or (isinstance(error, OSError) and error.errno == code):
                raise OutputError(code, os.strerror(code), str(self.path)) from error


def fingerprint(items: Sequence[Item], files: Mapping[str, tuple[int, int]], settings: Storage) -> str:
    """A hash of what decides a shard's bytes: the items, their files' sizes and times, settings, and versions.

    Args:
      files: by item id, (bytes, time of change in ns).
    """
    digest = hashlib.blake2b(repr((_FORMAT, PIL.__version__, av.library_versions, settings)).encode(), digest_size=16)
    for item in items:
        media = str(item.media) if isinstance(item.media, Path) else pickle.dumps(item.media)
        known = (
            item.id,
            media,
            files.get(item.id),
            item.name,
            item.where,
            item.captions,
            item.labels,
            item.clip,
            item.video,
        )
        digest.update(repr((*known, item.transcript)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
