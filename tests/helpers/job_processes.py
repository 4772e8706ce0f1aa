"""Processes that run or submit jobs, for tests that kill them.

python -m tests.helpers.job_processes run LOCATION LOG LEASE_SECONDS JOB_SECONDS
python -m tests.helpers.job_processes submit LOCATION LOG
"""

import hashlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from capjax.serve.jobs import JobRunner, open_store
from capjax.serve.jobs.store import BLOCK_BYTES

ROOT = Path(__file__).resolve().parents[2]


def start_process(command: str, location: str, log: Path, *numbers: float) -> subprocess.Popen:
    """Starts a process that prints a line once it is ready. Its temporary files are beside its log."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.job_processes", command, location, log, *map(str, numbers)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(log.parent)},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def random_media(seed: int) -> bytes:
    """The media of a submission: several blocks and a part of one."""
    return random.Random(seed).randbytes(2 * BLOCK_BYTES + 1000)


def _run(location: str, log: str, lease_seconds: float, job_seconds: float):
    """Runs jobs until it is killed; logs what was started, and what was recorded."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    store = open_store(location)
    finish = store.finish

    def logged_finish(lease, **outcome):
        recorded = finish(lease, **outcome)
        if recorded:
            os.write(descriptor, f"recorded {lease.job.id}\n".encode())
        return recorded

    def handler(job, path, progress):
        os.write(descriptor, f"started {job.id}\n".encode())
        data = path.read_bytes()
        for step in range(10):
            progress(step / 10)
            time.sleep(job_seconds / 10)
        return {"n": job.request["n"], "digest": digest(data)}

    store.finish = logged_finish
    JobRunner(store, handler, workers=2, lease_seconds=lease_seconds, poll_seconds=0.02).start()
    print("ready", flush=True)
    time.sleep(3600)


def _submit(location: str, log: str):
    """Submits jobs until it is killed; logs their ids."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    store = open_store(location)
    print("ready", flush=True)
    for n in range(1000):
        data = random_media(n)
        chunks = (data[start : start + 100_000] for start in range(0, len(data), 100_000))
        job = store.submit("", {"n": n}, chunks)
        os.write(descriptor, f"{job.id}\n".encode())


if __name__ == "__main__":
    command, location, log, *numbers = sys.argv[1:]
    {"run": _run, "submit": _submit}[command](location, log, *map(float, numbers))
