"""A workdir keeps what a run was made of, and binds later runs to it once something was learned."""

import json
import shutil

import pytest

from capjax import config as config_lib
from capjax.config import ConfigError
from capjax.train.reporter import Reporter, read_metrics
from capjax.train.workdir import Workdir
from tests.helpers.tiny_job import Tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return Tiny(tmp_path_factory)


def learned(workdir: Workdir):
    (workdir.path / "checkpoints" / "10").mkdir(parents=True)


def test_the_config_comes_back_as_it_was(tiny, tmp_path):
    config = tiny.config("optimizer.lr_multipliers=(('^encoder/', 0.1),)", "data.language_weights.en=2.0")
    Workdir(tmp_path).prepare(config)
    assert dict(config_lib.flatten(Workdir(tmp_path).config())) == dict(config_lib.flatten(config))


def test_a_bucket_is_no_folder_of_an_odd_name():
    with pytest.raises(ValueError, match="gs://bucket/run is a URL, .*; mount the bucket"):
        Workdir("gs://bucket/run")


def test_the_vocabulary_is_copied(tiny, tmp_path):
    Workdir(tmp_path / "run").prepare(tiny.config())
    assert (tmp_path / "run/vocabulary.model").read_bytes() == (tiny.path / "vocabulary.model").read_bytes()


def test_a_run_that_learned_binds_the_config(tiny, tmp_path):
    workdir = Workdir(tmp_path)
    workdir.prepare(tiny.config())
    learned(workdir)
    workdir.prepare(tiny.config("train.steps=80", "decode.num_beams=1", "mesh.fsdp=2", "checkpoint.every=7"))
    assert workdir.config().train.steps == 80
    with pytest.raises(ConfigError, match=r"model.width = 32, and this config has 64; use another --workdir"):
        workdir.prepare(tiny.config("model.width=64"))
    with pytest.raises(ConfigError, match=r"model.encoder.options = \{.*'depth': 1.*this config has \{.*'depth': 2"):
        workdir.prepare(tiny.config("model.encoder.options.depth=2"))
    assert workdir.config().model.width == 32


def test_an_attempt_that_learned_nothing_binds_nothing(tiny, tmp_path):
    shutil.copy(tiny.path / "vocabulary.model", tmp_path / "other.model")
    workdir = Workdir(tmp_path / "run")
    workdir.prepare(tiny.config("data.train=misspelt@train", f"data.vocabulary={tmp_path / 'other.model'}"))
    (workdir.path / "vocabulary.model").write_bytes(b"of the first attempt")
    workdir.prepare(tiny.config("model.width=64"))
    assert workdir.config().model.width == 64
    assert workdir.vocabulary_path.read_bytes() == (tiny.path / "vocabulary.model").read_bytes()


def test_the_first_attempt_leaves_other_peoples_folders_alone(tiny, tmp_path):
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder/mine.txt").write_text("precious")
    for _ in range(2):
        Workdir(tmp_path).prepare(tiny.config())
    assert (tmp_path / "encoder/mine.txt").read_text() == "precious"


def test_no_run_here_is_said_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no trained model here \(config.json is missing\)"):
        Workdir(tmp_path / "none").config()


def test_a_missing_vocabulary_is_explained(tiny, tmp_path):
    with pytest.raises(ConfigError, match="make one with `python -m data_prep vocabulary"):
        Workdir(tmp_path).prepare(tiny.config("data.vocabulary="))
    with pytest.raises(FileNotFoundError, match="no vocabulary none.model"):
        Workdir(tmp_path).prepare(tiny.config("data.vocabulary=none.model"))
    assert not (tmp_path / "config.json").exists()


def test_features_without_an_encoder_are_explained(tiny, tmp_path):
    with pytest.raises(FileNotFoundError, match="has no features.*data_prep features"):
        Workdir(tmp_path).prepare(tiny.config("data.features=true"))


def test_metrics_of_steps_that_are_done_again_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": step, "loss": 1.5} for step in range(1, 8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 8, "lo')  # killed while writing
    reporter = Reporter(path, start=5, steps=10, batch_size=8, tensorboard_dir=None)
    assert read_metrics(path) == rows[:5]
    reporter.metrics(6, {"loss": 1.0, "seconds_per_step": 0.5})
    reporter.scores(6, {"CIDEr": 0.25})
    reporter.close()
    new = [
        {"step": 6, "loss": 1.0, "seconds_per_step": 0.5, "images_per_second": 16.0},
        {"step": 6, "eval/CIDEr": 0.25},
    ]
    assert read_metrics(path) == rows[:5] + new


def test_a_damaged_line_of_metrics_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n\0\0\0\n{"step": 2}\n')
    with pytest.raises(ValueError, match="metrics.jsonl:2 is damaged"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_one_run_at_a_time(tmp_path):
    with Workdir(tmp_path / "run").lock():
        with (
            pytest.raises(ConfigError, match=r"another run is training in .*run; wait for its end"),
            Workdir(tmp_path / "run").lock(),
        ):
            pytest.fail("two runs in one folder")
        with Workdir(tmp_path / "other").lock():
            pass
    with Workdir(tmp_path / "run").lock():
        pass


def test_neighbors_need_features(tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"decode\.neighbors compares extracted features; set data\.features"):
        Workdir(tmp_path).prepare(tiny.config("decode.num_neighbors=3"))
