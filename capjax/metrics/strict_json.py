"""Strict reading of JSON and JSON lines: errors name the file, line and column of a fault."""

import json
from collections import Counter
from pathlib import Path


class Lines(list):
    """The values of a file of JSON lines, as (line number, value)."""


def parse(path: Path) -> object:
    """Reads JSON in UTF-8; returns `Lines` for JSON lines, by the file's suffix or if each line has an object.

    Raises:
      FileNotFoundError, IsADirectoryError.
      ValueError: the file is empty, not UTF-8, malformed or truncated (with line and column), nested too deep, or has
        a repeated key or a NaN.
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
        raise ValueError(f"{path}: {_reason(error)}") from error
    rest = text[end:].lstrip()
    if rest:
        if isinstance(value, dict) and "\n" in text[end : len(text) - len(rest)]:
            return _lines(text, path)
        line = text.count("\n", 0, len(text) - len(rest)) + 1
        raise ValueError(f"{path}: line {line}: more follows after the end of the JSON: {rest[:20]!r}")
    return value


def read_text(path: Path) -> str:
    """Reads a text file in UTF-8. Raises as `parse` does, except for errors of JSON."""
    if path.is_dir():
        files = sorted(file.name for file in path.iterdir() if file.suffix in (".json", ".jsonl"))
        example = f", such as {files[0]}" if files else ""
        raise IsADirectoryError(f"{path} is a folder; name a file{example}")
    try:
        raw = path.read_bytes()
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
        raise ValueError(
            f"{path}:{line}: not UTF-8: byte 0x{byte:02x} at offset {error.start}; save the file as UTF-8"
        ) from error
    if not text.strip():
        raise ValueError(f"{path}: the file is empty")
    return text


def _lines(text: str, path: Path) -> Lines:
    rows = Lines()
    for number, line in enumerate(text.split("\n"), 1):
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
        raise ValueError(f"the key {key!r} is repeated in an object; JSON readers would keep only the last value")
    return value


def _constant(name: str):
    raise ValueError(f"{name} is not JSON; write a number, or null")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _reason(error: Exception) -> str:
    return "lists or objects are nested too deep" if isinstance(error, RecursionError) else str(error)
