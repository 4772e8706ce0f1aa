"""Datasets and jobs that measurements share: each is made by this project's own commands, once."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def call(*command, log: Path):
    """Runs a command of this project; SystemExit with its last lines if it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    if done.returncode:
        tail = "\n".join(log.read_text().splitlines()[-12:])
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{tail}")


def prepare(data: Path, *command, vocabulary: Sequence = ("--size", 600)) -> list[str]:
    """A dataset at `data` by `python -m data_prep COMMAND` and its vocabulary, unless they are there; as settings of a
    job."""
    pieces, log = data.with_suffix(".model"), data.with_suffix(".log")
    if not data.is_dir():
        call("-m", "data_prep", *command, "--output", data, log=log)
    if not pieces.is_file():
        call("-m", "data_prep", "vocabulary", "--input", data, "--output", pieces, *vocabulary, log=log)
    return [f"data.train={data}@train", f"data.eval={data}@val", f"data.vocabulary={pieces}"]


def train(config: str, workdir: Path, settings: Sequence[str]) -> float:
    """Trains configs/CONFIG in `workdir`: the seconds that it took; 0 if it was trained already."""
    if (workdir / "scores.json").is_file():
        return 0.0
    start = time.monotonic()
    options = [f"--config.{setting}" for setting in settings]
    call("launch.py", "--config", f"configs/{config}", "--workdir", workdir, *options, log=workdir / "train.log")
    return time.monotonic() - start


def print_table(rows: Sequence[dict[str, str]]):
    """As Markdown."""
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(row.values()) + " |")
