"""Digests of files that capjax writes: `digests.json` in their folder, against which they are verified when read.

A `digests.json` covers the files below its folder. Of a sub-folder with a `digests.json` of its own it covers that file
alone, so that each process of a job can digest what it wrote itself.

SHA-256 is cryptographic, and the fastest of hashlib's where the processor has instructions for it (docs/results.md).
"""

import functools
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TypedDict

from capjax.metrics.json_types import check_type
from capjax.metrics.writing import replacing, write_errors_named

log = logging.getLogger("capjax")

FILE = "digests.json"
_warned_without_digests = False


class _DigestsJson(TypedDict):
    sha256: dict[str, str]
    sha256_of_list: str


class DigestError(ValueError):
    """A file is missing, or differs from its digest; the message names it."""


def read_digests(folder: Path) -> dict[str, str] | None:
    """Returns {path in the folder: digest}; None for a folder that was written without digests.

    Raises:
      DigestError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
        check_type(content, _DigestsJson)
        digests = content["sha256"]
        if content["sha256_of_list"] == _sha256_of_list(digests) and all(map(_is_inside, digests)):
            return digests
        reason = "it differs from the digest of itself, or names files outside the folder"
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise DigestError(
        f"{path} is damaged ({reason:.120}); copy the folder again, or remove {FILE} to use its files unverified"
    )


def _is_inside(name: str) -> bool:
    """Whether a name is of a file below the folder: a damaged digests.json must not make capjax read others."""
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _sha256_of_list(digests: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def write_digests(folder: Path, names: Iterable[str] | None = None):
    """Writes the digests of files in a folder.

    Args:
      names: paths in the folder; None: all files below it.
    """
    names = _files(folder) if names is None else names
    _write(folder, {name: sha256_of(folder / name) for name in names})


def set_digest(path: Path, data: bytes | None):
    """Sets the digest of one file to that of `data`; None removes it, so that the file is no longer verified."""
    digests = read_digests(path.parent) or {}
    before = dict(digests)
    digests.pop(path.name, None)
    if data is not None:
        digests[path.name] = hashlib.sha256(data).hexdigest()
    if digests != before:
        _write(path.parent, digests)


def check(path: Path, data: bytes, remedy: str, *, editable: bool = False):
    """Compares the contents of a file with its digest. A file without a digest passes.

    Args:
      editable: users may edit the file; log a warning in place of the error.

    Raises:
      DigestError: they differ.
    """
    digest = (read_digests(path.parent) or {}).get(path.name)
    if digest is None or digest == hashlib.sha256(data).hexdigest():
        return
    if editable:
        _warn(f"{path} was edited or damaged since capjax wrote it: it differs from its digest in {FILE}")
        return
    raise DigestError(
        f"{path} is cut short or damaged (it differs from its digest in {FILE}); {remedy}. If it was replaced on "
        f"purpose, remove {FILE}"
    )


def verify(folder: Path, *, part: int = 0, parts: int = 1):
    """Reads all files of a folder and compares them with their digests. Without digests a warning is logged.

    Args:
      part, parts: where several processes share the work, the number of this one and their count; each file is read
        by one of them.

    Raises:
      DigestError: a file is missing or differs; the message names it.
    """
    if (digests := read_digests(folder)) is None:
        if folder.is_dir():
            warn_without_digests(folder)
        return
    files = sorted(_expand(folder, digests))[part::parts]
    with ThreadPoolExecutor() as pool:
        for (name, _), problem in zip(files, pool.map(lambda file: _problem(folder, *file), files), strict=True):
            if problem:
                raise DigestError(f"{folder / name} {problem}")


def warn_without_digests(folder: Path):
    """Logs that the files of a folder cannot be verified, once in a process: old files come in several folders."""
    global _warned_without_digests
    if not _warned_without_digests:
        _warn(f"{folder} is from before capjax stored digests: damage to it, or to folders like it, is not noticed")
    _warned_without_digests = True


@functools.cache
def _warn(message: str):
    """Logs a warning, once in a process."""
    log.warning("%s", message)


def _expand(folder: Path, digests: dict[str, str], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields (path in the folder, digest) of all files, those of sub-folders with digests of their own included."""
    for name, digest in digests.items():
        yield prefix + name, digest
        inner = PurePosixPath(name)
        if inner.name == FILE and inner.parent.name:
            below = folder / prefix / inner.parent
            yield from _expand(folder, read_digests(below) or {}, f"{prefix}{inner.parent}/")


def _problem(folder: Path, name: str, digest: str) -> str:
    path = folder / name
    if not path.is_file():
        return "is missing"
    return "" if sha256_of(path) == digest else f"differs from its digest in {FILE}"


def _files(folder: Path, prefix: str = "") -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            has_digests = (path / FILE).is_file()
            yield from [f"{prefix}{path.name}/{FILE}"] if has_digests else _files(path, f"{prefix}{path.name}/")
        elif prefix or path.name != FILE:
            yield f"{prefix}{path.name}"


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(folder: Path, digests: dict[str, str]):
    content = {"sha256": dict(sorted(digests.items())), "sha256_of_list": _sha256_of_list(digests)}
    text = json.dumps(content, indent=1) + "\n"
    if isinstance(folder, Path):
        with replacing(folder / FILE) as file:
            file.write(text)
        return
    with write_errors_named(folder / FILE):  # in a bucket, where a file appears when it is complete
        (folder / FILE).write_text(text)
