"""A curriculum against none: the same model, data and wall time, several seeds.

    python tests/benchmarks/measure_curriculum.py --budget 600 --folder /somewhere

Trains on moving scenes (captions of the whole clip) once in the stages below and once without, and prints CIDEr-D of
the validation split. Steps are counted out beforehand: each stage's step is timed, and its share of the budget gives
its number of steps, so that each run has its whole learning rate schedule. The seconds in the table are those that the
training really took, start to end, with programs compiled before. The two take turns, so that a busy machine disturbs
both alike; where their seconds differ, so does what they are compared at.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
# Share of the budget -> what the stage changes.
STAGES = (
    (0.2, {"frames": 4, "image_size": 32, "hard": 0.2}),
    (0.3, {"frames": 8, "image_size": 32, "hard": 0.4}),
    (0.5, {}),
)
SETTINGS = (
    "name=curriculum", "data.frames=16", "data.captions=2", "data.target_len=40", "model.temporal.name=transformer",
    'model.temporal.options={"layers": 2, "heads": 4, "space": "same"}', "train.batch_size=16", "train.eval_every=0",
    "optimizer.learning_rate=0.002", "checkpoint.every=1000000", "train.log_every=5", "train.tensorboard=false",
    "decode.method=greedy", "decode.max_len=36",
)  # fmt: skip


class Bench:
    """The dataset, and jobs on it."""

    def __init__(self, folder: Path, count: int):
        self.folder, self.data, self.vocabulary = folder, folder / "moving", folder / "moving.model"
        if not self.data.is_dir():
            self._call("-m", "data_prep", "moving", "--count", count, "--languages", "en", "--output", self.data)
        if not self.vocabulary.is_file():
            words = ("--input", self.data, "--output", self.vocabulary, "--size", 512)
            self._call("-m", "data_prep", "vocabulary", *words)

    def _call(self, *args):
        environment = os.environ | {"CAPJAX_CACHE": str(self.folder / "cache"), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, *map(str, args)], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, args))}\n{done.stderr}")

    def _launch(self, mode: str, workdir: Path, *settings: str):
        given = (*SETTINGS, f"data.train={self.data}@train", f"data.vocabulary={self.vocabulary}", *settings)
        arguments = ["--config", "configs/shapes.py", "--workdir", workdir, "--mode", mode]
        self._call("launch.py", *arguments, *(f"--config.{setting}" for setting in given))

    def seconds_per_step(self, changes: dict) -> float:
        """Of a stage, after its compilation."""
        with tempfile.TemporaryDirectory(dir=self.folder) as workdir:
            self._launch("train", Path(workdir), "train.steps=21", f"data.curriculum=((0, {changes!r}),)")
            rows = [json.loads(line) for line in Path(workdir, "metrics.jsonl").read_text().splitlines()]
        return float(np.median([row["seconds_per_step"] for row in rows if row["step"] > 5]))

    def run(self, steps: int, curriculum: tuple, seed: int) -> tuple[float, float]:
        """(seconds of training, CIDEr-D)."""
        with tempfile.TemporaryDirectory(dir=self.folder) as workdir:
            settings = (
                f"train.steps={steps}", f"seed={seed}", f"data.curriculum={curriculum!r}",
                f"optimizer.warmup_steps={min(100, steps // 5)}",
            )  # fmt: skip
            begin = time.perf_counter()
            self._launch("train", Path(workdir), *settings)
            seconds = time.perf_counter() - begin
            self._launch("eval", Path(workdir), *settings, f"data.eval={self.data}@val")
            scores = json.loads(Path(workdir, "scores.json").read_text())
        return seconds, 100 * scores["scores"]["en"]["CIDEr"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=float, default=60, metavar="SECONDS", help="of training, a run (default 60)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--count", type=int, default=4000, help="scenes (default 4000)")
    parser.add_argument("--folder", type=Path, help="keeps dataset and compiled programs (default: a temporary one)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(folder, args.count)
        times = [bench.seconds_per_step(changes) for _, changes in STAGES]
        counts = [max(round(share * args.budget / each), 1) for (share, _), each in zip(STAGES, times, strict=True)]
        firsts = np.cumsum([0, *counts[:-1]]).tolist()
        stages = tuple((first, changes) for first, (_, changes) in zip(firsts, STAGES, strict=True))
        arms = {"none": (max(round(args.budget / times[-1]), 1), ()), "curriculum": (sum(counts), stages)}
        for (share, changes), first, each in zip(STAGES, firsts, times, strict=True):
            print(f"stage from step {first}: {share:.0%} of the time, {each:.3f} s a step, {changes or 'all'}")
        print(f"\n{'seed':>4} {'':10} {'steps':>6} {'seconds':>8} {'CIDEr-D':>8}", flush=True)
        found = {name: [] for name in arms}
        for seed in args.seeds:
            for name, (steps, curriculum) in arms.items():
                seconds, score = bench.run(steps, curriculum, seed)
                found[name].append(score)
                print(f"{seed:>4} {name:10} {steps:>6} {seconds:>8.0f} {score:>8.1f}", flush=True)
        for name, scores in found.items():
            least, most = min(scores), max(scores)
            print(f"mean {name:10} {'':>6} {'':>8} {np.mean(scores):>8.1f}  (from {least:.1f} to {most:.1f})")


if __name__ == "__main__":
    main()
