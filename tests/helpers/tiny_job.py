"""One tiny captioning job for the tests of whole paths: flat colored pictures, and captions that name the color.

A model of 20,000 parameters learns it in a few steps, and then says of different photos different things. All is made
once and kept in a folder that the workers of one test run share, with the compiled programs.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from capjax import runtime
from capjax.config import default_config, with_overrides
from capjax.files import write_bytes
from capjax.text import vocabulary
from data_prep.readers import READERS
from tests.helpers.built_records import build_records

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_CONFIG = str(Path(__file__).with_name("default_config.py"))
COLORS = {
    "red": (220, 30, 30), "green": (30, 180, 40), "blue": (30, 40, 220), "yellow": (230, 220, 30),
    "black": (15, 15, 15), "white": (240, 240, 240),
}  # fmt: skip
GERMAN = {"red": "rotes", "green": "grünes", "blue": "blaues", "yellow": "gelbes", "black": "schwarzes",
          "white": "weißes"}  # fmt: skip
STEPS = 40
SETTINGS = (
    "name=tiny", "data.languages=en,de", "data.image_size=32", "data.crop_scale=1.0,1.0", "data.target_len=12",
    "model.width=32", "model.encoder.name=vit_tiny", "model.encoder.options.width=32", "model.encoder.options.depth=1",
    "model.encoder.options.heads=2", "model.encoder.options.patch=16", "model.decoder.options.layers=1",
    "model.decoder.options.heads=2", "model.decoder.options.mlp_ratio=2.0", "optimizer.learning_rate=0.02",
    f"train.steps={STEPS}", "train.batch_size=8", "train.ema=0.5", "train.log_every=1", "train.eval_every=20",
    "train.tensorboard=false", "checkpoint.every=4", "decode.num_beams=2", "decode.max_len=8", "eval.batch_size=8",
)  # fmt: skip


def shared_once(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name`, made by the first that asks, whichever worker of the test run that is."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = root / name
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            aside = root / f"{name}.partial"
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            make(aside)
            aside.rename(folder)
    return folder


def _write_photos(folder: Path):
    rng, rows = np.random.default_rng(0), []
    for number in range(60):
        name = list(COLORS)[number % len(COLORS)]
        pixels = np.array(COLORS[name]) + rng.integers(-12, 13, (40, 48, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03d}.jpg")
        captions = [{"text": text, "lang": "en"} for text in (f"a {name} picture", f"{name} all over")]
        captions += [{"text": f"ein {GERMAN[name]} Bild", "lang": "de"}]
        split = "val" if number % 5 == 4 else "train"
        rows.append({"image": f"{number:03d}.jpg", "captions": captions, "split": split})
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def _make_data(folder: Path):
    (folder / "photos").mkdir()
    rows = _write_photos(folder / "photos")
    build_records("jsonl", READERS.make("jsonl", folder / "photos"), folder / "data")
    sentences = {"en": [], "de": []}
    for caption in (caption for row in rows for caption in row["captions"]):
        sentences[caption["lang"]].append(caption["text"])
    write_bytes(folder / "vocabulary.model", vocabulary.train(sentences, size=340))


class Tiny:
    """The folder with the tiny dataset: photos/, data/, vocabulary.model; cache/ of compiled programs."""

    def __init__(self, tmp_path_factory):
        self.path = shared_once(tmp_path_factory, "tiny", _make_data)
        self.photos, self.data = self.path / "photos", self.path / "data"
        self._factory = tmp_path_factory

    def settings(self, *more: str) -> list[str]:
        data = (f"data.train={self.data}@train", f"data.eval={self.data}@val")
        return [*SETTINGS, *data, f"data.vocabulary={self.path / 'vocabulary.model'}", *more]

    def config(self, *more: str) -> ConfigDict:
        return with_overrides(default_config(), self.settings(*more))

    def environment(self) -> dict[str, str]:
        """Of subprocesses: one device, the programs that others have compiled, and a stack trace should one crash."""
        flags = "--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0"
        return os.environ | {"XLA_FLAGS": flags, "CAPJAX_CACHE": str(self.path / "cache"), "PYTHONFAULTHANDLER": "1"}

    def command(self, workdir: Path, *more: str, mode: str = "train") -> list[str]:
        """launch.py with the tiny job's settings, `more` after them."""
        settings = [f"--config.{setting}" for setting in self.settings(*more)]
        return [
            sys.executable, str(ROOT / "launch.py"), "--config", DEFAULT_CONFIG, "--workdir", str(workdir),
            "--mode", mode, *settings,
        ]  # fmt: skip

    def launch(
        self, workdir: Path, *more: str, mode: str = "train", log_compiles: bool = False
    ) -> subprocess.CompletedProcess:
        env = self.environment() | ({"JAX_LOG_COMPILES": "1"} if log_compiles else {})
        return subprocess.run(
            self.command(workdir, *more, mode=mode), env=env, capture_output=True, text=True, cwd=ROOT
        )

    def trained(self) -> Path:
        """A workdir that was trained to the end and evaluated. Tests must not write into it: see `copy`."""

        def make(folder: Path):
            done = self.launch(folder / "run", log_compiles=True)
            assert done.returncode == 0, (done.returncode, done.stderr)
            (folder / "train.log").write_text(done.stderr)
            done = self.launch(folder / "run", mode="eval")
            assert done.returncode == 0, (done.returncode, done.stderr)
            (folder / "eval.log").write_text(done.stderr)

        return shared_once(self._factory, "tiny_trained", make) / "run"


def copy(workdir: Path, to: Path) -> Path:
    return Path(shutil.copytree(workdir, to))


def one_device(monkeypatch: pytest.MonkeyPatch):
    """Of the eight pretend devices of the tests the job sees the first: programs for one compile in half the time."""
    first = jax.local_devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda *_: first)


def in_this_process(patch: pytest.MonkeyPatch, folder: Path):
    """Prepares jobs of the test's own process: one device, and compiled programs cached in `folder`."""
    one_device(patch)
    patch.setenv("CAPJAX_CACHE", str(folder / "cache"))
    runtime.start()


def rows(workdir: Path) -> list[dict]:
    """metrics.jsonl."""
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def predictions(workdir: Path, lang: str = "en") -> dict[str, str]:
    """{record id: caption} of a workdir's last evaluation; English is the tiny job's first language."""
    name = "predictions.json" if lang == "en" else f"predictions.{lang}.json"
    return {str(row["image_id"]): row["caption"] for row in json.loads((workdir / name).read_text())}
