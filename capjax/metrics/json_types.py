"""Checks of JSON values against types, so that a damaged file is an error where it is read."""

import functools
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, NamedTuple, NotRequired, Union

from capjax.metrics.messages import shorten, show_value

_NAMES = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "an object", list: "a list",
    types.NoneType: "null",
}  # fmt: skip


class Rule(NamedTuple):
    """A condition on the values of a type: `Annotated[T, Rule(...)]`.

    Attributes:
      expected: the values that meet it, for messages.
      holds: value -> whether it meets the condition.
    """

    expected: str
    holds: Callable[[Any], bool]


def between(low: float, high: float) -> Rule:
    """Returns the rule for numbers from `low` to `high`."""
    return Rule(f"a number from {low} to {high}", lambda value: low <= value <= high)


def is_text(text: str) -> bool:
    """Whether `text` has no lone surrogates, which come from undecodable bytes or broken \\u escapes in JSON."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


Text = Annotated[str, Rule("text without halves of surrogate pairs, which are not characters", is_text)]


def check_type(value: Any, kind: Any, place: str = ""):
    """Raises ValueError unless a JSON value has a type; arguments as `type_mismatch`."""
    if mismatch := type_mismatch(value, kind, place):
        raise ValueError(mismatch)


def type_mismatch(value: Any, kind: Any, place: str = "") -> str:
    """Returns where a JSON value first differs from a type, what was expected and what found; "" if it has the type.

    Args:
      kind: a class of JSON values, `list[T]`, `tuple[T, U]` (a list of two), `dict[str, T]`, `T | None`, a TypedDict
        (whose further keys are ignored), or Any. A float is any number. `Annotated[T, Rule(...), ...]` is a T that
        meets the rules.
      place: where the value is, for the message.
    """
    mismatch = _compile(kind).mismatch(value)
    return mismatch and (f"{place}{mismatch}" if place else mismatch.removeprefix(": "))


def checked_rows(rows: Any, kind: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yields (place, row) of a list. Raises ValueError unless each of its rows has a type."""
    check_type(rows, list[kind], place)
    yield from ((f"{place}[{number}]", row) for number, row in enumerate(rows))


# Value -> where in it and how it differs from a type, such as `[3]: name: expected text, found 5`; "" if it does not.
_Check = Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class _Type:
    """A type, compiled: its name, and {class of its values: check of what is in such a value}."""

    name: str
    checks: dict[type, _Check]

    def mismatch(self, value: Any) -> str:
        if check := self.checks.get(type(value)):
            return check(value)
        return f": expected {self.name}, found {show_value(value)}"


@functools.cache
def _compile(kind: Any) -> _Type:
    origin, arguments = typing.get_origin(kind) or kind, typing.get_args(kind)
    if kind is Any:
        return _Type("any value", dict.fromkeys(_NAMES, _accept))
    if origin is NotRequired:
        return _compile(arguments[0])
    if origin in (Union, types.UnionType):
        parts = [_compile(part) for part in arguments]
        merged = {cls: check for part in parts for cls, check in part.checks.items()}
        return _Type(" or ".join(part.name for part in parts), merged)
    if origin is Annotated:
        base, *rules = arguments
        checks = _compile(base).checks.items()
        return _Type(_compile(base).name, {cls: partial(_check_rules, check, rules) for cls, check in checks})
    if typing.is_typeddict(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        fields = [(key, _compile(hint).mismatch, key in kind.__required_keys__) for key, hint in hints.items()]
        return _Type(_NAMES[dict], {dict: partial(_check_fields, fields)})
    if origin is tuple:
        parts = [_compile(part) for part in arguments]
        return _Type(f"a list of {len(parts)}", {list: partial(_check_parts, parts)})
    if arguments:
        item_type = _compile(arguments[-1])
        accepted = {cls for cls, check in item_type.checks.items() if check is _accept}
        return _Type(_NAMES[origin], {origin: partial(_check_items, item_type, accepted)})
    return _Type(_NAMES[origin], dict.fromkeys((int, float) if origin is float else (origin,), _accept))


def _accept(value: Any) -> str:
    return ""


def _check_rules(check_base: _Check, rules: list[Rule], value: Any) -> str:
    if check_base is not _accept and (mismatch := check_base(value)):
        return mismatch
    for expected, holds in rules:
        if not holds(value):
            return f": expected {expected}, found {show_value(value)}"
    return ""


def _check_fields(fields: Sequence[tuple[str, _Check, bool]], row: dict) -> str:
    for key, check, required in fields:
        if key in row:
            if mismatch := check(row[key]):
                return f": {key}{mismatch}"
        elif required:
            missing = [key for key, _, required in fields if required and key not in row]
            return f": expected {' and '.join(missing)}, found {shorten(row, shown=8) or 'nothing'}"
    return ""


def _check_parts(kinds: Sequence[_Type], items: list) -> str:
    if len(items) != len(kinds):
        return f": expected a list of {len(kinds)}, found one of {len(items)}"
    for number, (kind, item) in enumerate(zip(kinds, items, strict=True)):
        if mismatch := kind.mismatch(item):
            return f"[{number}]{mismatch}"
    return ""


def _check_items(kind: _Type, accepted: set[type], items: Any) -> str:
    keyed = isinstance(items, dict)
    if accepted.issuperset(map(type, items.values() if keyed else items)):  # long lists are checked at once
        return ""
    for key, value in items.items() if keyed else enumerate(items):
        if mismatch := kind.mismatch(value):
            return f": {show_value(key)}{mismatch}" if keyed else f"[{key}]{mismatch}"
    return ""
