"""Checks of the types of JSON values where a file is read. Errors begin with the place in the file."""

import re

# Longer texts and words are not those of captions. The time of tokenization grows with the square of a word's length.
MAX_CHARACTERS = 20_000
_LONG_WORD = re.compile("[!-~]{2001}")


def expect_dict(value: object, place: str) -> dict:
    """Returns an object. Raises ValueError for another value."""
    if not isinstance(value, dict):
        raise ValueError(f"{place}: expected an object, found {describe(value)}")
    return value


def expect_list(value: object, place: str) -> list:
    """Returns a list. Raises ValueError for another value."""
    if not isinstance(value, list):
        raise ValueError(f"{place}: expected a list, found {describe(value)}")
    return value


def expect_text(value: object, place: str, what: str = "text") -> str:
    """Returns a text of moderate length, without halves of surrogate pairs. Raises ValueError for another value.

    Args:
      what: what is expected.
    """
    if not isinstance(value, str):
        raise ValueError(f"{place}: expected {what}, found {describe(value)}")
    if len(value) > MAX_CHARACTERS:
        raise ValueError(f"{place}: expected {what} of at most {MAX_CHARACTERS:,} characters, found {len(value):,}")
    if word := _LONG_WORD.search(value):
        raise ValueError(
            f"{place}: expected {what}, found {word[0][:20]!r}... of more than 2,000 characters without a space"
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        half = next(character for character in value if "\ud800" <= character <= "\udfff")
        raise ValueError(
            f"{place}: expected {what}, found half of a surrogate pair, {half!r}, which is not a character"
        ) from None
    return value


def expect_id(value: object, place: str) -> int | str:
    """Returns the id of an item. Raises ValueError for a value that is neither text nor a whole number, or empty."""
    expected = "text or a whole number"
    if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
        raise ValueError(f"{place}: id: expected {expected}, found {describe(value)}")
    return value if isinstance(value, int) else expect_text(value, f"{place}: id", expected)


def first_of(row: object, keys: tuple[str, ...], place: str) -> object:
    """Returns the value of the first of these keys that an object has. Raises ValueError if it has none."""
    fields = expect_dict(row, place)
    for key in keys:
        if key in fields:
            return fields[key]
    raise ValueError(f"{place}: expected {' or '.join(keys)}, found {list_keys(fields)}")


def list_keys(row: dict) -> str:
    """Returns the first keys of an object, for a message."""
    return ", ".join(f"{key!r:.40}" for key in list(row)[:8]) or "nothing"


def describe(value: object) -> str:
    """Returns a value as shown in messages; a list or object is only named."""
    if isinstance(value, (list, dict)):
        name = "list" if isinstance(value, list) else "object"
        return f"an empty {name}" if not value else f"{'a' if name == 'list' else 'an'} {name}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value!r:.60}"
