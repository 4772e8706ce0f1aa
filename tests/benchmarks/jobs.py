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
    """A dataset at `data` by `capjax prepare COMMAND` and its vocabulary, unless they are there; as settings of a
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


def made_up_training(settings: Sequence[str]):
    """(state, step): a new training state of the default config with these settings, and state -> state, which takes a
    step on a batch of noise and waits for it."""
    sys.path.insert(0, str(ROOT))
    from capjax import runtime

    runtime.start(training=True)

    import jax
    import numpy as np

    from capjax.compile.dummy_vocabulary import dummy_vocabulary
    from capjax.config import default_config, with_overrides
    from capjax.data.batch import to_device
    from capjax.data.pipeline import batch_shapes
    from capjax.models.pure_model import make_key
    from capjax.parallel.mesh import make_mesh
    from capjax.parallel.sharding_rules import ShardingRules
    from capjax.train.train_programs import make_programs

    config = with_overrides(default_config(), settings)
    vocabulary, rules = (
        dummy_vocabulary(8000, languages=("en",)),
        ShardingRules(make_mesh(config.mesh), config.mesh.logical_axis_rules),
    )
    programs = make_programs(config, rules, vocabulary)
    rng, size, batch = np.random.default_rng(0), config.train.batch_size, {}
    for name, (shape, dtype) in batch_shapes(vocabulary, config.data, batch_size=size).items():
        values = rng.integers(0, 256, shape) if name in ("frames", "target") else np.ones(shape)
        batch[name] = values.astype(dtype)
    inputs = to_device(batch, rules, size)

    def step(state):
        state, metrics = programs.step_fn(state, inputs)
        jax.block_until_ready(metrics)
        return state

    return programs.init_fn(make_key(0), {}, {}), step


def print_table(rows: Sequence[dict[str, str]]):
    """As Markdown."""
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(row.values()) + " |")
