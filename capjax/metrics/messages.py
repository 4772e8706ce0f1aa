"""Values and lists in error messages, shortened; notes that say what was being processed."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


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


@contextmanager
def noting(what: object) -> Iterator[None]:
    """Adds to any exception in its block the note that `what`, a file or an item, was being processed."""
    try:
        yield
    except Exception as error:
        error.add_note(f"while processing {what!s:.300}")
        raise


def describe_unforeseen(error: BaseException) -> str:
    """Returns one line about an exception that no message was written for, with its notes (see `noting`)."""
    notes = "".join(f", {note}" for note in getattr(error, "__notes__", ()) if note.startswith("while processing"))
    return f"unforeseen {type(error).__name__}: {error!s:.300}{notes}".replace("\n", " ")


def show_value(value: object) -> str:
    """Returns the repr of a value, shortened to 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
