"""A run goes on as if it had never been stopped."""

import signal

import pytest

from tests.helpers.kill_run import differences, lost_steps, run
from tests.helpers.tiny_job import STEPS, copy, predictions, rows

EVERY = 4  # steps from checkpoint to checkpoint


def test_a_killed_and_a_stopped_run_end_bit_identical_to_one_left_alone(tiny, tmp_path):
    alone = tiny.trained()  # it also fills the cache of compiled programs
    starts = run(tiny, tmp_path / "run", [signal.SIGKILL, signal.SIGTERM], seed=1)
    killed, stopped, last = starts
    assert (killed.status, last.status) == (-signal.SIGKILL, 0), last.log
    # SIGTERM is a request: the step is finished and saved, and nothing is lost.
    assert stopped.status == 128 + signal.SIGTERM
    assert f"stopped by SIGTERM at step {stopped.saved} and saved; the same command continues from here" in stopped.log
    assert stopped.reached == stopped.saved
    lost_steps(starts, EVERY)
    assert differences(alone, tmp_path / "run") == []
    steps = [row["step"] for row in rows(tmp_path / "run") if "loss" in row]
    assert steps == list(range(1, STEPS + 1)), "each once"
    evaluated = [row["step"] for row in rows(tmp_path / "run") if "eval/CIDEr" in row]
    assert evaluated == [20, 40]
    assert predictions(tmp_path / "run", "de") == predictions(alone, "de")


def test_a_finished_run_says_so_and_stays_as_it_is(tiny, tmp_path):
    workdir = copy(tiny.trained(), tmp_path / "run")
    done = tiny.launch(workdir, log_compiles=True)
    assert done.returncode == 0, done.stderr
    assert f"resuming from step {STEPS}" in done.stderr
    assert "all 40 steps are done already; set a larger train.steps to continue from here" in done.stderr
    assert "jit(step)" not in done.stderr
    assert differences(tiny.trained(), workdir) == []
    assert rows(workdir) == rows(tiny.trained())


@pytest.mark.slow
def test_twenty_kills_change_not_one_bit(tiny, tmp_path):
    assert tiny.launch(tmp_path / "alone", "train.steps=600").returncode == 0
    starts = run(tiny, tmp_path / "run", [signal.SIGKILL] * 20, "train.steps=600", reach=40, seed=2)
    assert sum(start.status == -signal.SIGKILL for start in starts) == 20
    lost_steps(starts, EVERY)
    assert differences(tmp_path / "alone", tmp_path / "run") == []
