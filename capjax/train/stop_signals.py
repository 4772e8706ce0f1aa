"""SIGTERM and SIGINT during training: a request to save and stop, or the end of the process where nothing is lost."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from capjax.parallel import hosts
from capjax.parallel.liveness import run_briefly

_CAUGHT = (signal.SIGTERM, signal.SIGINT)


class Stopped(RuntimeError):
    """A signal ended the run.

    Attributes:
      signal: the number of the signal.
    """

    def __init__(self, number: int, step: int | None):
        super().__init__(_message(number, step))
        self.signal = number


def _message(number: int, step: int | None) -> str:
    name = signal.Signals(number).name
    if step is None:
        return f"stopped by {name} before the first step; nothing was saved"
    return f"stopped by {name} at step {step} and saved; the same command continues from here"


class StopSignals:
    """Handles SIGTERM and SIGINT between `__enter__` and `__exit__`.

    A signal is a request: `received` holds its number, and the training loop saves and stops after the step. A second
    SIGINT raises KeyboardInterrupt at once. Python runs signal handlers in the main thread only, and not while that
    thread compiles; within `exit_on_signal` a second thread ends the process instead.
    """

    def __init__(self):
        self.received: int | None = None
        self._section: tuple[int | None, Callable[[], None]] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> "StopSignals":
        # The interpreter writes the number of each signal to this socket at once, whatever the main thread does.
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._previous_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._previous = {number: signal.signal(number, self._handle) for number in _CAUGHT}
        threading.Thread(target=self._watch, daemon=True, name="stop_signals").start()
        return self

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        self._writer.close()  # ends the thread

    @contextmanager
    def exit_on_signal(self, saved_step: int | None, cleanup: Callable[[], None]) -> Iterator[None]:
        """Within this context a signal ends the process, with status 128 + its number.

        Args:
          saved_step: the step of the checkpoint that the next start continues from; None: there is none.
          cleanup: called before the end, see `run_briefly`.
        """
        with self._lock:
            self._section = saved_step, cleanup
            if self.received:
                self._exit(self.received)
        try:
            yield
        finally:
            with self._lock:  # where the process is ending, this waits for the end
                self._section = None

    def _handle(self, number, frame):
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number

    def _watch(self):
        while number := self._reader.recv(1):
            if number[0] in _CAUGHT:
                with self._lock:
                    self.received = self.received or number[0]
                    if self._section:
                        self._exit(number[0])
        self._reader.close()

    def _exit(self, number: int):
        assert self._section is not None
        saved_step, cleanup = self._section
        status, message = 128 + number, _message(number, saved_step)
        print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr, flush=True)
        run_briefly(cleanup)
        hosts.shut_down(status, message)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
