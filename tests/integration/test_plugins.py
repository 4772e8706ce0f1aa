"""The plug-ins of docs/guides/extending.md, in a folder outside the repository: train, caption, score, export."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from capjax.config import ConfigError
from capjax.workdir.layout import Workdir
from tests.helpers.tiny_job import DEFAULT_CONFIG, ROOT, Tiny, shared_once

GUIDE = ROOT / "docs/guides/extending.md"
PLUGINS = "my_model,my_metric"
SETTINGS = (
    f"plugins={PLUGINS}", "model.encoder.name=cell_colors", "model.encoder.options={}",
    "model.connector.name=frame_means", "model.decoder.name=bigram", "model.decoder.options={}",
    "optimizer.name=signum", "train.loss_terms.confidence=0.1", "eval.metrics=cider,length",
    "checkpoint.best=length ratio", "train.steps=4", "train.eval_every=4",
)  # fmt: skip


def write_plugins(folder: Path):
    """Writes the modules of the guide: the first line of a block names its file."""
    for text in re.findall(r"^```python\n(# my_\w+\.py\n.*?)^```", GUIDE.read_text(), flags=re.MULTILINE | re.DOTALL):
        with (folder / text.splitlines()[0].removeprefix("# ")).open("a") as file:
            file.write(text)


def run(folder: Path, tiny: Tiny, *arguments: str) -> subprocess.CompletedProcess:
    """Runs `capjax` in a folder, which is not on `sys.path`."""
    program = "import sys; sys.path.remove(''); from capjax.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=folder, capture_output=True, text=True,
        env=tiny.environment() | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def job(tiny: Tiny, *more: str) -> list[str]:
    settings = [f"--config.{setting}" for setting in tiny.settings(*SETTINGS, *more)]
    return ["--config", DEFAULT_CONFIG, "--workdir", "run", *settings]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny) -> Path:
    """A folder with the plug-ins, and a run that they trained."""

    def make(folder: Path):
        write_plugins(folder)
        done = run(folder, tiny, "train", *job(tiny))
        assert done.returncode == 0, done.stderr
        assert "length ratio" in done.stdout
        assert "confidence" in json.loads((folder / "run/metrics.jsonl").read_text().splitlines()[0])

    return shared_once(tmp_path_factory, "plugins", make)


def test_a_model_of_plugins_trains_and_captions(folder, tiny):
    photo = str(tiny.photos / "000.jpg")
    done = run(folder, tiny, "caption", photo, photo, "--workdir", "run", "--plugins", PLUGINS)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_a_workdir_imports_no_module_without_consent(folder, tmp_path, monkeypatch):
    """Not even one that could be imported: a marker file shows that its code does not run."""
    workdir = tmp_path / "run"
    workdir.mkdir()
    config = json.loads((folder / "run/config.json").read_text()) | {"plugins": ["stranger"]}
    (workdir / "config.json").write_text(json.dumps(config))
    (tmp_path / "stranger.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"run/config.json needs the plug-in 'stranger'.*--plugins stranger"):
        Workdir(workdir).config()
    assert "stranger" not in sys.modules and not Path("ran").exists()


def test_captioning_without_naming_the_plugin_is_one_line(folder, tiny):
    done = run(folder, tiny, "caption", str(tiny.photos / "000.jpg"), "--workdir", "run")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("capjax caption: run/config.json needs the plug-in 'my_model'")


def test_a_metric_of_a_plugin_scores_files(folder, tiny, tmp_path):
    (tmp_path / "p.json").write_text(json.dumps({"a": "a red", "b": "blue all over"}))
    (tmp_path / "r.json").write_text(json.dumps({"a": ["a red picture and more"], "b": ["blue"]}))
    arguments = ["--predictions", str(tmp_path / "p.json"), "--references", str(tmp_path / "r.json"), "--json"]
    done = run(folder, tiny, "score", *arguments, "--metrics", "length", "--plugins", "my_metric")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scores"] == {"length ratio": pytest.approx((2 / 5 + 1) / 2)}
    done = run(folder, tiny, "score", *arguments, "--metrics", "length")
    assert done.returncode == 2 and "there is no metric 'length'" in done.stderr


def test_a_reader_of_a_plugin_prepares_a_dataset(folder, tiny, tmp_path):
    (photos := tmp_path / "photos").mkdir()
    for number in range(10):
        pixels = np.full((40, 48, 3), 25 * number, np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.jpg")
        (photos / f"{number}.txt").write_text(f"gray number {number}\nsome gray\n")
    arguments = ["--input", str(photos), "--output", str(tmp_path / "data"), "--workers", "2"]
    done = run(folder, tiny, "prepare", "sidecar", "--plugins", "my_reader", *arguments)
    assert done.returncode == 0, done.stderr
    assert re.search(r"train +9 photos +captions: 18 in en", done.stdout)
    done = run(folder, tiny, "prepare", "sidecar", *arguments)
    assert done.returncode == 2 and "unknown name 'sidecar'" in done.stderr


@pytest.mark.slow
def test_a_model_of_plugins_is_exported(folder, tiny):
    done = run(folder, tiny, "export", *job(tiny), "--output", "exported")
    assert done.returncode == 0, done.stderr
    assert (folder / "exported/saved_model.pb").is_file()
    assert json.loads((folder / "exported/config.json").read_text())["plugins"] == PLUGINS.split(",")
    done = run(folder, tiny, "eval", *job(tiny), "--model", "exported")
    assert done.returncode == 0 and "length ratio" in done.stdout, done.stderr
