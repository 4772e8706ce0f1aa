"""Types of values in annotation files, which may hold anything."""

import math
import reprlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

_short = reprlib.Repr()
_short.maxlevel, _short.maxlist, _short.maxtuple, _short.maxdict = 3, 6, 6, 4
_short.maxstring = _short.maxlong = _short.maxother = 80


class Kind(NamedTuple):
    """A type of values: its description in messages, and whether a value has it."""

    description: str
    matches: Callable[[Any], bool]


def shown_value(value: object) -> str:
    """A value for a message, of bounded length and depth."""
    return _short.repr(value)


def is_text(text: str) -> bool:
    """Whether `text` has no lone surrogates, which come from undecodable bytes or broken \\u escapes in JSON."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_number(value: object) -> bool:
    """Whether a value is a finite number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # integers of JSON have no limit
        return False


def id_text(value: object) -> str | None:
    """An id as text, so that 17, 17.0 and "17" are the same; None for a value that is no id, such as null or NaN."""
    if isinstance(value, str):
        return value if value.strip() and is_text(value) else None
    if type(value) is int and abs(value) < 2**63:
        return str(value)
    if not is_number(value):
        return None
    return str(int(value)) if value == int(value) else None  # type: ignore[call-overload]


TEXT = Kind("text", lambda value: isinstance(value, str) and is_text(value))
ID = Kind("text or a whole number", lambda value: id_text(value) is not None)
NUMBER = Kind("a number", is_number)
LIST = Kind("a list", lambda value: isinstance(value, list))


def wrong_type(row: object, kinds: Mapping[str, Kind], optional: Collection[str] = ()) -> str:
    """A message about the first field that is missing or has another type than in `kinds`; empty if there is none.

    Args:
      row: a value of a file, which should be an object.
      optional: fields that may be missing or null.
    """
    if not isinstance(row, dict):
        return f"should be an object with {', '.join(kinds)}, not {shown_value(row)}"
    for field, kind in kinds.items():
        value = row.get(field)
        if not (value is None and field in optional) and not kind.matches(value):
            return f"{field} should be {kind.description}, not {shown_value(value)}"
    return ""
