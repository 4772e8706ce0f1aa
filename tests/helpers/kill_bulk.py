"""Kills a job of bulk captioning at random moments until it is done, with one process, then two, then one.

python tests/helpers/kill_bulk.py --workdir DIR --input DIR --kills 10   # and compares with a job that was left alone
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "capjax", "bulk", *arguments]


def shards(output: Path) -> set[str]:
    return {path.name for path in output.glob("captions-*")}


def rows(output: Path) -> list[dict]:
    """The rows of all shards, in order."""
    return [json.loads(line) for name in sorted(shards(output)) for line in (output / name).read_text().splitlines()]


def run_killed(
    arguments: Sequence[str], output: Path, *, kills: int, most: int, seed: int = 0, env: dict | None = None
) -> list[tuple[int, int]]:
    """Starts the job `kills` times and kills it each time, at most `most` shards later, then lets it end.

    The first third of the starts have one process, the second two, the last one again.

    Returns:
      Of each start the number of processes, and of shards when it ended.
    """
    rng, starts = random.Random(seed), []
    for number in range(kills + 1):
        count = 2 if kills // 3 <= number < 2 * kills // 3 + 1 else 1
        parts = [["--part", f"{part + 1}/{count}"] if count > 1 else [] for part in range(count)]
        processes = [
            subprocess.Popen(
                command(*arguments, "--output", str(output), *part), env=env, cwd=ROOT, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True,
            )
            for part in parts
        ]  # fmt: skip
        if number < kills:
            target = len(shards(output)) + rng.randint(0, most)
            while len(shards(output)) <= target and any(process.poll() is None for process in processes):
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.3))  # into a shard, or its writing
            for process in processes:
                process.send_signal(signal.SIGKILL)
        logs = [process.communicate()[0] for process in processes]
        if number == kills:
            assert all(process.returncode == 0 for process in processes), logs
        starts.append((count, len(shards(output))))
    return starts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--input", required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    arguments = ["--workdir", args.workdir, "--input", args.input]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        alone, killed = Path(folder, "alone"), Path(folder, "killed")
        done = subprocess.run(command(*arguments, "--output", str(alone)), env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        print("alone:", done.stdout.strip(), flush=True)
        starts = run_killed(arguments, killed, kills=args.kills, most=2, seed=args.seed, env=env)
        print(f"(processes, shards) of each start: {starts}")
        same = rows(alone) == rows(killed)
        ids = [row["id"] for row in rows(killed)]
        print(f"{len(ids)} rows, {len(set(ids))} ids; " + ("the same rows as alone" if same else "DIFFERENT rows"))
        files = {path.name for path in killed.iterdir()} - {path.name for path in alone.iterdir()}
        print(f"files that the job alone does not have: {sorted(files) or 'none'}")
        return 0 if same and not files and len(ids) == len(set(ids)) else 1


if __name__ == "__main__":
    sys.exit(main())
