"""Builds of `python -m data_prep` that are stopped on their way, and what they leave behind."""

import subprocess
import sys
import time
from pathlib import Path


def children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def start(folder: Path, output: Path, *options: str) -> subprocess.Popen:
    """`python -m data_prep`, up to the first finished shard."""
    command = [sys.executable, "-m", "data_prep", "jsonl", "--input", folder, "--output", output, *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(output.parent.glob(f"{output.name}.partial/shards/*.json")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


def wait_for_end(pids: list[int]):
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "worker processes outlive their parent"
        time.sleep(0.05)
