"""Functions shared by readers: lines and JSON of files that may be damaged, and splits by hash."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from capjax.metrics.json_types import type_mismatch
from capjax.metrics.messages import show_value
from data_prep.arguments import checked
from data_prep.readers.item import InputError, Problem
from data_prep.readers.windows_1252 import is_windows_1252

# Shares of train, val and test.
DEFAULT_FRACTIONS = (0.8, 0.1, 0.1)

_location: str | None = None


def at(where: str) -> str:
    """Notes the location that is being read, for messages about unforeseen errors, and returns it."""
    global _location
    _location = where
    return where


def current_location() -> str | None:
    """The location that is being read; None if nothing was read yet."""
    return _location


def find(folder: Path, names: Sequence[str], what: str) -> Path:
    """The first of `names` that exists in `folder`; a name may be a glob pattern with one match.

    Raises:
      InputError: none exists, or the folder does not; the message says what was looked for.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    for name in names:
        matches = sorted(folder.glob(name)) if name != "." else [folder]
        if len(matches) > 1:
            listed = ", ".join(path.name for path in matches)
            raise InputError(f"{folder}: several files could be {what} ({listed}); name the one that is meant")
        if matches:
            return matches[0]
    raise InputError(f"{folder}: {what} is missing (looked for {', '.join(names)})")


def shown(path: Path, folder: Path) -> str:
    """A path for reports: relative to the input folder if it is in it, so that reports do not depend on its
    location."""
    try:
        return path.relative_to(folder).as_posix()
    except ValueError:
        return path.name


def lines(
    path: Path, where: str, costs: str = "caption", *, windows: bool = False
) -> Iterator[tuple[str, str | Problem]]:
    """Yields (location, text without line end) of non-blank lines of a UTF-8 file, without a BOM.

    Args:
      where: the file in locations, which are WHERE:LINE.
      costs: what a line that is not UTF-8 costs; it is yielded as a Problem.
      windows: read a file in Windows-1252 too, as spreadsheets write it; it is reported once.

    Raises:
      InputError: the file cannot be opened, or is UTF-16.
    """
    encoding = ""  # of the lines that are not UTF-8, once it is known
    for number, line in enumerate(_byte_lines(path), 1):
        location = at(f"{where}:{number}")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            if windows and not encoding:
                encoding = "cp1252" if is_windows_1252(_byte_lines(path)) else "unknown"
                if encoding == "cp1252":
                    message = "not UTF-8; the file is read as Windows-1252. If letters are wrong, save it as UTF-8"
                    yield location, Problem("encoding", message, location, costs="nothing")
            if encoding != "cp1252":
                message = f"not valid UTF-8 (byte 0x{line[error.start]:02x} at {error.start}); save the file as UTF-8"
                yield location, Problem("encoding", message, location, costs=costs)
                continue
            text = line.decode("cp1252")
        if text.strip():
            yield location, text


def _byte_lines(path: Path) -> Iterator[bytes]:
    """Yields the lines of a file without a BOM and line ends, which are those of any system: \\n, \\r\\n or \\r.

    Raises:
      InputError: the file cannot be read, or is UTF-16.
    """
    try:
        with path.open("rb") as file:
            head = file.peek(4)
            if head.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise InputError(f"{path}: the file is UTF-16; save it as UTF-8")
            if head.startswith(b"\xef\xbb\xbf"):
                file.seek(3)
            for line in file:
                yield from line.splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def json_lines(path: Path, where: str, costs: str) -> Iterator[tuple[str, object | Problem]]:
    """Yields (location, value) of each line of a file of JSON lines, or a Problem; arguments and errors as `lines`."""
    for location, line in lines(path, where, costs):
        value: object = line
        if isinstance(line, str):
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                value = Problem("malformed", f"not JSON: {error}", location, costs=costs)
        yield location, value


def load_json(path: Path, drop: Sequence[str] = (), duplicate_keys: list[str] | None = None) -> dict:
    """Reads a JSON file with an object at the top. Bytes that are not UTF-8 become lone surrogates (see `is_text`).

    Args:
      drop: keys to leave out of every object while reading, to save memory.
      duplicate_keys: list to which keys that occur more than once in an object are appended; their first value is used.
        None: the last value is used.

    Raises:
      InputError: the file cannot be read or is not JSON; the message has line and column.
    """
    at(str(path))
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error

    def hook(pairs: list) -> dict:
        if duplicate_keys is None:
            return {key: value for key, value in pairs if key not in drop}
        result = {}
        for key, value in pairs:
            if key in result:
                duplicate_keys.append(key)
            elif key not in drop:
                result[key] = value
        return result

    try:
        data = json.loads(text, object_pairs_hook=hook if drop or duplicate_keys is not None else None)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{error.lineno}: not JSON: {error.msg} at column {error.colno}. Is the download complete?"
        ) from error
    except (RecursionError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from error
    if message := type_mismatch(data, dict, str(path)):
        raise InputError(message)
    return data


def rows(data: dict, key: str, path: Path) -> list:
    """The list `data[key]`.

    Raises:
      InputError: it is missing or not a list; the message names the existing keys.
    """
    if message := type_mismatch(data.get(key), list, f"{path}: {key}"):
        raise InputError(f"{message}; the keys at the top are {show_value(list(data))}")
    return data[key]


def numbered(rows: Sequence[Any], where: str) -> Iterator[tuple[str, Any]]:
    """Yields (location, row) of each row; locations are WHERE[NUMBER], from 0."""
    for number, row in enumerate(rows):
        yield at(f"{where}[{number}]"), row


def repeated_ids(ids: Sequence[str], entries: Mapping, where: str) -> Iterator[Problem]:
    """Yields a Problem for each of the `duplicate_keys` of `load_json`; those among `entries` are ids of videos."""
    for id in ids:
        message = f"{id!r} occurs twice in an object of the file; the first is used"
        yield Problem("duplicate_id", message, where, id, "video" if id in entries else "nothing")


def split_by_hash(name: str, fractions: Sequence[float] = DEFAULT_FRACTIONS) -> str:
    """`train`, `val` or `test` by a hash of the photo's name, so that a photo keeps its split when others are added.

    Args:
      fractions: the shares of train, val and test, which sum to 1.
    """
    digest = hashlib.blake2b(name.encode(), digest_size=8, person=b"capjax split").digest()
    position = int.from_bytes(digest, "big") / 2**64
    if position < fractions[0]:
        return "train"
    return "val" if position < fractions[0] + fractions[1] else "test"


def fractions(text: str) -> tuple[float, float, float]:
    """Parses `0.8,0.1,0.1`.

    Raises:
      ValueError: not three numbers from 0 to 1 with sum 1.
    """
    shares = tuple(float(part) for part in text.split(","))
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"{text!r} should be three shares with sum 1, such as 0.8,0.1,0.1")
    return shares


def add_fractions(parser):
    parser.add_argument(
        "--fractions", type=checked(fractions), default=DEFAULT_FRACTIONS, metavar="TRAIN,VAL,TEST",
        help="if the input has no splits, a hash of each photo's name assigns its split, with these shares (default: "
        "0.8,0.1,0.1)",
    )  # fmt: skip
