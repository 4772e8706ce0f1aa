"""launch/slurm/train.sbatch on a SLURM that the tests start: slurmctld, two slurmd and munged from Debian's packages.

apt-get install slurm-wlm munge   (as root)
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.kill_run import latest
from tests.helpers.tiny_job import ROOT, STEPS, predictions, rows

SBATCH = ROOT / "launch/slurm/train.sbatch"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
missing = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(missing), reason=f"SLURM is not installed: {', '.join(missing)} (apt-get install slurm-wlm munge)"
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="slurmd must run as root"),
]

CONFIG = """
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdParameters=config_overrides
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
ReturnToService=2
KillWait=5
MinJobAge=300
SchedulerParameters=sched_interval=1,bf_interval=1
NodeName=127.0.0.1 NodeHostname={host} Port={ports[0]} CPUs=4
NodeName=127.0.0.2 NodeHostname={host} Port={ports[1]} CPUs=4
PartitionName=all Nodes=127.0.0.[1-2] Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES
"""

# In place of launch.py: each task prints which it is and exits with the plan's status for this start of the job.
FAKE_LAUNCH = """
import os, pathlib, signal, sys, time
plan = pathlib.Path("plan").read_text().split()
start = int(os.environ.get("SLURM_RESTART_COUNT", 0))
task = {name: os.environ.get(f"SLURM_{name}") for name in ("PROCID", "NTASKS", "JOB_ID", "STEP_NODELIST")}
print(f"start {start}: {task} {sys.argv[1:]}", flush=True)
def save(*_):
    print(f"start {start}: task {task['PROCID']} saved", flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
if plan[start] == "sleep":
    time.sleep(600)
sys.exit(int(plan[start]))
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The environment of a SLURM of two nodes with four cores each."""
    folder = tmp_path_factory.mktemp("slurm")
    host = socket.gethostname().split(".")[0]
    nodes = ("127.0.0.1", "127.0.0.2")  # node names, at which launch.py finds the first task
    for name in ("state", *(f"spool-{node}" for node in nodes)):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(folder=folder, host=host, controller=free_port(), ports=(free_port(), free_port())))
    env = {**os.environ, "SLURM_CONF": str(config), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    munge = [
        "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket",
        f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed",
    ]  # fmt: skip
    with contextlib.ExitStack() as stack:
        for command in (munge, ["slurmctld", "-D", "-i"], *(["slurmd", "-D", "-N", node] for node in nodes)):
            process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            wait_until((folder / "munge.socket").exists, 60)
        ask = ["sinfo", "--noheader", "--Node", "--format=%T"]
        idle = ["idle", "idle"]
        wait_until(lambda: subprocess.run(ask, env=env, capture_output=True, text=True).stdout.split() == idle, 60)
        yield env
        subprocess.run(["scancel", "--user=root"], env=env, check=True)
        ask = ["squeue", "--noheader"]
        wait_until(lambda: not subprocess.run(ask, env=env, capture_output=True, text=True).stdout, 60)


def wait_until(true, seconds: float):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture
def submit(slurm, tmp_path):
    """(plan, options of sbatch) -> a job of the script with a fake launch.py."""
    (tmp_path / "launch.py").write_text(FAKE_LAUNCH)

    def run(plan: str, *options: str, **env: str) -> "Job":
        (tmp_path / "plan").write_text(plan)
        argv = [*options, SBATCH, "--workdir", "runs/x", "--config=a b"]
        return submit_job(argv, {**slurm, **env, "CAPJAX_PYTHON": "python3"}, tmp_path)

    return run


def submit_job(argv: list, env: dict, folder: Path, log_dir: Path | None = None) -> "Job":
    command = ["sbatch", "--parsable", "--nodes=2", f"--output={log_dir or folder}/capjax-%j.log", *argv]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Job(done.stdout.strip(), log_dir or folder, env)


class Job:
    """A submitted job."""

    def __init__(self, number: str, folder: Path, env: dict):
        self.number, self.folder, self.env, self.rescheduled = number, folder, env, None

    @property
    def log(self) -> str:
        path = self.folder / f"capjax-{self.number}.log"
        return path.read_text() if path.exists() else ""

    def call(self, *argv: str) -> str:
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, check=True).stdout

    def state(self) -> dict[str, str]:
        fields = self.call("scontrol", "show", "job", "--oneliner", self.number)
        return dict(field.split("=", 1) for field in fields.split() if "=" in field)

    def now(self) -> dict[str, str]:
        """The job's state; a requeued job is rescheduled at once, for SLURM would wait for two minutes."""
        state = self.state()
        if state["JobState"] == "PENDING" and state["Reason"] == "BeginTime" and state["Restarts"] != self.rescheduled:
            self.rescheduled = state["Restarts"]
            self.call("scontrol", "update", f"JobId={self.number}", "StartTime=now+3")
        return state

    def end(self, seconds: float = 120) -> dict[str, str]:
        ends = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")
        wait_until(lambda: self.now()["JobState"] in ends, seconds)
        return self.state()


def test_the_tasks_of_a_job_get_the_arguments_unchanged(submit):
    job = submit("0")
    assert job.end()["JobState"] == "COMPLETED"
    for task in range(2):
        assert f"'PROCID': '{task}', 'NTASKS': '2', 'JOB_ID': '{job.number}'" in job.log
    assert job.log.count("['--workdir', 'runs/x', '--config=a b']") == 2


def test_after_a_crash_or_a_lost_host_a_job_is_requeued_under_its_number(submit):
    job = submit("75 139 0")
    state = job.end()
    assert (state["JobState"], state["Restarts"]) == ("COMPLETED", "2")
    assert "exit status 75; requeueing the job" in job.log
    listed = (job.folder / f"runs/x/crashes-{job.number}.txt").read_text()
    assert [line.split()[3] for line in listed.splitlines()] == ["75", "139"]


@pytest.mark.parametrize("status", [1, 2])
def test_user_errors_end_the_job(submit, status):
    job = submit(f"{status} 0")
    state = job.end()
    assert (state["JobState"], state["ExitCode"], state["Restarts"]) == ("FAILED", f"{status}:0", "0")


def test_crashes_are_bounded(submit):
    job = submit("139 139 139", CAPJAX_MAX_CRASHES="1")
    state = job.end()
    assert (state["JobState"], state["Restarts"]) == ("FAILED", "1")
    assert "2 crashes, listed in runs/x/crashes" in job.log


def test_before_its_time_limit_a_job_saves_and_is_requeued(submit):
    # SLURM checks time limits now and then, and limits are whole minutes.
    job = submit("sleep 0", "--time=1", "--signal=TERM@50")
    state = job.end(240)
    assert (state["JobState"], state["Restarts"]) == ("COMPLETED", "1")
    assert job.log.count("start 0: task") == 2
    assert "exit status 143; requeueing the job" in job.log


def test_scancel_is_final(submit):
    job = submit("sleep 0")
    wait_until(lambda: job.log.count("start 0: {") == 2, 30)
    job.call("scancel", job.number)
    state = job.end()
    assert (state["JobState"], state["Restarts"]) == ("CANCELLED", "0")
    time.sleep(3)
    assert job.state()["JobState"] == "CANCELLED"


def task_pid(job: Job, index: int) -> int:
    """The process of a task of launch.py."""
    variables = {f"SLURM_JOB_ID={job.number}".encode(), f"SLURM_PROCID={index}".encode()}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            runs = b"launch.py" in (path / "cmdline").read_bytes().split(b"\0")
            if runs and variables <= set((path / "environ").read_bytes().split(b"\0")):
                return int(path.name)
    raise AssertionError(f"no task {index}")


def test_two_tasks_train_one_model_and_resume_when_one_is_killed(slurm, tiny, tmp_path):
    workdir = tmp_path / "run"
    arguments = tiny.command(workdir, "mesh.data=2", "train.eval_every=40")[2:]
    env = tiny.environment() | slurm | {"CAPJAX_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    env["XLA_FLAGS"] = tiny.environment()["XLA_FLAGS"]
    job = submit_job([SBATCH, *arguments], env, ROOT, tmp_path)
    wait_until(lambda: latest(workdir) >= 8, 240)
    os.kill(task_pid(job, 1), 9)
    state = job.end(400)
    assert (state["JobState"], state["Restarts"]) == ("COMPLETED", "1"), job.log
    assert "2 cpu devices" in job.log
    assert "requeueing the job" in job.log
    assert {row["step"] for row in rows(workdir) if "loss" in row} == set(range(1, STEPS + 1))
    assert len(predictions(workdir)) == 12


@pytest.mark.parametrize("argv", [["--config", "x"], []])
def test_a_missing_workdir_is_named(slurm, tmp_path, argv):
    (tmp_path / "launch.py").touch()
    done = subprocess.run(
        ["sbatch", "--wait", SBATCH, *argv], env=slurm, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    (log,) = tmp_path.glob("capjax-*.log")
    assert "--workdir is missing" in log.read_text()


def test_outside_of_slurm_it_says_how_to_start_it():
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    done = subprocess.run(["bash", SBATCH, "--workdir", "x"], env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert "start it with: sbatch" in done.stderr
