"""`capjax demo`: trains a captioner on generated pictures, scores it, and writes a page that shows it."""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the commands of the demo that are not done yet; returns the exit status."""
    parser = argparse.ArgumentParser(prog="capjax demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"), metavar="DIR", help="default: demo")
    parser.add_argument("--count", type=int, default=6000, help="number of pictures (default: 6000)")
    args, settings = parser.parse_known_args(argv)
    if unknown := [word for word in settings if not word.startswith("--config.")]:
        parser.error(f"unknown argument {unknown[0]!r}; settings of the training are written --config.KEY=VALUE")
    for path, module, *arguments in _steps(args.output, args.count, settings):
        if path and path.exists():
            continue
        print(f"$ {shlex.join(['python', '-m', module, *arguments])}", flush=True)
        status = subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode  # noqa: S603
        if status:
            return status if status > 0 else 128 - status
    return 0


def _steps(output: Path, count: int, settings: Sequence[str]) -> list[tuple]:
    """(the path that shows that the step is done, if any; module; arguments) of each step."""
    data, model, vocabulary = f"{output}/data", f"{output}/model", f"{output}/vocabulary.model"
    datasets = (f"data.train={data}@train", f"data.eval={data}@val", f"data.vocabulary={vocabulary}")
    return [
        (
            output / "data/dataset_info.json", "capjax", "prepare", "shapes", "--languages", "en", "--output", data,
            "--images", f"{output}/images", "--count", str(count),
        ),
        (Path(vocabulary), "capjax", "prepare", "vocabulary", "--input", data, "--output", vocabulary, "--size", "512"),
        (
            None, "capjax", "train", "--config", "shapes", "--workdir", model,
            *(f"--config.{setting}" for setting in datasets), *settings,
        ),
        (None, "data_prep.synthetic.shapes", f"{model}/predictions.json"),
        (None, "capjax.evals.page", "--workdir", model, "--output", f"{output}/index.html"),
    ]  # fmt: skip
