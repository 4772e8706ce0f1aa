"""SIGTERM and Ctrl-C end a job within seconds while it compiles, and leave nothing of a start behind."""

import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.tiny_job import ROOT, Tiny, copy

# Stands in for a compilation of minutes, in which the main thread runs no Python code.
_BLOCKED = """
import hashlib, sys
import jax
jax.stages.Lowered.compile = lambda self, *args, **kwargs: hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
sys.path.insert(0, {root!r})
import launch
sys.exit(launch.main())
"""


def stop_while_compiling(command: list[str], env: dict, number: int, delay: float = 0.0) -> tuple[int, str, float]:
    """Sends a signal while the training step compiles. Returns (exit status, log, seconds until the end)."""
    process = subprocess.Popen(command, env=env, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        log, deadline = b"", time.monotonic() + 300
        while b"compiling the training step" not in log:
            assert process.poll() is None and time.monotonic() < deadline, log.decode()
            if select.select([process.stderr], [], [], 1.0)[0]:
                log += process.stderr.read1()
        time.sleep(delay)
        process.send_signal(number)
        sent = time.monotonic()
        log += process.communicate(timeout=60)[1]
        return process.returncode, log.decode(), time.monotonic() - sent
    finally:
        process.kill()
        process.wait()


def blocked(tiny: Tiny, workdir: Path, *more: str) -> list[str]:
    arguments = tiny.command(workdir, *more)[2:]
    return [sys.executable, "-c", _BLOCKED.format(root=str(ROOT)), *arguments]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_during_the_first_compilation_ends_the_job_and_removes_the_workdir(tiny, tmp_path, number, status):
    command = blocked(tiny, tmp_path / "runs/new")
    returncode, log, seconds = stop_while_compiling(command, tiny.environment(), number)
    assert (returncode, seconds < 10) == (status, True), log
    assert f"stopped by {signal.Signals(number).name} before the first step; nothing was saved" in log
    assert not (tmp_path / "runs").exists()


def test_a_signal_while_a_resumed_run_compiles_leaves_its_checkpoint(tiny, tmp_path):
    workdir = copy(tiny.trained(), tmp_path / "run")
    command = blocked(tiny, workdir, "train.steps=80")
    returncode, log, seconds = stop_while_compiling(command, tiny.environment(), signal.SIGTERM)
    assert (returncode, seconds < 10) == (143, True), log
    assert "stopped by SIGTERM at step 40 and saved; the same command continues from here" in log
    assert (workdir / "checkpoints/40").is_dir()


@pytest.mark.slow
def test_ten_signals_at_random_moments_of_a_compilation(tiny, tmp_path):
    rng = random.Random(0)
    env = tiny.environment() | {"XLA_FLAGS": "", "CAPJAX_CACHE": str(tmp_path / "cache")}
    more = ("model.encoder.name=efficientnet_lite0", "model.encoder.options={}", "data.image_size=64")
    for i in range(10):
        command = tiny.command(tmp_path / f"run{i}", *more)
        returncode, log, seconds = stop_while_compiling(command, env, signal.SIGTERM, rng.uniform(0, 4))
        assert (returncode, seconds < 10) == (143, True), log
        assert not (tmp_path / f"run{i}").exists()
