"""Functions shared by readers: lines, JSON and media names of files that may be damaged, and splits by hash."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from data_prep.arguments import checked
from data_prep.readers.item import InputError, Problem, is_text

# Shares of train, val and test.
DEFAULT_FRACTIONS = (0.8, 0.1, 0.1)


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


def lines(path: Path, where: str, costs: str = "caption") -> Iterator[tuple[str, str | Problem]]:
    """Yields (location, text without line end) of non-blank lines of a UTF-8 file, without a BOM.

    Args:
      where: the file in locations, which are WHERE:LINE.
      costs: what a line that is not UTF-8 costs; it is yielded as a Problem.

    Raises:
      InputError: the file cannot be opened, or is UTF-16.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    with file:
        for number, line in enumerate(file, 1):
            if number == 1:
                if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                    raise InputError(f"{path}: the file is UTF-16; save it as UTF-8")
                line = line.removeprefix(b"\xef\xbb\xbf")
            try:
                text = line.decode().rstrip("\r\n")
            except UnicodeDecodeError as error:
                message = f"not valid UTF-8 (byte 0x{line[error.start]:02x} at {error.start}); save the file as UTF-8"
                yield f"{where}:{number}", Problem("encoding", message, f"{where}:{number}", costs=costs)
                continue
            if text.strip():
                yield f"{where}:{number}", text


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
    if not isinstance(data, dict):
        raise InputError(f"{path}: the top should be an object, not {type(data).__name__}")
    return data


def rows(data: dict, key: str, path: Path) -> list:
    """The list `data[key]`.

    Raises:
      InputError: it is missing or not a list; the message names the existing keys.
    """
    if not isinstance(data.get(key), list):
        raise InputError(f"{path}: no list {key!r} at the top; there is {', '.join(map(repr, data)) or 'nothing'}")
    return data[key]


def repeated_ids(ids: Sequence[str], entries: Mapping, where: str) -> Iterator[Problem]:
    """Yields a Problem for each of the `duplicate_keys` of `load_json`; those among `entries` are ids of videos."""
    for id in ids:
        message = f"{id!r} occurs twice in an object of the file; the first is used"
        yield Problem("duplicate_id", message, where, id, "video" if id in entries else "nothing")


class Photos:
    """The media folder of a dataset: maps names in annotations to paths inside the folder.

    Args:
      what: `photo` or `video`: the noun in Problems, and what they cost.

    Raises:
      InputError: there is no such folder.
    """

    def __init__(self, folder: Path, what: str = "photo"):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder of {what}s")
        self.folder, self.what = folder, what
        self._real = folder.resolve()

    def path(self, name: object, where: str, id: str = "") -> Path | Problem:
        """The path of a photo (which need not exist), or a Problem if the name is invalid or leads out of the
        folder."""
        what, bad = self.what, partial(Problem, where=where, id=id, costs=self.what)
        if not isinstance(name, str) or not name.strip() or "\0" in name:
            return bad("malformed", f"the {what}'s name should be text, not {name!r:.80}")
        if not is_text(name):
            return bad("encoding", f"the {what}'s name is not valid UTF-8: {name!r:.80}")
        if re.match(r"[\\/]|[A-Za-z]:", name) or ".." in re.split(r"[\\/]", name):
            message = f"{name!r} leads out of the folder of the {what}s; use a path relative to it, without '..'"
            return bad("unsafe_path", message)
        path = self.folder / name
        try:
            inside = path.resolve().is_relative_to(self._real)
        except (OSError, RuntimeError) as error:  # the name is too long, or links form a loop
            return bad(f"missing_{what}", f"{name!r:.80}: {error}")
        if not inside:
            message = f"{name!r} is a symbolic link out of the folder of the {what}s; put the file itself there"
            return bad("unsafe_path", message)
        return path


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
