"""The command `capjax`: its sub-commands, what they import, and what they need."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from capjax import cli, extras

ROOT = Path(__file__).resolve().parents[2]

# Runs `capjax` where the packages of the extra `train` are not installed.
SCORER_ALONE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if extras._EXTRAS.get(name.partition(".")[0]) == "train":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

from capjax import cli, extras
sys.meta_path.insert(0, Missing())
sys.exit(cli.main(sys.argv[1:]))
"""


def python(program: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("name", [name for name in cli.COMMANDS if name != "prepare"])
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert stop.value.code == 0
    assert "usage: " in capsys.readouterr().out


def test_help_and_version_import_nothing_heavy():
    done = python(
        "import sys; from capjax import cli; status = cli.main(['--help']); cli.main(['--version']); "
        "print(status, [name for name in ('jax', 'numpy', 'ml_collections', 'data_prep') if name in sys.modules])"
    )
    *overview, shown, last = done.stdout.splitlines()
    assert all(any(line.strip().startswith(name) for line in overview) for name in cli.COMMANDS)
    assert (shown, last) == (f"capjax {version('capjax')}", "0 []")


def test_an_unknown_command_names_the_nearest(capsys):
    assert cli.main(["trian"]) == 2
    assert capsys.readouterr().err.startswith("capjax: unknown command 'trian'; did you mean 'train'?")
    assert cli.main([]) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--config", "shapes", "--workdir", "run"],
        ["eval", "--config", "shapes", "--workdir", "run"],
        ["caption", "x.jpg", "--workdir", "run"],
        ["prepare", "shapes", "--output", "data"],
    ],
)
def test_what_needs_an_extra_names_it_in_one_line(arguments):
    done = python(SCORER_ALONE, *arguments)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"capjax {arguments[0]}: ")
    assert line.endswith("is not installed: pip install 'capjax[train]'")


MODULES_ALONE = SCORER_ALONE.replace(
    "sys.exit(cli.main(sys.argv[1:]))",
    "import runpy; del sys.argv[0]; runpy.run_module(sys.argv[0], run_name='__main__')",
)


def test_the_page_without_the_extra_names_it_in_one_line():
    done = python(MODULES_ALONE, "capjax.evals.page", "--workdir", "run", "--output", "index.html")
    assert done.returncode == 1
    assert re.fullmatch(r"capjax.evals.page: \w+ is not installed: pip install 'capjax\[train\]'\n", done.stderr)


@pytest.mark.parametrize("name", ["shapes", "moving"])
def test_counting_true_captions_needs_no_extra(name, tmp_path):
    (tmp_path / "predictions.json").write_text(f'[{{"image_id": "{name}-0000018", "caption": "a red circle"}}]')
    done = python(MODULES_ALONE, f"data_prep.synthetic.{name}", str(tmp_path / "predictions.json"))
    assert done.returncode == 0, done.stderr
    assert "exactly true: 0 of 1" in done.stdout


def test_launch_py_without_the_extra_names_it_in_one_line():
    program = SCORER_ALONE.replace(
        "sys.exit(cli.main(sys.argv[1:]))",
        f"import runpy; runpy.run_path({str(ROOT / 'launch.py')!r}, run_name='__main__')",
    )
    done = python(program, "--config", "shapes", "--workdir", "run")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("launch.py: ") and line.endswith("is not installed: pip install 'capjax[train]'")


def test_the_scorer_needs_no_extra():
    done = python(SCORER_ALONE, "score", "--help")
    assert done.returncode == 0, done.stderr


def test_loading_a_model_without_the_extra_names_it():
    program = SCORER_ALONE.replace("sys.exit(cli.main(sys.argv[1:]))", "import capjax; capjax.load('run')")
    assert "is not installed: pip install 'capjax[train]'" in python(program).stderr.splitlines()[-1]


def test_other_missing_modules_are_not_explained():
    assert extras.explain(ModuleNotFoundError("No module named 'x'", name="x")) is None
    with pytest.raises(ModuleNotFoundError):
        cli.run_guarded("capjax", lambda: __import__("no_such_module"))


def test_doctor_lists_versions_devices_and_extras(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("CAPJAX_CACHE", str(tmp_path / "cache"))
    assert cli.main(["doctor"]) == 0
    report = capsys.readouterr().out
    assert report.startswith(f"capjax {version('capjax')}, Python ")
    assert f"compilation cache: {tmp_path / 'cache'}" in report
    assert " cpu " in report and "extras:" in report


def test_a_mode_has_only_its_own_options(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", "--config", "shapes", "--workdir", "run", "--output", "x"])
    assert stop.value.code == 2
    assert "capjax train: error: unknown argument '--output'" in capsys.readouterr().err
