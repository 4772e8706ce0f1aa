"""How a run ends before its time: signals and numbers that are not finite. The training step is a stand-in."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capjax import jobs
from capjax.train import loop, train_programs
from capjax.workdir.checkpoint import load_weights
from tests.helpers.kill_run import latest
from tests.helpers.tiny_job import DEFAULT_CONFIG, one_device, rows


@pytest.fixture
def start(tiny, tmp_path, monkeypatch):
    """Trains in `tmp_path/run` with the step function `state, loss -> state, loss`."""
    one_device(monkeypatch)

    def run(change=lambda step, params: (params, 1.0), *more: str) -> int:
        def make_step(*args, **kwargs):
            def step(state, batch):
                params, loss = change(state.step + 1, state.params)
                return state.replace(step=state.step + 1, params=params), {"loss": jnp.float32(loss)}

            return step

        monkeypatch.setattr(train_programs, "make_step", make_step)
        settings = tiny.settings("data.eval=", "train.steps=12", *more)
        return jobs.run("train", DEFAULT_CONFIG, str(tmp_path / "run"), settings)

    return run


@pytest.fixture
def at_batch(monkeypatch):
    """(number, action): runs an action before that batch of the run is placed on the devices."""

    def install(number: int, action):
        to_device, calls = loop.to_device, []

        def placed(*args):
            calls.append(args)
            if len(calls) == number:
                action()
            return to_device(*args)

        monkeypatch.setattr(loop, "to_device", placed)

    return install


def kill(number: int):
    os.kill(os.getpid(), number)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_last_good_checkpoint(start, tmp_path, capsys):
    assert start(lambda step, params: (params, jnp.where(step == 10, jnp.nan, 1.0))) == 1
    errors = capsys.readouterr().err
    last_good = tmp_path / "run/checkpoints/8"
    assert "launch.py: the loss is nan at step 10, on the records " in errors
    assert errors.count(".jpg") == 8, "the batch's records"
    assert f"Last good checkpoint: {last_good}. Lower optimizer.learning_rate" in errors
    assert latest(tmp_path / "run") == 8
    assert [row["step"] for row in rows(tmp_path / "run")] == list(range(1, 10)), "nothing that is not a number"


def test_parameters_that_are_not_finite_are_never_saved(start, tmp_path, capsys):
    """The loss of a step is of the parameters before it: step 8 looks well, and would be saved."""

    def blow_up(step, params):
        return jax.tree.map(lambda x: jnp.where(step == 8, jnp.inf, x), params), 1.0

    assert start(blow_up) == 1
    errors = capsys.readouterr().err
    assert "a parameter is not finite at step 8" in errors
    assert f"Last good checkpoint: {tmp_path / 'run/checkpoints/4'}" in errors
    step, params, _ = load_weights(tmp_path / "run")
    assert step == 4
    assert all(np.isfinite(value).all() for value in params.values())


def test_without_a_checkpoint_the_error_says_so(start, capsys):
    assert start(lambda step, params: (params, jnp.inf)) == 1
    assert "the loss is inf at step 1" in (errors := capsys.readouterr().err)
    assert "Last good checkpoint: none was written yet" in errors


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_step_it_came_in(start, tmp_path, capsys, at_batch, number, status):
    before = signal.getsignal(number)
    at_batch(7, lambda: kill(number))
    assert start() == status
    assert signal.getsignal(number) is before
    message = f"stopped by {signal.Signals(number).name} at step 7 and saved; the same command continues from here"
    assert message in capsys.readouterr().err
    assert latest(tmp_path / "run") == 7
    assert start() == 0
    assert "resuming from step 7" in capsys.readouterr().err
    assert [row["step"] for row in rows(tmp_path / "run")] == list(range(1, 13))


def test_a_signal_in_the_last_step_is_a_finished_run(start, at_batch):
    at_batch(12, lambda: kill(signal.SIGTERM))
    assert start() == 0


def test_a_second_ctrl_c_stops_at_once(start, tmp_path, capsys, at_batch):
    at_batch(1, lambda: [kill(signal.SIGINT), kill(signal.SIGINT)])
    assert start() == 130
    assert "launch.py: interrupted" in capsys.readouterr().err
    assert latest(tmp_path / "run") == 0


@pytest.mark.parametrize(("failing_batch", "status"), [(1, 1), (4, 70)])
def test_an_unforeseen_error_is_worth_a_restart_only_after_the_first_step(
    start, capsys, at_batch, failing_batch, status
):
    def fail():
        raise RuntimeError("a defect")

    at_batch(failing_batch, fail)
    assert start() == status
    assert "RuntimeError: a defect" in capsys.readouterr().err
