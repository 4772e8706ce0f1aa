"""Worker processes."""

import os
import signal
import time

import pytest

from data_prep.pool import run


def square(task: int, on_step) -> int:
    on_step(1)
    return task * task


def die(task: int, on_step):
    os._exit(1)


def fail(task: int, on_step):
    raise ValueError(f"task {task}")


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_is_done_and_every_step_told(workers):
    steps = []
    assert dict(run(square, range(6), workers, steps.append)) == {n: n * n for n in range(6)}
    assert sum(steps) == 6


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_out(workers):
    with pytest.raises(ValueError, match="task"):
        list(run(fail, range(3), workers, lambda _: None))


def test_a_dead_worker_is_an_error_not_a_wait():
    with pytest.raises(RuntimeError, match="ended unexpectedly.*memory"):
        list(run(die, range(3), 2, lambda _: None))


def die_at_three(task: int, on_step) -> int:
    """Kills its process when it has done two steps of task 3."""
    for _ in range(5):
        on_step(1)
        if task == 3:
            on_step(1)
            os.kill(os.getpid(), signal.SIGKILL)
    return task


def test_a_killed_worker_costs_its_task_alone_and_its_steps_are_taken_back():
    steps, killed = [], []

    def on_killed(task: int, done: float) -> int:
        killed.append((task, done))
        return -task

    results = dict(run(die_at_three, range(6), 2, steps.append, on_killed))
    assert results == {n: n for n in (0, 1, 2, -3, 4, 5)}
    assert killed == [(3, 2)]
    assert sum(steps) == 30


def test_a_worker_that_exits_is_replaced():
    assert dict(run(leave_or_square, range(4), 2, lambda _: None, lambda task, _: task + 10)) == {
        0: 0, 10 + 1: 121, 2: 4, 3: 9,
    }  # fmt: skip


def leave_or_square(task: int, on_step) -> int:
    if task == 1:
        os._exit(0)
    return square(task, on_step)


class Awkward(Exception):
    def __init__(self, kind: str, message: str):
        super().__init__(message)


def fail_awkwardly(task: int, on_step):
    raise Awkward("kind", f"task {task}")


def test_an_exception_that_cannot_be_sent_still_comes_out():
    with pytest.raises(RuntimeError, match="Awkward: task"):
        list(run(fail_awkwardly, range(3), 2, lambda _: None))


def slow(task: int, on_step) -> int:
    for _ in range(10_000):
        on_step(1)
        time.sleep(0.001)
    return task


def test_leaving_early_stops_the_workers_soon():
    start = time.monotonic()
    for _ in run(slow_after_first, range(8), 2, lambda _: None):
        break
    assert time.monotonic() - start < 8


def slow_after_first(task: int, on_step) -> int:
    return task if task == 0 else slow(task, on_step)
