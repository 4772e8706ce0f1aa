"""Trackers receive every value that metrics.jsonl receives; wandb and mlflow are replaced by recorders."""

import sys
from types import SimpleNamespace

import pytest
from ml_collections import ConfigDict

from capjax.config import ConfigError
from capjax.train import trackers
from capjax.train.reporter import Reporter
from capjax.workdir.metrics_log import read_metrics

VALUES = {"loss": 2.0, "seconds_per_step": 0.5}


def config(*names: str, tensorboard: bool = False) -> ConfigDict:
    return ConfigDict({"name": "job", "train": {"trackers": names, "tensorboard": tensorboard}})


@pytest.fixture
def wandb(monkeypatch):
    """A module `wandb` that records its runs."""
    runs = []

    def init(**options):
        run = SimpleNamespace(options=options, rows=[], finished=False)
        run.log = lambda values, step: run.rows.append((step, values))
        run.finish = lambda: setattr(run, "finished", True)
        runs.append(run)
        return run

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, __spec__=SimpleNamespace(name="wandb")))
    return runs


@pytest.fixture
def mlflow(monkeypatch):
    """A module `mlflow` whose clients record into one list."""
    calls = []

    class MlflowClient:
        def __init__(self, tracking_uri):
            calls.append(("uri", tracking_uri))

        def get_experiment_by_name(self, name):
            return None

        def create_experiment(self, name):
            return f"experiment {name}"

        def create_run(self, experiment_id, run_name):
            calls.append(("run", experiment_id, run_name))
            return SimpleNamespace(info=SimpleNamespace(run_id="id7"))

        def log_metric(self, run_id, name, value, step):
            calls.append((run_id, name, value, step))

        def set_terminated(self, run_id):
            calls.append(("end", run_id))

    module = SimpleNamespace(MlflowClient=MlflowClient, __spec__=SimpleNamespace(name="mlflow"))
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return calls


def report(tmp_path, *names: str, start: int = 0):
    made = trackers.make_trackers(tmp_path, config(*names))
    return Reporter(tmp_path / "metrics.jsonl", start=start, steps=10, batch_size=8, trackers=made)


def test_wandb_gets_every_row_and_a_resumed_run_keeps_its_id(tmp_path, wandb):
    for start in (0, 1):
        reporter = report(tmp_path, "wandb", start=start)
        reporter.metrics(start + 1, VALUES)
        reporter.scores(start + 1, {"CIDEr": 0.5})
        reporter.close()
    rows = [row for run in wandb for row in run.rows]
    assert [{"step": step, **values} for step, values in rows] == read_metrics(tmp_path / "metrics.jsonl")
    first, second = (run.options for run in wandb)
    assert first["id"] == second["id"] and first["resume"] == "allow" and first["name"] == "job"
    assert all(run.finished for run in wandb)


def test_mlflow_gets_every_value_under_a_name_that_it_allows(tmp_path, mlflow):
    reporter = report(tmp_path, "mlflow")
    reporter.scores(3, {"F1@0.5": 0.25, "SODA_c (METEOR)": 0.5})
    reporter.close()
    assert mlflow == [
        ("uri", f"sqlite:///{tmp_path}/mlflow.db"), ("run", "experiment capjax", "job"),
        ("id7", "eval/F1_0.5", 0.25, 3), ("id7", "eval/SODA_c _METEOR_", 0.5, 3), ("end", "id7"),
    ]  # fmt: skip


def test_an_unknown_or_missing_tracker_is_an_error_before_training(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"train\.trackers: unknown tracker 'wandbb': did you mean 'wandb'"):
        trackers.check_trackers(("wandbb",), tmp_path)
    monkeypatch.setattr(trackers, "_is_installed", lambda name: False)
    with pytest.raises(ConfigError, match=r"'mlflow' is not installed; run `pip install 'capjax\[mlflow\]'`"):
        trackers.check_trackers(("mlflow",), tmp_path)


def test_an_error_of_a_tracker_is_not_lost():
    def full():
        raise OSError(28, "No space left on device")

    tracker = trackers.BackgroundTracker(full)
    tracker._tracker.exception()
    with pytest.raises(OSError, match="No space left"):
        tracker.write(1, VALUES)
    with pytest.raises(OSError, match="No space left"):
        tracker.close()


def test_a_tracker_that_cannot_start_is_named_before_the_first_step(tmp_path, wandb, monkeypatch):
    def init(**options):
        raise RuntimeError("No API key configured. Use `wandb login` to log in.")

    monkeypatch.setattr(sys.modules["wandb"], "init", init)
    reporter = report(tmp_path, "wandb")
    message = "train.trackers: wandb cannot be used: No API key configured"
    with pytest.raises(ConfigError, match=message):
        reporter.wait_for_trackers()
    with pytest.raises(ConfigError, match=message):
        reporter.close()


def test_tensorboard_gets_every_value_that_metrics_jsonl_gets(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    pytest.importorskip("clu.metric_writers")
    made = trackers.make_trackers(tmp_path, config(tensorboard=True))
    reporter = Reporter(tmp_path / "metrics.jsonl", start=0, steps=10, batch_size=8, trackers=made)
    for step in (1, 2, 3):
        reporter.metrics(step, VALUES | {"loss": float(step)})
    reporter.scores(3, {"CIDEr": 0.5})
    reporter.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    tags = events.Tags()["tensors"]
    assert {"loss", "seconds_per_step", "images_per_second", "eval/CIDEr"} <= set(tags)
    assert [event.step for event in events.Tensors("loss")] == [1, 2, 3]
