"""The scorer needs numpy, scipy and icu4py, and nothing else of capjax."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

METRICS = Path(__file__).parents[2] / "capjax" / "metrics"

# Runs the command in an interpreter that hides all packages but the scorer's requirements.
PROGRAM = """
import pkgutil, runpy, sys, capjax
NEEDED = {"numpy", "scipy", "icu4py", "capjax", *sys.stdlib_module_names}
hidden = [module.name for module in pkgutil.iter_modules() if module.name not in NEEDED and module.name[0] != "_"]
hidden += [f"capjax.{module.name}" for module in pkgutil.iter_modules(capjax.__path__) if module.name != "metrics"]
sys.modules.update(dict.fromkeys(hidden))
runpy.run_module("capjax.metrics", run_name="__main__")
"""


def run(*arguments: str | Path) -> str:
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_captions_are_scored_without_other_packages(tmp_path):
    (tmp_path / "p.json").write_text(json.dumps({"a": "ein Hund", "b": "eine Katze"}))
    (tmp_path / "r.json").write_text(json.dumps({"a": ["ein Hund"], "b": ["die Katze"]}))
    arguments = ["--predictions", tmp_path / "p.json", "--references", tmp_path / "r.json", "--json"]
    arguments += ["--bootstrap", 100]
    assert json.loads(run(*arguments, "--lang", "de"))["scores"]["BLEU-1"] == pytest.approx(0.75)
    assert json.loads(run(*arguments, "--diversity"))["scores"]["ROUGE-L"] > 0.5


def test_dense_captions_are_scored_without_other_packages(tmp_path):
    event = {"sentence": "a dog runs", "timestamp": [0, 5]}
    annotation = {"duration": 9, "timestamps": [[0, 5], [4, 9]], "sentences": ["a dog runs", "it sleeps"]}
    (tmp_path / "p.json").write_text(json.dumps({"results": {"v": [event, event]}}))
    (tmp_path / "r.json").write_text(json.dumps({"v": annotation}))
    scores = json.loads(run("--predictions", tmp_path / "p.json", "--references", tmp_path / "r.json", "--json"))
    assert scores["scores"]["Precision@0.5"] == 1


def test_no_module_imports_another_package_of_capjax():
    for path in METRICS.rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]) and words[1].startswith("capjax"):
                assert words[1].startswith("capjax.metrics"), f"{path}: {line}"
