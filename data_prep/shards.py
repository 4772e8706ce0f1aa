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
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import PIL
from array_record.python.array_record_module import ArrayRecordWriter

from capjax.data.record import Record, serialize
from capjax.files import write_text
from data_prep.media import MediaError, MediaSettings, read_media
from data_prep.readers.item import Item, Problem

# Raise it when the same items should give other bytes than before.
_FORMAT = 1


class OutputError(OSError):
    """The dataset cannot be written: the disk is full, or the like."""


@dataclass(frozen=True)
class Shard:
    """What `write_shard` needs to know.

    Attributes:
      path: the file to write.
      report_path: where its ShardReport is kept until the dataset is finished.
      fingerprint: of all that decides the bytes; a finished shard with another one is made anew.
    """

    path: Path
    report_path: Path
    items: tuple[Item, ...]
    media: MediaSettings
    fingerprint: str


@dataclass(frozen=True)
class ShardReport:
    """What became of a shard: records written, bytes of their examples, captions by language, and what was skipped."""

    fingerprint: str
    records: int
    bytes: int
    file_bytes: int
    captions: dict[str, int]
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


def write_shard(shard: Shard, on_item: Callable[[], None] = lambda: None) -> ShardReport:
    """Makes the records of a shard and writes them, aside and then renamed.

    Args:
      on_item: called after every item; what it raises ends the work and leaves no file.

    Raises:
      OutputError: the disk is full, or the file cannot be written.
    """
    problems: list[Problem] = []
    captions: Counter[str] = Counter()

    def records() -> Iterable[Record]:
        for item in shard.items:
            try:
                record = make_record(item, shard.media)
            except MediaError as error:
                problems.append(Problem(error.kind, str(error), item.where, item.id))
            else:
                captions.update(caption.lang for caption in record.captions)
                yield record
            on_item()

    with warnings.catch_warnings():
        # Pillow warns of every odd EXIF block on the web.
        warnings.filterwarnings("ignore", module="PIL")
        count, size = write_records(shard.path, records())
    file_bytes = shard.path.stat().st_size
    report = ShardReport(shard.fingerprint, count, size, file_bytes, dict(sorted(captions.items())), tuple(problems))
    try:
        write_text(shard.report_path, json.dumps(asdict(report)))
    except OSError as error:
        raise OutputError(error.errno, error.strerror, str(shard.report_path)) from error
    return report


def make_record(item: Item, settings: MediaSettings) -> Record:
    """Reads an item's media.

    Raises:
      MediaError: they cannot be used.
    """
    media = read_media(item.media, settings)
    return Record(
        id=item.id,
        media=item.name,
        captions=item.captions,
        frames=media.frames,
        frame_times=media.frame_times,
        duration=media.duration,
        labels=item.labels,
        transcript=item.transcript,
    )


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


def fingerprint(items: Sequence[Item], files: Mapping[str, tuple[int, int]], settings: MediaSettings) -> str:
    """A hash of what decides a shard's bytes: the items, their files' sizes and times, settings, and versions.

    Args:
      files: by item id, (bytes, time of change in ns).
    """
    digest = hashlib.blake2b(repr((_FORMAT, PIL.__version__, settings)).encode(), digest_size=16)
    for item in items:
        media = str(item.media) if isinstance(item.media, Path) else pickle.dumps(item.media)
        known = (item.id, media, files.get(item.id), item.name, item.where, item.captions, item.labels, item.clip)
        digest.update(repr((*known, item.transcript)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
