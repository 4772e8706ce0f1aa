"""Fuzzing with seeded cases: their number, and processes that bound the time and memory of each case.

The variable CAPJAX_FUZZ_CASES is the largest number of cases of a test; `make fuzz` sets it. Without it, tests run few
cases.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Seconds of the processor that a case may take.
LIMIT_SECONDS = 10.0
# Seconds after which a case counts as hanging, on a machine that does other work as well.
_HANGING_SECONDS = 60.0
# Bytes that a case may take beyond the size of what it reads.
LIMIT_BYTES = 2**30
_EXTREMES = [b"\xff\xff\xff\xff", b"\0\0\0\1", b"\x7f\xff\xff\xff", b"\0\0\xff\xff", b"\1\0\0\0"]


def count_cases(short: int, long: int) -> int:
    """The number of cases to run.

    Args:
      short: without CAPJAX_FUZZ_CASES.
      long: at most, with it.
    """
    most = os.environ.get("CAPJAX_FUZZ_CASES")
    return min(int(most), long) if most else short


def damaged(data: bytes, rng: np.random.Generator, others: Sequence[bytes] = ()) -> bytes:
    """The bytes of a file with random damage: cut, flipped bits, overwritten, removed, repeated or foreign parts."""
    result = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        size = len(result)
        start = int(rng.integers(0, size)) if rng.random() < 0.5 else int(rng.integers(0, min(size, 128)))
        length = int(2 ** rng.uniform(0, 12))
        match rng.integers(0, 8):
            case 0:
                del result[start:]
            case 1:
                result[start] ^= 1 << int(rng.integers(0, 8))
            case 2:
                result[start : start + length] = bytes(min(length, size - start))
            case 3:
                result[start : start + 4] = _EXTREMES[rng.integers(len(_EXTREMES))]
            case 4:
                del result[start : start + length]
            case 5:
                result[start:start] = result[start : start + length]
            case 6:
                result[start : start + length] = rng.bytes(min(length, 64))
            case 7 if others:
                other = others[rng.integers(len(others))]
                offset = int(rng.integers(0, len(other)))
                result[start : start + length] = other[offset : offset + length]
        if not result:
            return b""
    return bytes(result)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a case.

    Attributes:
      case: its number.
      value: what the function returned.
      error: type and message of an exception, or `hang`, or `killed`; empty if there was none.
      seconds: of the processor that it took.
      memory: bytes by which the process grew at most.
    """

    case: int
    value: Any
    error: str
    seconds: float
    memory: int


def run_cases(function: Callable, cases: Iterable) -> Iterator[Outcome]:
    """Yields the outcome of `function(case)` for each case, in a process that is replaced if it hangs or is killed.

    Args:
      function: at the top of a module; what it returns should be small.
    """
    context = multiprocessing.get_context("spawn")
    process = connection = None
    try:
        for number, case in enumerate(cases):
            if process is None:
                connection, child = context.Pipe()
                process = context.Process(target=_serve, args=(child, function), daemon=True)
                process.start()
                child.close()
                connection.recv()
            connection.send(case)
            try:
                if connection.poll(_HANGING_SECONDS):
                    yield Outcome(number, *connection.recv())
                    continue
                error = "hang"
            except (EOFError, OSError):
                error = "killed"
            process.kill()
            process.join()
            process = None
            yield Outcome(number, None, error, _HANGING_SECONDS, 0)
    finally:
        if process is not None:
            process.kill()
            process.join()


def _serve(connection, function: Callable):
    connection.send("ready")
    while True:
        try:
            case = connection.recv()
        except EOFError:
            return
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        before, start = _memory("VmRSS"), time.process_time()
        value, error = None, ""
        try:
            value = function(case)
        except BaseException as raised:
            error = f"{type(raised).__name__}: {raised}"
        connection.send((value, error, time.process_time() - start, _memory("VmHWM") - before))


def _memory(name: str) -> int:
    """The bytes of the process now (VmRSS), or at its peak (VmHWM)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
