"""Checks JSON values against type annotations, so that a damaged file is an error where it is read."""

import types
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin, get_type_hints, is_typeddict

_NAMES = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "an object", list: "a list",
    types.NoneType: "null",
}  # fmt: skip
_FAST: dict[Any, set[type]] = {str: {str}, int: {int}, float: {int, float}}


def check_type(value: Any, kind: Any, place: str = ""):
    """Raises ValueError unless a JSON value has a type.

    Args:
      kind: a class of JSON values, `list[T]`, `tuple[T, T]` (a list of that length), `dict[str, T]`, `T | None`, a
        TypedDict (whose further keys are ignored), or Any. A float is any number. `Annotated[T, (LOW, HIGH)]` is
        a number from LOW to HIGH.
      place: where the value is, for the message.
    """
    if get_origin(kind) in (NotRequired, Required):
        (kind,) = get_args(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        kind = next((each for each in arguments if _has_class(value, each)), arguments[0])
        check_type(value, kind, place)
        return
    if origin is Annotated:
        check_type(value, arguments[0], place)
        low, high = arguments[1]
        if not low <= value <= high:
            raise ValueError(f"{place or 'the file'} = {value!r:.40}: expected a number from {low} to {high}")
        return
    if kind is not Any and not _has_class(value, kind):
        raise ValueError(f"{place or 'the file'}: expected {_expected(kind)}, found {_found(value)}")
    if isinstance(value, dict) and is_typeddict(kind):
        if missing := kind.__required_keys__ - value.keys():
            raise ValueError(f"{place or 'the file'}: {min(missing)} is missing")
        for key, hint in get_type_hints(kind, include_extras=True).items():
            if key in value:
                check_type(value[key], hint, _inside(place, key))
    elif isinstance(value, dict) and arguments:
        for key, item in value.items():
            check_type(item, arguments[1], _inside(place, key))
    elif isinstance(value, list) and arguments:
        if origin is list and set(map(type, value)) <= _FAST.get(arguments[0], set()):
            return  # the entries of long lists are checked at once
        for number, item in enumerate(value):
            check_type(item, arguments[number] if origin is tuple else arguments[0], f"{place}[{number}]")


def _has_class(value: object, kind: Any) -> bool:
    origin = get_origin(kind) or kind
    if origin is Annotated:
        return _has_class(value, get_args(kind)[0])
    if origin is tuple:
        return isinstance(value, list) and len(value) == len(get_args(kind))
    if origin is float:
        return type(value) in (int, float)
    if origin is int:
        return type(value) is int
    return isinstance(value, dict if is_typeddict(origin) else origin)


def _expected(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return f"a list of {len(get_args(kind))}"
    return _NAMES[dict if is_typeddict(kind) else get_origin(kind) or kind]


def _found(value: object) -> str:
    if isinstance(value, (dict, list)):
        return f"{_NAMES[type(value)]} of {len(value)}"
    return f"{value!r:.40}"


def _inside(place: str, key: str) -> str:
    return f"{place}: {key}" if place else key
