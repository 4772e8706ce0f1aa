"""A workdir in a bucket holds what a workdir on disk holds; what cannot be written there is refused by name."""

import json
import logging
import re

import pytest

from capjax import jobs
from capjax.config import ConfigError
from capjax.data.pipeline import DatasetSplit
from capjax.train.trackers import check_trackers
from capjax.workdir.layout import Workdir, checkpoint_steps
from capjax.workdir.metrics_log import MetricsLog, read_metrics
from capjax.workdir.prepare import StartRecord, prepare
from capjax.workdir.warm_start import parse_init
from tests.helpers.memory_bucket import MemoryBucket, serve_from_memory
from tests.helpers.tiny_job import DEFAULT_CONFIG


@pytest.fixture
def workdir(monkeypatch) -> Workdir:
    serve_from_memory(monkeypatch)
    return Workdir("gs://bucket/runs/a")


def files(workdir: Workdir) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in workdir.path.glob("*")}


def prepared(workdir: Workdir, config) -> list[str]:
    return prepare(workdir, config, [DatasetSplit.parse(part).open() for part in config.data.train])


def test_a_start_writes_the_same_files_as_on_disk(tiny, tmp_path, workdir):
    for place in (Workdir(tmp_path), workdir):
        prepared(place, tiny.config())
    assert files(workdir) == files(Workdir(tmp_path))
    assert workdir.config() == Workdir(tmp_path).config() and workdir.media() == Workdir(tmp_path).media()


def test_a_failed_start_leaves_nothing(tiny, workdir):
    with workdir.lock() as new_folders:
        created = StartRecord(workdir, new_folders)
    prepared(workdir, tiny.config())
    created.remove()
    assert files(workdir) == {}


def test_a_checkpoint_counts_once_it_is_complete(tiny, workdir):
    (workdir.path / "checkpoints/4/state").mkdir(parents=True)
    (workdir.path / "checkpoints/4/state/manifest").write_text("")
    assert not workdir.has_checkpoint() and checkpoint_steps(workdir.path / "checkpoints") == []
    prepared(workdir, tiny.config())
    prepared(workdir, tiny.config("model.width=64"))
    (workdir.path / "checkpoints/4/commit_success.txt").write_text("")
    assert checkpoint_steps(workdir.path / "checkpoints") == [4]
    with pytest.raises(ConfigError, match=r"gs://bucket/runs/a holds a run with model.width = 64, and .* has 32"):
        prepared(workdir, tiny.config())


def test_metrics_are_complete_after_every_row_and_a_resumed_run_drops_those_it_repeats(workdir):
    path, rows = workdir.metrics_path, [{"step": step, "loss": 1 / step} for step in range(1, 5)]
    metrics = MetricsLog(path, start=0)
    for number, row in enumerate(rows, start=1):
        metrics.append(row)
        assert read_metrics(path) == rows[:number]
    metrics.close()
    assert path.read_text() == "".join(json.dumps(row) + "\n" for row in rows)
    metrics = MetricsLog(path, start=2)
    metrics.append({"step": 3})
    assert read_metrics(path) == [*rows[:2], {"step": 3}]


def test_a_bucket_has_no_lock_and_says_so(workdir, caplog):
    with caplog.at_level(logging.WARNING), workdir.lock(), workdir.lock():
        pass
    assert "gs://bucket/runs/a cannot be locked: do not start a second run in it" in caplog.text


def test_settings_may_name_a_bucket(workdir):
    split = DatasetSplit.parse("gs://bucket/data@train*2")
    assert (str(split.directory), split.split, split.weight) == ("gs://bucket/data", "train", 2)
    with pytest.raises(FileNotFoundError, match="gs://bucket/data: no dataset here"):
        split.open()
    assert [str(part) for part in parse_init("gs://bucket/runs/a@best")] == ["gs://bucket/runs/a", "best"]
    with pytest.raises(FileNotFoundError, match="gs://bucket/runs/a: no trained model here"):
        workdir.config()


def test_trackers_that_write_files_are_refused(workdir, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("capjax.train.trackers._is_installed", lambda name: True)
    with pytest.raises(ConfigError, match="no TensorBoard files can be written to gs://bucket/runs/a"):
        check_trackers(("tensorboard",), workdir.path)
    with pytest.raises(ConfigError, match="set MLFLOW_TRACKING_URI; .* gs://bucket/runs/a cannot hold"):
        check_trackers(("mlflow",), workdir.path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking")
    check_trackers(("mlflow", "wandb"), workdir.path)


@pytest.mark.parametrize(
    ("mode", "url", "settings", "message"),
    [
        ("train", "s3://b/run", (), "s3://b/run: .* mount the bucket, or copy it with `aws s3 sync`"),
        ("eval", "s3://b/run", (), "s3://b/run: .* mount the bucket"),
        ("export", "s3://b/run", (), "s3://b/run: .* mount the bucket"),
        ("compile", "gs://b/run", (), "gs://b/run is a URL, not a path on this machine; mount the bucket"),
        ("train", "gs://b/run", ("data.train=s3://b/data@train",), "s3://b/data: .* mount the bucket"),
        (
            "train",
            "gs://b/run",
            ("train.profile=(1,2)",),
            "train.profile writes its trace to this machine only; .* other than gs://b/run",
        ),
    ],
)
def test_impossible_jobs_stop_with_one_line_and_write_nothing(tiny, workdir, capsys, mode, url, settings, message):
    status = jobs.run(mode, DEFAULT_CONFIG, url, tiny.settings(*settings), compiles={"topologies": []})
    assert status == 1
    lines = capsys.readouterr().err.splitlines()
    assert re.search(message, lines[-1]) and "Traceback" not in lines[0], lines
    assert MemoryBucket.store == {}


def test_an_export_needs_a_folder_on_this_machine(tiny, workdir):
    pytest.importorskip("tensorflow")
    from capjax.export import export_job

    prepared(workdir, tiny.config())
    with pytest.raises(ConfigError, match="gs://bucket/runs/a: an export is written to .*; give it with --output DIR"):
        export_job.run(tiny.config(), workdir.path)
