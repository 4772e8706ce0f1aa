"""Strict reading of JSON and JSON lines: errors name the file, line and column of a fault."""

import json
import logging
import re
from collections import Counter
from pathlib import Path

from capjax.metrics.messages import show_value

log = logging.getLogger("capjax.metrics")

# Larger files are refused: parsed, they would take ten times as much memory.
MAX_BYTES = 2**30


class Lines(list):
    """The values of a file of JSON lines, as (line number, value)."""


def parse(path: Path) -> object:
    """Reads JSON; returns `Lines` for JSON lines, by the file's suffix or if each line has an object.

    Raises:
      FileNotFoundError, IsADirectoryError.
      ValueError: the file is empty, larger than MAX_BYTES, in another encoding, malformed or truncated (with line and
        column), nested too deep, or has a repeated key or a NaN.
    """
    text = read_text(path)
    if path.suffix.lower() in (".jsonl", ".ndjson", ".jsonlines"):
        return _lines(text, path)
    start = len(text) - len(text.lstrip())
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        position = f"line {error.lineno}, column {error.colno}"
        truncated = (
            "; the file seems truncated" if error.pos >= len(text.rstrip()) or "Unterminated" in error.msg else ""
        )
        raise ValueError(f"{path}: {position}: not JSON: {error.msg}{truncated}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {_line_of_constant(error, text)}{_reason(error)}") from error
    rest = text[end:].lstrip()
    if rest:
        if isinstance(value, dict) and re.search("[\r\n]", text[end : len(text) - len(rest)]):
            return _lines(text, path)
        line = text.count("\n", 0, len(text) - len(rest)) + 1
        raise ValueError(f"{path}: line {line}: more follows after the end of the JSON: {rest[:20]!r}")
    return value


def read_text(path: Path) -> str:
    """Reads a text file in UTF-8, or in Windows-1252 with a warning. Raises as `parse`, except for errors of JSON."""
    if path.is_dir():
        files = sorted(file.name for file in path.iterdir() if file.suffix in (".json", ".jsonl"))
        example = f", such as {files[0]}" if files else ""
        raise IsADirectoryError(f"{path} is a folder; name a file{example}")
    try:
        raw = _read_bytes(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{path}: the file is UTF-16; save it as UTF-8")
    if raw.startswith((b"\x1f\x8b", b"PK\x03\x04")):
        raise ValueError(f"{path}: the file is compressed; unpack it first")
    try:
        text = raw.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        byte, line = raw[error.start], raw.count(b"\n", 0, error.start) + 1
        if not (text := _decode_windows(raw)):
            raise ValueError(
                f"{path}:{line}: not UTF-8: byte 0x{byte:02x} at offset {error.start}; save the file as UTF-8"
            ) from error
        log.warning("%s:%d: not UTF-8: byte 0x%02x; the file is read as Windows-1252", path, line, byte)
    if not text.strip():
        raise ValueError(f"{path}: the file is empty")
    return text


def _read_bytes(path: Path) -> bytes:
    chunks, size = [], 0
    with path.open("rb") as file:
        while chunk := file.read(2**24):  # a pipe has no size to check before
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BYTES:
                raise ValueError(f"{path}: the file has more than {MAX_BYTES // 2**20:,} MB; divide it")
    return b"".join(chunks)


def _decode_windows(raw: bytes) -> str:
    """Returns the text of a file in Windows-1252; empty for other bytes, such as UTF-8 in which some are damaged."""
    is_partly_utf8 = any("\x7f" < character != "\ufffd" for character in set(raw.decode(errors="replace")))
    if is_partly_utf8 or b"\0" in raw:
        return ""
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        return ""


def _lines(text: str, path: Path) -> Lines:
    rows = Lines()
    # str.splitlines would also split at U+2028 and the like, which strings may hold.
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removeprefix("\ufeff")  # of a file that others are joined to
        if not line.strip():
            continue
        try:
            row = _DECODER.decode(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path}:{number}: column {error.colno}: not JSON: {error.msg}; each line has a complete object"
            ) from error
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}:{number}: {_reason(error)}") from error
        rows.append((number, row))
    return rows


def _object(pairs: list) -> dict:
    value = dict(pairs)
    if len(value) < len(pairs):
        key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(
            f"the key {show_value(key)} is repeated in an object; JSON readers would keep only the last value"
        )
    return value


class _NotANumber(ValueError):
    """NaN or Infinity, which Python's parser would accept."""


def _constant(name: str):
    raise _NotANumber(f"{name} is not JSON; write a number, or null")


_STRING_OR_CONSTANT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|(?P<constant>NaN|Infinity)', re.DOTALL)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _line_of_constant(error: Exception, text: str) -> str:
    """Returns `line N: ` for the first NaN or Infinity outside strings, if that is the error."""
    if not isinstance(error, _NotANumber):
        return ""
    for match in _STRING_OR_CONSTANT.finditer(text):
        if match["constant"]:
            return f"line {text.count(chr(10), 0, match.start()) + 1}: "
    return ""


def _reason(error: Exception) -> str:
    return "lists or objects are nested too deep" if isinstance(error, RecursionError) else str(error)
