"""Builds of `capjax prepare` that are stopped on their way, and what they leave behind."""

import subprocess
import sys
import time
from pathlib import Path


def _parent(pid: int) -> int | None:
    """The parent of a process; None if the process has ended."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(parent)


def alive(pid: int) -> bool:
    return _parent(pid) is not None


def children(pid: int) -> list[int]:
    return [child for path in Path("/proc").glob("[0-9]*") if _parent(child := int(path.name)) == pid]


def start(folder: Path, output: Path, *options: str) -> subprocess.Popen:
    """`capjax prepare`, up to the first finished shard."""
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
