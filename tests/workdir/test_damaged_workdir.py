"""Damage to any file that a run loads is an error that names the file; old workdirs load with one warning."""

import json
import logging
import re
import shutil
from pathlib import Path

import pytest

import capjax
from capjax import digests, jobs
from capjax.cli import main
from capjax.data.pipeline import DatasetSplit
from capjax.workdir.layout import Workdir
from capjax.workdir.prepare import prepare
from tests.helpers.digests import flip_bit, forget_warnings
from tests.helpers.tiny_job import DEFAULT_CONFIG, ROOT, copy, one_device

FIXTURES = ROOT / "tests/fixtures/v0.1.0"
# Files that only the checkpointer or nobody reads, and the one that users may edit.
NOT_VERIFIED = {
    "_CHECKPOINT_METADATA", "commit_success.txt", "config.json", "metrics.jsonl", "samples.md", "scores.json",
    "predictions.json", "predictions.de.json",
}  # fmt: skip


@pytest.fixture
def workdir(tiny, tmp_path, monkeypatch) -> Path:
    one_device(monkeypatch)
    return copy(tiny.trained(), tmp_path / "run")


@pytest.fixture
def reranked(tmp_path) -> Path:
    """A workdir with an encoder and neighbors, to which the next start of its run has added digests."""
    folder = Path(shutil.copytree(FIXTURES, tmp_path / "fixtures"))
    workdir = Workdir(folder / "workdirs/features_reranked")
    config = workdir.config()
    config.data.train, config.data.eval = (f"{folder}/data/features@train",), f"{folder}/data/features@val"
    shutil.copytree(workdir.path / "best/300", workdir.path / "checkpoints/300")
    sources = [DatasetSplit.parse(part).open() for part in config.data.train]
    old = workdir.config_path.read_text().replace("data/features@", f"{folder}/data/features@")
    workdir.config_path.write_text(old)
    prepare(workdir, config, sources)
    return workdir.path


def test_a_flipped_bit_in_any_file_that_captioning_loads_is_named(workdir, reranked):
    for folder in (workdir, reranked):
        shutil.rmtree(folder / "checkpoints")
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size):
            if path.name in NOT_VERIFIED or "score/" in str(path) or (folder == reranked and "best" in path.parts):
                continue
            flip_bit(path)
            with pytest.raises(ValueError, match=re.escape(str(path))) as error:
                capjax.load(folder)
            assert "again" in str(error.value), "the remedy"
            flip_bit(path)
        capjax.load(folder)


def test_the_commands_print_one_line_and_write_nothing(tiny, workdir, capsys):
    path = max((workdir / "best").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    flip_bit(path)
    before = sorted(workdir.rglob("*"))
    for run in (
        lambda: main(["caption", "--workdir", str(workdir), str(tiny.photos / "000.jpg")]),
        lambda: jobs.run("eval", DEFAULT_CONFIG, str(workdir), tiny.settings()),
        lambda: jobs.run("train", DEFAULT_CONFIG, f"{workdir}-2", tiny.settings(f"init={workdir}")),
    ):
        assert run() == 1
        out, errors = capsys.readouterr()
        assert not out and str(path) in errors and "Traceback" not in errors
        assert "Copy" in errors.splitlines()[-1]
    assert sorted(workdir.rglob("*")) == before


def test_an_edited_config_is_told_and_used(workdir, caplog, monkeypatch):
    forget_warnings(monkeypatch)
    config = json.loads((workdir / "config.json").read_text())
    config["decode"]["num_beams"] = 3
    (workdir / "config.json").write_text(json.dumps(config))
    with caplog.at_level(logging.WARNING, logger="capjax"):
        assert capjax.load(workdir).config.decode.num_beams == 3
    assert f"{workdir / 'config.json'} was edited or damaged" in caplog.text


def test_a_workdir_from_before_digests_loads_with_one_warning(caplog, monkeypatch):
    for name in ("features_reranked", "photo_lstm"):
        forget_warnings(monkeypatch)
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="capjax"):
            capjax.load(FIXTURES / "workdirs" / name)
        messages = [record.message for record in caplog.records if "digests" in record.message]
        assert len(messages) == 1 and str(FIXTURES / "workdirs" / name) in messages[0]


def test_a_new_workdir_loads_without_a_warning(workdir, caplog, monkeypatch):
    forget_warnings(monkeypatch)
    with caplog.at_level(logging.WARNING, logger="capjax"):
        capjax.load(workdir)
    assert not caplog.records


def test_the_next_start_of_an_old_run_adds_digests(reranked):
    assert set(digests.read_digests(reranked)) == {"config.json", "media.json", "neighbours.npz", "vocabulary.model"}
    assert set(digests.read_digests(reranked / "encoder")) == {"encoder.json", "encoder.safetensors"}


WRONG = [[], None, 1, "text", {}, {"data": []}, {"model": {"encoder": None}}, [[[[]]]], {"data": {"languages": [[]]}}]


@pytest.mark.parametrize("name", ["config.json", "media.json", "encoder/encoder.json"])
@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_json_of_another_type_is_named(reranked, name, value):
    for path in (reranked / "digests.json", reranked / "encoder/digests.json"):
        path.unlink()
    (reranked / name).write_text(json.dumps(value))
    try:
        capjax.load(reranked)
    except (ValueError, OSError) as error:
        assert name.removeprefix("encoder/") in str(error) or str(reranked) in str(error), error
    else:
        assert isinstance(value, dict), "an object without known keys may stand for the defaults"
