"""Kills a tiny training run at random moments until it is done, and says what each start went on from.

python tests/helpers/kill_run.py --kills 20      # and compares with a run that was left alone
"""

import argparse
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

if __name__ == "__main__":  # as pytest has it
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.helpers.tiny_job import ROOT, Tiny, rows


@dataclass(frozen=True)
class Start:
    """One start of the job: the step it went on from, the last step in metrics.jsonl and the latest whole checkpoint
    when it ended, and its exit status."""

    start: int
    reached: int
    saved: int
    status: int
    log: str


def latest(workdir: Path) -> int:
    """The step of the latest checkpoint that is whole; 0 without one."""
    return max((int(path.name) for path in workdir.glob("checkpoints/*") if path.name.isdigit()), default=0)


def _reached(workdir: Path, not_of: int | None = None) -> int:
    """The last step in metrics.jsonl; 0 while the file is still that of an earlier start, with inode `not_of`."""
    path = workdir / "metrics.jsonl"
    if not path.exists() or path.stat().st_ino == not_of:
        return 0
    lines = path.read_bytes().split(b"\n")[:-1]
    return int(re.search(rb'"step": (\d+)', lines[-1])[1]) if lines else 0


def run(tiny: Tiny, workdir: Path, signals, *more: str, reach: int = 12, seed: int = 0) -> list[Start]:
    """Starts the job again and again; each of `signals` ends one start at a random moment, at most about `reach` steps
    after the last checkpoint; the last start goes on to the end."""
    rng, starts = random.Random(seed), []
    for number in [*signals, None]:
        before, metrics = latest(workdir), workdir / "metrics.jsonl"
        inode = metrics.stat().st_ino if metrics.exists() else None
        process = subprocess.Popen(
            tiny.command(workdir, *more), env=tiny.environment(), cwd=ROOT, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        if number is not None:
            target = before + rng.randint(1, reach)
            while process.poll() is None and _reached(workdir, inode) < target:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.15))  # into a step, a save or an evaluation
            process.send_signal(number)
        log = process.stderr.read()
        status = process.wait()
        start = re.search(r"resuming from step (\d+)", log)
        starts.append(Start(int(start[1]) if start else 0, _reached(workdir), latest(workdir), status, log))
    return starts


def states(workdir: Path) -> dict[str, np.ndarray]:
    """Every array of the latest checkpoint, by path."""
    path, handler = (workdir / "checkpoints" / str(latest(workdir)) / "state").resolve(), ocp.PyTreeCheckpointHandler()
    plain = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), handler.metadata(path).tree)
    tree = handler.restore(path, args=ocp.args.PyTreeRestore(restore_args=plain))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def differences(one: Path, other: Path) -> list[str]:
    """Names of arrays of the last states that are not bit for bit the same, and steps whose losses are not."""
    left, right = states(one), states(other)
    names = [name for name in left.keys() | right.keys() if name not in left or name not in right]
    names += [name for name in left.keys() & right.keys() if left[name].tobytes() != right[name].tobytes()]
    losses = [[(row["step"], row["loss"]) for row in rows(path) if "loss" in row] for path in (one, other)]
    return sorted(names) + [f"step {a[0]}" for a, b in zip(*losses, strict=True) if a != b]


def lost_steps(starts: list[Start], every: int) -> list[int]:
    """Steps done again after each kill. Raises AssertionError where a whole checkpoint was not used."""
    lost = []
    for before, after in zip(starts, starts[1:], strict=False):
        assert after.start == before.saved, f"saved {before.saved}, went on from {after.start}"
        # One save may be under way, and the next one waits for it: the one before it is whole.
        assert before.reached - after.start <= 2 * every, (before.reached, after.start)
        lost.append(before.reached - after.start)
    return lost


class _Folder:
    """Stands in for pytest's tmp_path_factory."""

    def __init__(self, path: str):
        self.path = Path(path)

    def getbasetemp(self) -> Path:
        return self.path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tiny, steps = Tiny(_Folder(folder)), f"train.steps={args.steps}"
        alone, killed = Path(folder, "alone"), Path(folder, "killed")
        done = tiny.launch(alone, steps)
        assert done.returncode == 0, (done.returncode, done.stderr)
        starts = run(tiny, killed, [signal.SIGKILL] * args.kills, steps, reach=40, seed=args.seed)
        lost = lost_steps(starts, every=4)
        kills = sum(start.status == -signal.SIGKILL for start in starts)
        print(f"{kills} kills at steps {[start.reached for start in starts[:-1]]}; steps done again: {lost}")
        different = differences(alone, killed)
        print("final state and all losses bit-identical" if not different else f"DIFFERENT: {', '.join(different)}")
        return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
