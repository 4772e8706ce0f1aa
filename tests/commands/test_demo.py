"""`capjax demo`: its steps, and which of them are done again."""

import subprocess
import sys

import pytest

from capjax import cli


@pytest.fixture
def commands(monkeypatch):
    """The arguments of the commands that were started, none of which does anything."""
    started = []

    def run(argv, check):
        started.append(argv[1:])
        return subprocess.CompletedProcess(argv, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return started


def test_the_demo_prepares_trains_scores_and_makes_a_page(commands, tmp_path):
    assert cli.main(["demo", "--output", str(tmp_path)]) == 0
    names = [argv[1:3] for argv in commands]
    assert names == [
        ["capjax", "prepare"], ["capjax", "prepare"], ["capjax", "train"],
        ["data_prep.synthetic.shapes", f"{tmp_path}/model/predictions.json"], ["capjax.evals.page", "--workdir"],
    ]  # fmt: skip
    assert f"--config.data.train={tmp_path}/data@train" in commands[2]


def test_finished_data_is_kept(commands, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/dataset_info.json").touch()
    (tmp_path / "vocabulary.model").touch()
    assert cli.main(["demo", "--output", str(tmp_path)]) == 0
    assert [argv[2] for argv in commands][0] == "train"


def test_it_stops_at_the_first_step_that_fails(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", "false")
    assert cli.main(["demo", "--output", str(tmp_path)]) == 1
