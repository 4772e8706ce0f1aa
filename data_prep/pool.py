"""Maps a function over tasks in worker processes that end when their parent ends, however it ends.

Processes are spawned, not forked: a fork of a process that has threads (Grain, JAX, tqdm) may hang. A worker that is
killed, for instance because memory ran out, is replaced, and the others go on.
"""

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any


class Stopped(Exception):
    """The parent asked the worker to stop."""


def run(
    function: Callable, tasks: Sequence, workers: int, on_steps: Callable[[float], None],
    on_killed: Callable[[Any, float], Any] | None = None,
) -> Iterator[tuple[Any, Any]]:  # fmt: skip
    """Yields (task, function(task, on_step)) as tasks finish, in any order.

    Leaving the loop early stops the workers after their current steps.

    Args:
      function: picklable; calls `on_step(count)` as it progresses, and cleans up if that raises.
      workers: number of processes; with 1 the calling process does the work.
      on_steps: called repeatedly in the calling process with the number of steps done since the last call; negative
        where steps are lost with a worker.
      on_killed: called with the task of a killed worker and its number of steps done; it returns the task to run in its
        place. None: a killed worker is an error.

    Raises:
      RuntimeError: a worker was killed, or could not start.
    """
    if workers == 1 or len(tasks) < 2:
        for task in tasks:
            yield task, function(task, on_steps)
        return
    pending = deque(tasks)
    pool = [_Worker() for _ in range(min(workers, len(tasks)))]
    try:
        while pending or any(worker.is_busy for worker in pool):
            for worker in pool:
                if pending and not worker.is_busy:
                    worker.start(function, pending.popleft())
            busy = {worker.connection: worker for worker in pool if worker.is_busy}
            for connection in wait(list(busy)):
                worker = busy[connection]
                try:
                    kind, value = worker.connection.recv()
                except (EOFError, OSError) as error:
                    if on_killed is None or not worker.has_started:
                        raise RuntimeError(
                            "a worker process ended unexpectedly. If memory ran out, use fewer workers; in a script, "
                            'the call must be under `if __name__ == "__main__":`'
                        ) from error
                    on_steps(-worker.steps)
                    pending.appendleft(on_killed(worker.task, worker.steps))
                    worker.close()
                    pool[pool.index(worker)] = _Worker()
                    continue
                worker.has_started = True
                if kind == "steps":
                    worker.steps += value
                    on_steps(value)
                elif kind == "result":
                    worker.is_busy = False
                    yield worker.task, value
                elif kind == "error":
                    raise value
    finally:
        for worker in pool:
            worker.connection.close()
        for worker in pool:
            worker.process.join()


class _Worker:
    """A worker process, its task, and the number of steps of the task that are done."""

    def __init__(self):
        context = multiprocessing.get_context("spawn")
        self.connection, child = context.Pipe()
        self.process = context.Process(target=_serve, args=(child,))
        self.process.start()
        child.close()
        self.is_busy = self.has_started = False
        self.task, self.steps = None, 0.0

    def start(self, function: Callable, task):
        self.task, self.steps, self.is_busy = task, 0.0, True
        with suppress(BrokenPipeError):  # the process has ended, which the next `recv` tells
            self.connection.send((function, task))

    def close(self):
        self.connection.close()
        self.process.join()


def _serve(connection: Connection):
    """Runs the tasks that come through the connection, until the parent closes it."""
    # Ctrl-C goes to the whole process group; the parent decides what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def on_step(count: float):
        try:
            connection.send(("steps", count))
        except OSError as error:
            raise Stopped from error

    try:
        connection.send(("ready", None))
        while True:
            function, task = connection.recv()
            try:
                answer = "result", function(task, on_step)
            except Stopped:
                return
            except Exception as error:
                answer = "error", _picklable(error)
            connection.send(answer)
    except (EOFError, OSError):
        return


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301, of this process
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent():
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
