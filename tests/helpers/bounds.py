"""Bounds on processor time and memory of a block."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _kilobytes(name: str) -> int:
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])


@contextmanager
def bounded(*, seconds: float, memory: int) -> Iterator[None]:
    """Fails if a block takes more processor time, or if the resident memory of the process grows by more bytes in it.

    Processor time, because other processes may slow this one down; of SIGVTALRM, because libtpu uses SIGPROF.
    """

    def stop(*_):
        raise AssertionError(f"it takes longer than {seconds} s")

    can_measure = _RESET.exists()
    if can_measure:
        _RESET.write_text("5")  # the peak is now the present value
        before = _kilobytes("VmRSS")
    handler, start = signal.signal(signal.SIGVTALRM, stop), time.process_time()
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, handler)
    assert time.process_time() - start <= seconds, "it took longer, in a library that does not stop"
    if can_measure:
        grown = 1024 * (_kilobytes("VmHWM") - before)
        assert grown <= memory, f"it took {grown:,} bytes"
