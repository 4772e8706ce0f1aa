"""A function over tasks in worker processes that end with their parent, whatever ends it.

Processes are spawned, not forked: a fork of a process that has threads (Grain, JAX, tqdm) may hang.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

# (steps done by all workers, an event that asks them to stop); set in each worker.
_shared: tuple[Any, Any] | None = None


class Stopped(Exception):
    """The parent asked for an end."""


def available_cores() -> int:
    """Cores this process may use, which in a container can be fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    function: Callable, tasks: Sequence, workers: int, on_steps: Callable[[float], None]
) -> Iterator[tuple[Any, Any]]:
    """Yields (task, function(task, on_step)) as they get done, in any order.

    Leaving the loop early stops the workers after the steps at hand.

    Args:
      function: picklable; it calls `on_step(count)` as its work goes on, and cleans up if that raises.
      workers: processes; 1 works in this one.
      on_steps: called now and then in this process with the number of steps done since the last call.

    Raises:
      RuntimeError: a worker was killed, for instance by the system for want of memory, or could not start.
    """
    if workers == 1 or len(tasks) < 2:
        for task in tasks:
            yield task, function(task, on_steps)
        return
    context = multiprocessing.get_context("spawn")
    steps, stop = context.Value("d", 0), context.Event()
    executor = ProcessPoolExecutor(min(workers, len(tasks)), context, _start_worker, (steps, stop))
    told = 0
    try:
        waiting: dict[Future, Any] = {executor.submit(_work, function, task): task for task in tasks}
        while waiting:
            done, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
            now = steps.value
            on_steps(now - told)
            told = now
            for future in done:
                yield waiting.pop(future), future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker process came to a sudden end. If for want of memory, try fewer workers; in a script of yours, "
            'the call must stand under `if __name__ == "__main__":`'
        ) from error
    finally:
        stop.set()
        executor.shutdown(wait=True, cancel_futures=True)


def _start_worker(steps, stop):
    global _shared
    _shared = steps, stop
    # Ctrl-C goes to the whole group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


def _work(function: Callable, task):
    return function(task, _on_step)


def _on_step(count: float):
    steps, stop = _shared
    with steps.get_lock():
        steps.value += count
    if stop.is_set():
        raise Stopped
