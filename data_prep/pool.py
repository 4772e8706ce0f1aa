"""Maps a function over tasks in worker processes that end when their parent ends, however it ends.

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

# (number of steps done by all workers, event that asks them to stop); set in each worker.
_shared: tuple[Any, Any] | None = None


class Stopped(Exception):
    """The parent asked the worker to stop."""


def available_cores() -> int:
    """Number of cores that this process may use; in a container this can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    function: Callable, tasks: Sequence, workers: int, on_steps: Callable[[float], None]
) -> Iterator[tuple[Any, Any]]:
    """Yields (task, function(task, on_step)) as tasks finish, in any order.

    Leaving the loop early stops the workers after their current steps.

    Args:
      function: picklable; calls `on_step(count)` as it progresses, and cleans up if that raises.
      workers: number of processes; with 1 the calling process does the work.
      on_steps: called repeatedly in the calling process with the number of steps done since the last call.

    Raises:
      RuntimeError: a worker was killed, for instance because memory ran out, or could not start.
    """
    if workers == 1 or len(tasks) < 2:
        for task in tasks:
            yield task, function(task, on_steps)
        return
    context = multiprocessing.get_context("spawn")
    steps, stop = context.Value("d", 0), context.Event()
    executor = ProcessPoolExecutor(min(workers, len(tasks)), context, _start_worker, (steps, stop))
    reported = 0
    try:
        waiting: dict[Future, Any] = {executor.submit(_work, function, task): task for task in tasks}
        while waiting:
            done, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
            total = steps.value
            on_steps(total - reported)
            reported = total
            for future in done:
                yield waiting.pop(future), future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker process ended unexpectedly. If memory ran out, use fewer workers; in a script, the call must be "
            'under `if __name__ == "__main__":`'
        ) from error
    finally:
        stop.set()
        executor.shutdown(wait=True, cancel_futures=True)


def _start_worker(steps, stop):
    global _shared
    _shared = steps, stop
    # Ctrl-C goes to the whole process group; the parent decides what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _work(function: Callable, task):
    return function(task, _on_step)


def _on_step(count: float):
    assert _shared is not None  # set by `_start_worker`
    steps, stop = _shared
    with steps.get_lock():
        steps.value += count
    if stop.is_set():
        raise Stopped
