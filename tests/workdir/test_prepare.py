"""A workdir keeps the files that a run was started with, and binds later starts to them after the first checkpoint."""

import shutil

import pytest

from capjax import config as config_lib
from capjax.config import ConfigError
from capjax.data.pipeline import DatasetSplit
from capjax.workdir.layout import Workdir
from capjax.workdir.prepare import StartRecord, prepare


def prepared(path, config) -> list[str]:
    return prepare(Workdir(path), config, [DatasetSplit.parse(part).open() for part in config.data.train])


def save_checkpoint(path):
    (path / "checkpoints" / "10").mkdir(parents=True)


def test_the_config_comes_back_as_it_was(tiny, tmp_path):
    config = tiny.config("optimizer.lr_multipliers=(('^encoder/', 0.1),)", "data.language_weights.en=2.0")
    prepared(tmp_path, config)
    assert config_lib.flatten(Workdir(tmp_path).config()) == config_lib.flatten(config)


def test_the_vocabulary_is_copied(tiny, tmp_path):
    prepared(tmp_path / "run", tiny.config())
    assert (tmp_path / "run/vocabulary.model").read_bytes() == (tiny.path / "vocabulary.model").read_bytes()


def test_a_checkpoint_binds_the_config(tiny, tmp_path):
    prepared(tmp_path, tiny.config())
    save_checkpoint(tmp_path)
    prepared(tmp_path, tiny.config("train.steps=80", "decode.num_beams=1", "mesh.fsdp=2", "checkpoint.every=7"))
    assert Workdir(tmp_path).config().train.steps == 80
    with pytest.raises(ConfigError, match=r"model.width = 32, and this config has 64; use another --workdir"):
        prepared(tmp_path, tiny.config("model.width=64"))
    with pytest.raises(ConfigError, match=r"model.encoder.options = \{.*'depth': 1.*this config has \{.*'depth': 2"):
        prepared(tmp_path, tiny.config("model.encoder.options.depth=2"))
    assert Workdir(tmp_path).config().model.width == 32


def test_settings_that_changed_since_the_last_start_are_listed(tiny, tmp_path):
    assert prepared(tmp_path, tiny.config()) == []
    assert prepared(tmp_path, tiny.config("train.steps=80")) == [], "nothing was saved yet"
    save_checkpoint(tmp_path)
    assert prepared(tmp_path, tiny.config("train.steps=90", "decode.method=greedy")) == [
        "decode.method: 'beam' -> 'greedy'", "train.steps: 80 -> 90",
    ]  # fmt: skip
    assert prepared(tmp_path, tiny.config("train.steps=90", "decode.method=greedy")) == []


def test_a_start_without_a_checkpoint_binds_nothing(tiny, tmp_path):
    shutil.copy(tiny.path / "vocabulary.model", tmp_path / "other.model")
    run = tmp_path / "run"
    prepared(run, tiny.config(f"data.vocabulary={tmp_path / 'other.model'}"))
    (run / "vocabulary.model").write_bytes(b"of the first start")
    prepared(run, tiny.config("model.width=64"))
    assert Workdir(run).config().model.width == 64
    assert (run / "vocabulary.model").read_bytes() == (tiny.path / "vocabulary.model").read_bytes()


def test_the_first_start_leaves_other_peoples_folders_alone(tiny, tmp_path):
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder/mine.txt").write_text("precious")
    for _ in range(2):
        prepared(tmp_path, tiny.config())
    assert (tmp_path / "encoder/mine.txt").read_text() == "precious"


def test_a_missing_vocabulary_is_explained(tiny, tmp_path):
    with pytest.raises(ConfigError, match="make one with `capjax prepare vocabulary"):
        prepared(tmp_path, tiny.config("data.vocabulary="))
    with pytest.raises(FileNotFoundError, match="no vocabulary none.model"):
        prepared(tmp_path, tiny.config("data.vocabulary=none.model"))
    assert not (tmp_path / "config.json").exists()


def test_features_without_an_encoder_are_explained(tiny, tmp_path):
    with pytest.raises(FileNotFoundError, match="has no features.*capjax prepare features"):
        prepared(tmp_path, tiny.config("data.features=true"))


def test_neighbors_need_features(tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"decode\.num_neighbors compares extracted features; set data\.features"):
        prepared(tmp_path, tiny.config("decode.num_neighbors=3"))


def test_a_failed_start_removes_what_it_created(tiny, tmp_path):
    run = tmp_path / "runs/new"
    with Workdir(run).lock() as new_folders:
        created = StartRecord(Workdir(run), new_folders)
        prepared(run, tiny.config())
        (run / "checkpoints").mkdir()
        created.remove()
    assert not (tmp_path / "runs").exists()


def test_a_failed_start_leaves_what_was_there_before(tiny, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "vocabulary.model").write_bytes((tiny.path / "vocabulary.model").read_bytes())
    created = StartRecord(Workdir(tmp_path))
    prepared(tmp_path, tiny.config())
    created.remove()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "vocabulary.model"]


def test_a_run_that_saved_anything_stays(tiny, tmp_path):
    with Workdir(tmp_path / "run").lock() as new_folders:
        created = StartRecord(Workdir(tmp_path / "run"), new_folders)
        prepared(tmp_path / "run", tiny.config())
        save_checkpoint(tmp_path / "run")
        created.remove()
    assert (tmp_path / "run/config.json").is_file()
