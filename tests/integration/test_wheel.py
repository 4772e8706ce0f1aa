"""The wheel, in an environment and a folder of its own."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def check_output(*argv: str | Path, cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", folder)
    check_output(sys.executable, "-m", "pip", "wheel", *options, ROOT, cwd=folder)
    return next(folder.glob("capjax-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The scripts of an environment that has the wheel, and of this one the packages that capjax needs."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    scripts = folder / "bin"
    check_output(scripts / "pip", "install", "--no-deps", "--quiet", wheel, cwd=folder)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")  # read after the wheel's own packages
    return scripts


def test_an_empty_folder_to_captions(installed, tmp_path):
    def capjax(*argv: str) -> str:
        return check_output(installed / "capjax", *argv, cwd=tmp_path)

    where = check_output(installed / "python", "-c", "import capjax; print(capjax.__file__)", cwd=tmp_path)
    assert Path(where).is_relative_to(installed.parent)
    data = ("--languages", "en", "--output", "data", "--images", "images")
    capjax("prepare", "shapes", "--count", "400", *data)
    capjax("prepare", "vocabulary", "--input", "data", "--output", "v.model", "--size", "300")
    settings = ("data.train=data@train", "data.eval=data@val", "data.vocabulary=v.model", "train.steps=20")
    capjax("train", "--config", "shapes", "--workdir", "run", *(f"--config.{setting}" for setting in settings))
    assert (tmp_path / "run/scores.json").is_file()
    photos = sorted(map(str, (tmp_path / "images").iterdir()))[:2]
    assert len(capjax("caption", *photos, "--workdir", "run").splitlines()) == 2


def test_configs_are_installed_as_a_package(installed, tmp_path):
    program = "from capjax.configs import pod_1b; print(pod_1b.get_config().name)"
    assert check_output(installed / "python", "-c", program, cwd=tmp_path) == "pod_1b photo\n"


def test_pages_are_rendered_from_the_templates_of_the_package(installed, tmp_path):
    (tmp_path / "captions.json").write_text(
        '{"1": ["A dog runs.", "A dog is running."], "2": ["A cat.", "A cat sits."]}'
    )
    (tmp_path / "predictions.json").write_text('{"1": "A cat runs.", "2": "A cat."}')
    argv = ("predictions.json", "--references", "captions.json", "--output", "analysis")
    assert "hallucinated object        1" in check_output(installed / "capjax", "analyze", *argv, cwd=tmp_path)
    assert "color-scheme" in (tmp_path / "analysis/index.html").read_text()
