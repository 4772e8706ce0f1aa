"""Tars of WebDataset: the members of a sample follow one another, and have one name up to the first dot."""

import bz2
import gzip
import itertools
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from capjax.bulk.source import Failing, MediaItem, Medium
from capjax.data.media_file import MAX_FILE_BYTES
from capjax.data.media_formats import KINDS_BY_SUFFIX

_OPENERS: dict[bytes, Callable] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_REMEDY = "copy it again, or leave it out"
_ERRORS = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)


@dataclass(frozen=True)
class TarSource:
    """The samples of a tar. The medium of a sample is its first member with the suffix of a photo or video.

    The tar is read from its start to the last sample that is needed, and no member is written to disk under its name.

    Attributes:
      keys: the name of each sample, which is its id.
    """

    name: str
    path: Path
    keys: Sequence[str]
    kind: str = "tar"

    @classmethod
    def open(cls, name: str, path: Path) -> "TarSource":
        """Lists the samples of a tar.

        Raises:
          ValueError: the tar is damaged, or has no samples.
        """
        with _errors_named(name), _members(path) as members:
            keys = [key for key, _ in itertools.groupby(members, key=lambda member: member.key)]
        if not keys:
            raise ValueError(f"--input {name}: no files in this tar")
        return cls(name, path, keys)

    def __len__(self) -> int:
        return len(self.keys)

    def ids(self) -> Iterable[str]:
        return self.keys

    def items(self, ranges: Sequence[range]) -> Iterator[MediaItem]:
        numbers = iter(itertools.chain.from_iterable(ranges))
        number = next(numbers, None)
        with _errors_named(self.name), _members(self.path) as members:
            for index, (key, group) in enumerate(itertools.groupby(members, key=lambda member: member.key)):
                if number is None:
                    return
                if index == number:
                    if index >= len(self.keys) or self.keys[index] != key:
                        raise ValueError("it has been changed since it was listed")
                    yield _item(key, group)
                    number = next(numbers, None)
            if number is not None:
                raise ValueError("it has been changed since it was listed")

    def part(self, numbers: range) -> tuple["TarSource", range]:
        return self, numbers


@dataclass(frozen=True)
class _Member:
    """A file in a tar. `read` is called before the next member is asked for."""

    key: str
    name: str
    size: int
    read: Callable[[], bytes]


def is_tar(path: Path) -> bool:
    """Whether a file is a tar, compressed or not."""
    try:
        with _opened(path) as file:
            return tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape").size >= 0
    except _ERRORS:
        return False


def _item(key: str, group: Iterable[_Member]) -> MediaItem:
    names = []
    for member in group:
        names.append(member.name)
        if PurePosixPath(member.name).suffix.lower() in KINDS_BY_SUFFIX:
            medium: Medium
            if member.size > MAX_FILE_BYTES:
                limit = f"at most {MAX_FILE_BYTES // 2**20} MB are read"
                medium = Failing("too_large", f"{member.name} has {member.size / 2**20:.0f} MB; {limit}")
            else:
                medium = member.read()
            return MediaItem(key, member.name, medium)
    return MediaItem(key, "", Failing("no_media", f"none of {', '.join(names)} has the suffix of a photo or video"))


@contextmanager
def _errors_named(name: str) -> Iterator[None]:
    try:
        yield
    except _ERRORS as error:
        raise ValueError(f"--input {name} is cut short or damaged ({error}); {_REMEDY}") from error


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        head = file.read(6)
    opener = next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), open)
    return cast(BinaryIO, opener(path, "rb"))


class _HeaderFile:
    """A file that remembers what was read last: tarfile takes a damaged header for the end of the archive."""

    def __init__(self, file: BinaryIO):
        self._file, self.last = file, b""

    def read(self, size: int = -1) -> bytes:
        self.last = self._file.read(size)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def _members(path: Path) -> Iterator[Iterator[_Member]]:
    """The files of a tar, in order; links, folders and hidden files of macOS are left out."""
    with _opened(path) as file:
        headers = _HeaderFile(file)
        with tarfile.open(fileobj=cast(Any, headers), mode="r:") as tar:
            yield _iterate(tar, headers)


def _iterate(tar: tarfile.TarFile, headers: _HeaderFile) -> Iterator[_Member]:
    while (info := tar.next()) is not None:
        cast(Any, tar).members = []  # or a tar of a million members would fill the memory
        name = PurePosixPath(info.name)
        if not info.isreg() or name.name.startswith("._"):
            continue
        if not info.name.isprintable():
            raise ValueError(f"the name {info.name!r} has characters that cannot be printed")
        key = str(name.with_name(name.name[0] + name.name[1:].split(".")[0]))
        yield _Member(key, str(name), info.size, partial(_read, tar, info))
    if headers.last.strip(b"\0"):
        raise ValueError("the header of a member is damaged")
    if len(headers.last) < tarfile.BLOCKSIZE:
        raise ValueError("the mark of its end is missing")
    while trailing := headers.read(2**20):  # to the end, where compressed files have their checksum
        if trailing.strip(b"\0"):
            raise ValueError("more data follow the mark of its end, as in tars that were joined")


def _read(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(info)
    data = file.read() if file else b""
    if len(data) != info.size:
        raise ValueError(f"{info.name} ends after {len(data)} of {info.size} bytes")
    return data
