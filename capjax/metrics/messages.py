"""Values and lists in error messages, shortened."""

from collections.abc import Callable, Iterable


def shorten(
    items: Iterable, *, shown: int = 5, show: Callable[[object], str] = "{!r:.80}".format, separator: str = ", "
) -> str:
    """Returns the first items of a list, and how many more there are: `'a', 'b', 'c' and 7 more`.

    Args:
      shown: how many items are written out.
      show: item -> text; by default its repr, up to 80 characters.
    """
    items = list(items)
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return separator.join(map(show, items[:shown])) + more


def show_value(value: object) -> str:
    """Returns the repr of a value, shortened to 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
