"""Jobs of several processes: they compute the same as one process, and survive the loss of any."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.digests import flip_bit
from tests.helpers.kill_run import latest, states
from tests.helpers.tiny_job import ROOT, Tiny, copy, predictions, rows

LOCAL = ROOT / "launch/local.py"
STEPS = 50
# Adam turns rounding errors of tiny gradients into whole steps: they must stay below the tolerance of the comparisons.
SETTINGS = (f"train.steps={STEPS}", "train.eval_every=25", "mesh.data=-1", "optimizer.learning_rate=0.0005")


def start(
    tiny: Tiny, workdir: Path, processes: int, devices: int, *more: str, restarts: int = 0, mode: str = "train"
) -> subprocess.Popen:
    """Starts a job of several processes with simulated devices; the records of each are logged beside the workdir."""
    arguments, log = tiny.command(workdir, *SETTINGS, *more, mode=mode)[2:], workdir.with_suffix(".order")
    flags = "--xla_backend_optimization_level=0"
    env = tiny.environment() | {"XLA_FLAGS": flags, "ORDER_LOG": str(log)}
    local = (
        f"import sys; sys.path.insert(0, {str(LOCAL.parent)!r}); import local; from pathlib import Path;"
        f"local.LAUNCH = Path({str(ROOT / 'tests/helpers/logged_launch.py')!r}); sys.exit(local.main())"
    )
    options = ["--processes", str(processes), "--devices", str(devices), "--restarts", str(restarts), "--"]
    return subprocess.Popen(
        [sys.executable, "-c", local, *options, *arguments], env=env, cwd=ROOT, text=True, stderr=subprocess.PIPE,
        stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> str:
    """Waits for a job that should succeed; returns its standard error."""
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    return errors


def pids(process: subprocess.Popen, count: int) -> list[int]:
    """Process ids of a job's processes, in order."""
    for _ in range(600):
        path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        children = [int(pid) for pid in path.read_text().split()]
        if len(children) == count:
            return children
        time.sleep(0.05)
    raise AssertionError("the processes did not start")


def reach(process: subprocess.Popen, workdir: Path, step: int):
    """Waits until a run has a checkpoint of this step, or of a later one."""
    while latest(workdir) < step:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)


def batches(workdir: Path) -> dict[int, set[str]]:
    """Ids of the records of each batch, over all starts and processes."""
    ids_of: dict[int, dict[str, None]] = {}
    for path in sorted(workdir.parent.glob(f"{workdir.name}.order.*")):
        for line in path.read_text().splitlines():
            number, *ids = line.split()
            ids_of.setdefault(int(number), {}).update(dict.fromkeys(ids))
    return {number: set(ids) for number, ids in sorted(ids_of.items()) if number < STEPS}


def assert_same_run(one: Path, other: Path):
    losses = [{row["step"]: row["loss"] for row in rows(path) if "loss" in row} for path in (one, other)]
    assert losses[0].keys() == losses[1].keys() == set(range(1, STEPS + 1))
    np.testing.assert_allclose(list(losses[0].values()), list(losses[1].values()), rtol=0, atol=1e-5)
    left, right = states(one), states(other)
    assert left.keys() == right.keys()
    for name in left:
        if "params" in name:
            np.testing.assert_allclose(left[name], right[name], rtol=0, atol=1e-5, err_msg=name)
    assert batches(one) == batches(other)
    for lang in ("en", "de"):
        assert predictions(one, lang) == predictions(other, lang)
    scores = [json.loads((path / "scores.json").read_text()) for path in (one, other)]
    assert scores[0] == scores[1]


@pytest.fixture(scope="module")
def alone(tiny, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("hosts") / "alone"
    finish(start(tiny, workdir, 1, 1))
    return workdir


@pytest.mark.slow
def test_two_processes_of_four_devices_train_as_one_process_does(tiny, alone, tmp_path):
    workdir = tmp_path / "run"
    errors = finish(start(tiny, workdir, 2, 4, "mesh.fsdp=2"))
    assert "8 cpu devices" in errors
    assert_same_run(workdir, alone)


def test_two_processes_evaluate_as_one_process_does(tiny, alone, tmp_path):
    workdir = copy(alone, tmp_path / "run")
    for path in (*workdir.glob("*.json"), workdir / "samples.md"):
        if path.name not in ("config.json", "media.json"):
            path.unlink()
    finish(start(tiny, workdir, 2, 2, "mesh.fsdp=2", mode="eval"))
    for name in ("predictions.json", "predictions.de.json", "scores.json", "samples.md"):
        assert (workdir / name).read_bytes() == (alone / name).read_bytes(), name


def test_processes_that_share_rows_of_a_batch_train_as_one_process_does(tiny, alone, tmp_path):
    workdir = tmp_path / "run"
    finish(start(tiny, workdir, 2, 1, "mesh.data=1", "mesh.tensor=2"))
    assert_same_run(workdir, alone)


@pytest.mark.slow
def test_damage_to_what_one_process_wrote_ends_all_with_its_name(tiny, tmp_path):
    workdir = tmp_path / "run"
    finish(start(tiny, workdir, 2, 1, "train.steps=4", "train.eval_every=0", "data.eval=", "mesh.fsdp=2"))
    files = (workdir / "checkpoints/4/state").glob("ocdbt.process_1/d/*")
    path = max(files, key=lambda path: path.stat().st_size)
    flip_bit(path)
    process = start(tiny, workdir, 2, 1, "train.steps=8", "train.eval_every=0", "data.eval=", "mesh.fsdp=2", restarts=2)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 1, errors
    assert f"{path} differs from its digest" in errors and "start 2" not in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_one_process_ends_all_is_not_restarted_and_leaves_no_workdir(tiny, tmp_path, failing):
    (tmp_path / f"run.order.{failing}").mkdir()  # so that this process cannot log its first batch
    process = start(tiny, tmp_path / "run", 2, 1, restarts=2)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 1, errors
    assert f"Is a directory: '{tmp_path}/run.order.{failing}'" in errors and "start 2" not in errors
    assert not (tmp_path / "run").exists()


def test_sigterm_to_one_process_stops_all_after_the_same_step(tiny, tmp_path):
    workdir = tmp_path / "run"
    process = start(tiny, workdir, 2, 1, "train.steps=100000")
    reach(process, workdir, 4)
    os.kill(pids(process, 2)[1], signal.SIGTERM)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 143, errors
    (step,) = {int(step) for step in re.findall(r"stopped by SIGTERM at step (\d+) and saved", errors)}
    assert latest(workdir) == step


@pytest.mark.slow
def test_a_run_resumes_with_other_numbers_of_processes_and_sees_the_same_records(tiny, alone, tmp_path):
    workdir = tmp_path / "run"
    for processes, until in ((4, 12), (2, 28)):
        process = start(tiny, workdir, processes, 1)
        reach(process, workdir, until)
        for pid in pids(process, processes):
            os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=200)
        assert process.returncode == 128 + signal.SIGKILL
        assert until <= latest(workdir) < STEPS
    finish(start(tiny, workdir, 1, 1))
    assert_same_run(workdir, alone)


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 2])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_process_is_named_within_a_minute_and_the_run_resumes(tiny, alone, tmp_path, which, end):
    workdir = tmp_path / "run"
    process = start(tiny, workdir, 4, 1, restarts=1)
    reach(process, workdir, 8)
    pid = pids(process, 4)[which]
    os.kill(pid, end)
    lost, lines = time.monotonic(), []
    for line in process.stderr:
        lines.append(line)
        if f"process {pid}, number {which} of 4)" in line:
            break
    seconds = time.monotonic() - lost
    rest = finish(process)
    assert seconds < 60, "".join(lines)
    assert "start 2 of at most 2" in rest and "resuming from step" in rest
    assert_same_run(workdir, alone)
