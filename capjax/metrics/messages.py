"""Parts of error messages: values and lists, shortened; options as the reader types them; what was being processed."""

import reprlib
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

# Large and deeply nested values are not written out in full before they are shortened.
_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother, _REPR.maxlong = 3, 200, 200, 100
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = 10
_on_command_line = ContextVar("on_command_line", default=False)


def show_value(value: object) -> str:
    """Returns the repr of a value, shortened to 80 characters."""
    text = _REPR.repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def shorten(
    items: Iterable, *, shown: int = 5, show: Callable[[object], str] = show_value, separator: str = ", "
) -> str:
    """Returns the first items of a list, and how many more there are: `'a', 'b', 'c' and 7 more`.

    Args:
      shown: how many items are written out.
      show: item -> text.
    """
    items = list(items)
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return separator.join(map(show, items[:shown])) + more


@contextmanager
def noting(what: object) -> Iterator[None]:
    """Adds to any exception in its block the note that `what`, a file or an item, was being processed.

    Args:
      what: if it changes within the block, a function that returns it, or None when there is nothing to note.
    """
    try:
        yield
    except Exception as error:
        processed = what() if callable(what) else what
        if processed is not None:
            error.add_note(f"while processing {processed!s:.300}")
        raise


def describe_unforeseen(error: BaseException) -> str:
    """Returns one line about an exception that no message was written for, with its notes (see `noting`)."""
    notes = "".join(f", {note}" for note in getattr(error, "__notes__", ()) if note.startswith("while processing"))
    *_, frame = traceback.extract_tb(error.__traceback__)
    what, where = f"{type(error).__name__}: {error!s:.300}{notes}", f"{Path(frame.filename).name}:{frame.lineno}"
    request = "This is a fault of capjax or of a plug-in; please report it with that input"
    return f"unforeseen {what} (in {where}). {request}".replace("\n", " ")


def option(name: str, value: str | None = None) -> str:
    """Returns an argument, with its value, as users type it: `missing='zero'`, in a command `--missing zero`."""
    if _on_command_line.get():
        return " ".join(filter(None, [f"--{name.replace('_', '-')}", value]))
    return name if value is None else f"{name}={value!r}"


@contextmanager
def command_line_options() -> Iterator[None]:
    """Makes `option` return options of the command line."""
    token = _on_command_line.set(True)
    try:
        yield
    finally:
        _on_command_line.reset(token)
