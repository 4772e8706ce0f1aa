"""Messages about compilation, which may take minutes in which nothing else happens."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_REPORT_EVERY = 30.0  # seconds


@contextmanager
def announced(say: Callable[[str], None], what: str) -> Iterator[None]:
    """Says that a program is being compiled, how long that has taken so far, and in the end how long it took."""
    start, done = time.perf_counter(), threading.Event()
    say(f"compiling {what} (this can take minutes) ...")

    def report():
        while not done.wait(_REPORT_EVERY):
            say(f"still compiling {what} after {time.perf_counter() - start:.0f} s; later starts reuse the result")

    thread = threading.Thread(target=report, daemon=True, name="compilation")
    thread.start()
    try:
        yield
    finally:
        done.set()
    say(f"compiled {what} in {time.perf_counter() - start:.1f} s")
