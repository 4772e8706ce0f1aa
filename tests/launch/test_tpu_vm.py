"""launch/tpu_vm: its gcloud commands and restarts. A fake gcloud answers, or the real one checks the syntax."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers.killed_builds import alive

FOLDER = Path(__file__).resolve().parents[2] / "launch/tpu_vm"
PLACE = ["--name", "run1", "--zone", "us-west4-a"]
JOB = ["--", "--config", "configs/pod_1b.py", "--workdir", "/mnt/my runs/pod"]


def tpu(*argv, **options) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", FOLDER / "tpu.sh", *argv], capture_output=True, text=True, timeout=60, **options)


def commands(*argv) -> list[str]:
    done = tpu(*argv, "--dry-run") if "--" not in argv else tpu(argv[0], "--dry-run", *argv[1:])
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


CASES = {
    "create": ["create", *PLACE, "--accelerator", "v5litepod-256", "--project", "mine"],
    "create_slices": ["create", *PLACE, "--accelerator", "v6e-256", "--slices", "4", "--spot"],
    "install": ["install", *PLACE],
    "ssh": ["ssh", *PLACE, "--", "df -h"],
    "run": ["run", *PLACE, *JOB],
    "status": ["status", *PLACE],
    "stop": ["stop", *PLACE],
}


def test_a_slice_is_created_as_a_queued_resource():
    create, describe = (shlex.split(line) for line in commands(*CASES["create"]))
    assert create == [
        "gcloud", "compute", "tpus", "queued-resources", "create", "run1", "--accelerator-type=v5litepod-256",
        "--runtime-version=v2-alpha-tpuv5-lite", "--node-id=run1", "--zone=us-west4-a", "--project=mine",
    ]  # fmt: skip
    assert describe[4:7] == ["describe", "run1", "--format=value(state.state)"]
    create = shlex.split(commands(*CASES["create_slices"])[0])
    assert {"--node-count=4", "--node-prefix=run1", "--spot", "--runtime-version=v2-alpha-tpuv6e"} <= set(create)


def test_launch_py_runs_on_all_workers_with_its_arguments_unchanged():
    lines = commands("run", *PLACE, "--slices", "2", *JOB)
    for slice_, command in enumerate(map(shlex.split, lines)):
        assert command[4:8] == ["ssh", "run1", f"--node={slice_}", "--worker=all"]
        remote = shlex.split(command[8].removeprefix("--command="))
        assert remote == ["bash", "capjax/launch/tpu_vm/worker.sh", *JOB[1:]]
    assert len(lines) == 2


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed")
@pytest.mark.parametrize("case", CASES)
def test_gcloud_knows_every_command_and_option(case):
    for line in commands(*CASES[case]):
        if not line.startswith("gcloud"):
            continue
        line = line.replace("value\\(state.state\\)", "json")  # the linter does not undo shell quoting
        checked = subprocess.run(
            ["gcloud", "meta", "lint-gcloud-commands", f"--command-string={line}", "--format=json"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        (result,) = json.JSONDecoder().raw_decode(checked.stdout)[0]
        assert result["success"], result["error_message"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["create", "--zone", "us-west4-a"], "--name '': expected"),
        (["create", *PLACE], "--accelerator '': expected v5litepod-N"),
        (["create", *PLACE, "--accelerator", "v5e-256"], "--accelerator 'v5e-256'"),
        (["create", *PLACE, "--slices", "0"], "--slices '0'"),
        (["create", *PLACE, "--accelerator", "v5p-1024"], "--accelerator 'v5p-1024': ssh reaches"),
        (["status", "--name", "x;reboot", "--zone", "us-west4-a"], "--name 'x;reboot'"),
        (["status", "--name", "run1", "--zone", "us-west4"], "--zone 'us-west4'"),
        (["status", *PLACE, "--worker", "0"], "unknown argument '--worker'"),
        (["status", "--name"], "--name has no value"),
        (["run", *PLACE, "--", "--config", "x"], "--workdir is missing"),
        (["ssh", *PLACE], "no command after --"),
        ([], "launch/tpu_vm/tpu.sh create"),
        (["reboot"], "launch/tpu_vm/tpu.sh create"),
    ],
)
def test_wrong_arguments_are_named(argv, message):
    done = tpu(*argv)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.fixture
def gcloud(tmp_path):
    """(statuses, states, arguments) -> (finished tpu.sh, subcommands) with a fake gcloud.

    Each ssh to a slice exits with its next status, each describe prints the next state. The statuses of several slices
    are lists by slice.
    """
    log = tmp_path / "calls"

    def run(statuses, states=(), *argv, nodes=None):
        several = statuses if statuses and isinstance(statuses[0], list) else [statuses]
        for number, slice_statuses in enumerate(several):
            (tmp_path / f"ssh{number}").write_text("".join(f"{status}\n" for status in slice_statuses))
        names = ";".join(f"run1-{number}" for number in range(len(several)))
        (tmp_path / "nodes").write_text(f"{names if nodes is None else nodes}\n")
        (tmp_path / "describe").write_text("".join(f"{state}\n" for state in states))
        script = tmp_path / "gcloud"
        script.write_text(
            f"#!/usr/bin/env bash\ncd {tmp_path}\n"
            "if [[ $* == *nodeId* ]]; then cat nodes; exit; fi\n"
            'echo "$4" >> calls\n'
            'take() { head -n 1 "$1"; sed -i 1d "$1"; }\n'
            'case $4 in ssh) exit "$(take "ssh${6#--node=}")" ;; describe) take describe ;; esac\n'
        )
        script.chmod(0o755)
        env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "CAPJAX_POLL_SECONDS": "0"}
        return tpu(*(argv or CASES["run"]), env=env), log.read_text().split()

    return run


@pytest.mark.parametrize("status", [75, 143, 137, 255, 1])
def test_after_a_stop_a_crash_or_a_lost_host_all_workers_restart(gcloud, status):
    done, calls = gcloud([status, status, 0], ["ACTIVE", "ACTIVE"])
    assert done.returncode == 0
    assert calls == ["ssh", "describe", "ssh", "describe", "ssh"]
    assert f"exit status {status}; restart 2 of 20 at most" in done.stdout


@pytest.mark.parametrize(("status", "expected"), [(101, 1), (102, 2), (130, 130), (0, 0)])
def test_user_errors_are_not_restarted(gcloud, status, expected):
    done, calls = gcloud([status, 0])
    assert (done.returncode, calls) == (expected, ["ssh"])


@pytest.mark.parametrize(
    ("statuses", "expected"), [((0, 0, 0), 0), ((75, 101, 75), 1), ((102, 130, 75), 2), ((75, 130, 143), 130)]
)
def test_slices_start_together_and_the_most_telling_status_counts(gcloud, statuses, expected):
    done, calls = gcloud([[status] for status in statuses])
    assert (done.returncode, calls) == (expected, ["ssh"] * 3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_connections_to_the_slices(tmp_path, number):
    script = tmp_path / "gcloud"
    script.write_text(
        f"#!/usr/bin/env bash\ncd {tmp_path}\n"
        "if [[ $* == *nodeId* ]]; then echo 'a;b'; exit; fi\n"
        'echo $$ > "pid${6#--node=}"\nexec sleep 60\n'
    )
    script.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    # The tests may have been started with signals ignored, which a shell cannot undo.
    process = subprocess.Popen(["env", "--default-signal", "bash", FOLDER / "tpu.sh", *CASES["run"]], env=env)
    try:
        for name in ("pid0", "pid1"):
            wait_for(tmp_path / name)
        time.sleep(0.3)
        process.send_signal(number)
        assert process.wait(20) == 128 + number
        time.sleep(0.3)
        for name in ("pid0", "pid1"):
            assert not alive(int((tmp_path / name).read_text()))
    finally:
        process.kill()


def test_a_resource_without_slices_does_not_count_as_done(gcloud):
    argv = ["run", *PLACE, "--max-restarts", "1", *JOB]
    done, _ = gcloud([[]], ["ACTIVE"] * 5, *argv, nodes="")
    assert done.returncode == 1
    assert "exit status 1 after 1 restarts" in done.stderr


def test_slices_restart_together(gcloud):
    done, calls = gcloud([[75, 0], [0, 0]], ["ACTIVE"])
    assert done.returncode == 0, done.stderr
    assert calls == ["ssh", "ssh", "describe", "ssh", "ssh"]


def test_restarts_are_bounded(gcloud):
    argv = ["run", *PLACE, "--max-restarts", "2", *JOB]
    done, calls = gcloud([137] * 5, ["ACTIVE"] * 5, *argv)
    assert done.returncode == 137
    assert calls.count("ssh") == 3
    assert "exit status 137 after 2 restarts" in done.stderr


def test_a_suspended_slice_is_reported(gcloud):
    done, calls = gcloud([255, 0], ["SUSPENDED"])
    assert done.returncode == 75
    assert "run1 is SUSPENDED. Stop it, create and install it anew" in done.stderr
    assert calls == ["ssh", "describe"]


def test_create_waits_until_the_slice_is_active(gcloud):
    states = ["ACCEPTED", "WAITING_FOR_RESOURCES", "WAITING_FOR_RESOURCES", "ACTIVE"]
    done, calls = gcloud([], states, *CASES["create"])
    assert done.returncode == 0
    assert calls == ["create"] + ["describe"] * 4
    assert [line.split(": ")[1] for line in done.stdout.splitlines()] == ["ACCEPTED", "WAITING_FOR_RESOURCES", "ACTIVE"]
    done, _ = gcloud([], ["FAILED"], *CASES["create"])
    assert done.returncode == 1
    assert "run1 is FAILED" in done.stderr


@pytest.fixture
def worker(tmp_path):
    """(status, seconds) -> worker.sh with a fake launch.py that sleeps, then exits with the status."""
    (tmp_path / "launch/tpu_vm").mkdir(parents=True)
    shutil.copy(FOLDER / "worker.sh", tmp_path / "launch/tpu_vm")
    (tmp_path / "launch.py").write_text(
        "import pathlib, signal, sys, time\n"
        "def save(*_):\n    time.sleep(0.5); pathlib.Path('saved').touch(); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "pathlib.Path('started').touch()\n"
        "time.sleep(float(sys.argv[2]))\nsys.exit(int(sys.argv[1]))\n"
    )

    def start(*argv) -> subprocess.Popen:
        env = {**os.environ, "CAPJAX_PYTHON": shutil.which("python3"), "CAPJAX_GRACE_SECONDS": "20"}
        return subprocess.Popen(["bash", tmp_path / "launch/tpu_vm/worker.sh", *argv], env=env)

    start.folder = tmp_path
    return start


def wait_for(path: Path):
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (1, 101), (2, 102), (75, 75), (137, 137)])
def test_user_errors_of_a_worker_differ_from_those_of_gcloud(worker, status, expected):
    assert worker(str(status), "0").wait(20) == expected
    assert not (worker.folder / ".launch.pid").exists()


def test_a_stopped_worker_lets_launch_py_save(worker):
    process = worker("0", "60")
    wait_for(worker.folder / "started")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert (worker.folder / "saved").exists()


def test_a_launch_py_left_by_a_lost_connection_is_stopped_and_saves(worker):
    first = worker("0", "60")
    wait_for(worker.folder / "started")
    first.kill()  # launch.py goes on alone
    first.wait(20)
    assert worker("0", "0").wait(20) == 0
    assert (worker.folder / "saved").exists()
