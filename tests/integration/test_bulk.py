"""Bulk captioning as its own processes: killed at any moment, and on several hosts, it gives the rows of one go."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.kill_bulk import command, rows, run_killed, shards
from tests.helpers.tiny_job import ROOT, copy

LOCAL = ROOT / "launch/local.py"


@pytest.fixture(scope="module")
def photos(tiny, tmp_path_factory):
    """A folder of 240 photos, one of them damaged."""
    folder = tmp_path_factory.mktemp("photos")
    for path in tiny.photos.glob("*.jpg"):
        for number in range(4):
            (folder / f"{number}_{path.name}").write_bytes(path.read_bytes())
    (folder / "2_007.jpg").write_bytes((folder / "2_007.jpg").read_bytes()[:300])
    return folder


@pytest.fixture(scope="module")
def arguments(tiny, photos) -> list[str]:
    return ["--workdir", str(tiny.trained()), "--input", str(photos), "--shard-size", "8"]


@pytest.fixture(scope="module")
def alone(tiny, arguments, tmp_path_factory):
    output = tmp_path_factory.mktemp("bulk") / "alone"
    done = subprocess.run(
        command(*arguments, "--output", str(output)), env=tiny.environment(), cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "240 media: 239 captioned, 1 failed" in done.stdout
    return output


def same(output, alone):
    assert rows(output) == rows(alone)
    assert sorted(path.name for path in output.iterdir()) == sorted(path.name for path in alone.iterdir())


def same_texts(output, alone):
    """The scores may differ by rounding."""
    texts = [
        [(row["id"], [entry["text"] for entry in row["captions"]]) for row in rows(path)] for path in (output, alone)
    ]
    assert texts[0] == texts[1]


@pytest.mark.slow
def test_killed_ten_times_with_one_two_and_one_processes_it_writes_each_caption_once(tiny, arguments, alone, tmp_path):
    starts = run_killed(arguments, tmp_path / "out", kills=10, most=3, env=tiny.environment())
    assert {count for count, _ in starts} == {1, 2} and starts[-1] == (1, 30)
    same(tmp_path / "out", alone)


@pytest.fixture
def start(tiny, arguments, tmp_path):
    """Starts the job on several processes that know of each other."""
    processes = []

    def local(*more: str, devices: int = 2) -> subprocess.Popen:
        options = ["--processes", "2", "--devices", str(devices), "--restarts", "0", "--", "--mode=bulk"]
        processes.append(
            subprocess.Popen(
                [sys.executable, str(LOCAL), *options, *arguments, "--output", str(tmp_path / "out"), *more],
                env=tiny.environment() | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}, cwd=ROOT, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            )
        )  # fmt: skip
        return processes[-1]

    yield local
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_two_hosts_share_the_shards_and_the_loss_of_one_ends_both_until_they_are_started_again(start, alone, tmp_path):
    process = start()
    while len(shards(tmp_path / "out") if (tmp_path / "out").exists() else ()) < 3:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[1]), signal.SIGKILL)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 75, errors
    assert re.search(r"number 1 of 2\), has given no sign of life|another task died", errors), errors
    before = shards(tmp_path / "out")
    assert 3 <= len(before) < 30
    process = start()
    out, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert "240 media: 239 captioned, 1 failed" in out
    same_texts(tmp_path / "out", alone)


@pytest.mark.slow
def test_a_model_that_is_divided_over_hosts_captions_as_one_process_does(tiny, arguments, alone, start, tmp_path):
    workdir = copy(tiny.trained(), tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    config["mesh"] |= {"data": 1, "tensor": 2, "fsdp": 4}
    (workdir / "config.json").write_text(json.dumps(config))
    process = start("--workdir", str(workdir), devices=4)
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "240 media: 239 captioned, 1 failed" in out
    same_texts(tmp_path / "out", alone)


def test_processes_that_do_not_know_of_each_other_write_their_parts(tiny, arguments, alone, tmp_path):
    for part in ("1/2", "2/2"):
        done = subprocess.run(
            command(*arguments, "--output", str(tmp_path / "out"), "--part", part), env=tiny.environment(), cwd=ROOT,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert "240 media: 239 captioned, 1 failed" in done.stdout
    same(tmp_path / "out", alone)


def test_ctrl_c_leaves_whole_shards_and_says_how_to_continue(tiny, arguments, alone, tmp_path):
    full = command(*arguments, "--output", str(tmp_path / "out"))
    process = subprocess.Popen(full, env=tiny.environment(), cwd=ROOT, text=True, stderr=subprocess.PIPE)
    while not (tmp_path / "out").exists() or len(shards(tmp_path / "out")) < 2:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    if process.returncode:  # the job may have ended before the signal came
        assert process.returncode == 130
        assert re.search(r"stopped; \d+ of 30 shards are in .*The same command continues", errors), errors
        assert "Traceback" not in errors
    done = subprocess.run(full, env=tiny.environment(), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    same(tmp_path / "out", alone)
