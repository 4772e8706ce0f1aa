"""Worker processes."""

import os

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
