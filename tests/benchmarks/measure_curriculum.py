"""A curriculum against none: the same model, data and wall time, several seeds.

    python tests/benchmarks/measure_curriculum.py --budget 180

Trains `configs/moving.py` on clips of single events (the dataset of measure_encoders.py) once in the stages below and
once without, and prints CIDEr-D of the validation split. Steps are counted out beforehand: each stage's step is timed,
and its share of the budget gives its number of steps, so that each run has its whole learning rate schedule. Seconds in
the table are the sum over stages of steps times their median, so without compilation. The two take turns, so that a
busy machine disturbs both alike; where their seconds differ, so does what they are compared at.
"""

import argparse
import json
import statistics
import tempfile
from itertools import accumulate, pairwise
from pathlib import Path

from jobs import ROOT, prepare, print_table, train

# Share of the budget -> what the stage changes.
STAGES = (
    (0.2, {"num_frames": 4, "image_size": 32, "hard": 0.2}),
    (0.3, {"num_frames": 8, "image_size": 32, "hard": 0.4}),
    (0.5, {}),
)


COLUMNS = ("seed", "training", "steps", "seconds", "CIDEr-D")


def rows_of(workdir: Path) -> list[dict]:
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "seconds_per_step" in row]


def seconds_per_step(config: str, settings: list[str], changes: dict) -> float:
    """Of a stage, after its compilation."""
    with tempfile.TemporaryDirectory() as folder:
        train(
            config, Path(folder), [*settings, "train.steps=30", "eval.limit=8", f"data.curriculum=((0, {changes!r}),)"]
        )
        return statistics.median(row["seconds_per_step"] for row in rows_of(Path(folder)) if row["step"] > 10)


def seconds_of(workdir: Path, edges: list[int]) -> float:
    """Of all steps of the stages that begin at `edges`, of which the last is the end."""
    rows = rows_of(workdir)
    return sum(
        (end - first) * statistics.median(row["seconds_per_step"] for row in rows if first < row["step"] <= end)
        for first, end in pairwise(edges)
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--budget", type=float, default=180, metavar="SECONDS", help="of training, a run (default: 180)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--model", default="frames,transformer", metavar="ENCODER,DECODER")
    parser.add_argument("--count", type=int, default=3000, help="videos (default: 3000)")
    parser.add_argument("--root", type=Path, default=ROOT / "runs/encoders", help="of the dataset and the workdirs")
    args = parser.parse_args()
    root, config = args.root.resolve(), f"moving.py:{args.model}"
    given = ("--count", args.count, "--languages", "en", "--fps", 5, "--clips", "events")
    settings = prepare(root / "events", "moving", *given, vocabulary=("--size", 450))
    settings += ["train.tensorboard=false", "train.eval_every=0", "checkpoint.every=1000000", "train.log_every=5"]
    times = [seconds_per_step(config, settings, changes) for _, changes in STAGES]
    counts = [max(round(share * args.budget / each), 1) for (share, _), each in zip(STAGES, times, strict=True)]
    firsts = list(accumulate(counts[:-1], initial=0))
    stages = tuple((first, changes) for first, (_, changes) in zip(firsts, STAGES, strict=True))
    for (share, changes), first, each in zip(STAGES, firsts, times, strict=True):
        print(f"stage from step {first}: {share:.0%} of the time, {each:.3f} s a step, {changes or 'all'}")
    arms = {"none": (max(round(args.budget / times[-1]), 1), ()), "curriculum": (sum(counts), stages)}
    scores_of_arms, rows = {name: [] for name in arms}, []
    for seed in args.seeds:
        for name, (steps, curriculum) in arms.items():
            workdir = root / f"{name}_{args.budget:g}_{seed}"
            more = [f"train.steps={steps}", f"seed={seed}", f"data.curriculum={curriculum!r}"]
            train(config, workdir, [*settings, *more, f"optimizer.warmup_steps={min(100, steps // 5)}"])
            seconds = seconds_of(workdir, [*firsts, steps] if curriculum else [0, steps])
            score = json.loads((workdir / "scores.json").read_text())["scores"]["en"]["CIDEr"]
            scores_of_arms[name].append(score)
            cells = (str(seed), name, str(steps), f"{seconds:.0f}", f"{score:.3f}")
            rows.append(dict(zip(COLUMNS, cells, strict=True)))
            print(rows[-1], flush=True)
    for name, scores in scores_of_arms.items():
        span = f"{min(scores):.3f} to {max(scores):.3f}"
        cells = (span, f"mean, {name}", "", "", f"{statistics.mean(scores):.3f}")
        rows.append(dict(zip(COLUMNS, cells, strict=True)))
    print_table(rows)


if __name__ == "__main__":
    main()
