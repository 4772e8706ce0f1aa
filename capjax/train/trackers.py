"""Experiment trackers: TensorBoard, Weights & Biases and MLflow behind one interface."""

import importlib.util
import logging
import os
import re
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol

from ml_collections import ConfigDict

from capjax.config import ConfigError
from capjax.files import is_url, write_text
from capjax.metrics.writing import write_errors_named
from capjax.registry import Registry

log = logging.getLogger("capjax")

# Name -> class, made from (workdir, config), which imports the packages of the tracker.
TRACKERS = Registry("tracker")
_PACKAGES = {"tensorboard": ("clu", "tensorboard", "tensorflow"), "wandb": ("wandb",), "mlflow": ("mlflow",)}


class Tracker(Protocol):
    """Receives the metrics of a run."""

    def write(self, step: int, values: dict[str, float]): ...

    def close(self): ...


class BackgroundTracker:
    """A tracker that is made and called in a thread of its own, since imports and uploads take seconds.

    An error of the tracker is raised by the next call.

    Args:
      make: makes the tracker.
      name: of the tracker, for messages.
      folder: where it writes its files, for messages.
    """

    def __init__(self, make: Callable[[], Tracker], name: str = "tracker", folder: object = "a tracker's file"):
        self._make, self.name, self._folder = make, name, folder
        self._thread = ThreadPoolExecutor(1, "tracker")
        self._tracker: Future = self._thread.submit(self._start)
        self._written: Future = self._tracker

    def _start(self) -> Tracker:
        try:
            return self._make()
        except Exception as error:
            if isinstance(error, OSError) and error.errno:  # of a file
                raise
            raise ConfigError(
                f"train.trackers: {self.name} cannot be used: {str(error).strip(' .')}. Correct this, or leave it out"
            ) from error

    def wait(self):
        """Waits until the tracker can be used; raises its error if it cannot."""
        with write_errors_named(self._folder):
            self._tracker.result()

    def write(self, step: int, values: dict[str, float]):
        if self._written.done():
            with write_errors_named(self._folder):
                self._written.result()  # raises its error
        self._written = self._thread.submit(self._write, step, values)

    def _write(self, step: int, values: dict[str, float]):
        self._tracker.result().write(step, values)

    def close(self):
        self._thread.shutdown()
        with write_errors_named(self._folder):
            self._tracker.result().close()
            self._written.result()


def check_trackers(names: Sequence[str], workdir: Path):
    """Raises ConfigError for a tracker that is unknown, is not installed, or cannot write into the workdir."""
    for name in names:
        try:
            TRACKERS.get(name)
        except ValueError as error:
            raise ConfigError(f"train.trackers: {error}") from error
        if not _is_installed(name):
            raise ConfigError(f"train.trackers: {name!r} is not installed; run `pip install 'capjax[{name}]'`")
        if is_url(workdir) and name == "tensorboard":
            raise ConfigError(f"train.trackers: no TensorBoard files can be written to {workdir}; use wandb or mlflow")
        if is_url(workdir) and name == "mlflow" and not os.environ.get("MLFLOW_TRACKING_URI"):
            raise ConfigError(
                f"train.trackers: set MLFLOW_TRACKING_URI; without it mlflow writes a database into the workdir, which "
                f"{workdir} cannot hold"
            )


def make_trackers(workdir: Path, config: ConfigDict) -> list[BackgroundTracker]:
    """Returns the trackers that `train.tensorboard` and `train.trackers` ask for."""
    names = dict.fromkeys(config.train.trackers)
    if config.train.tensorboard and is_url(workdir):
        log.info("no TensorBoard files in %s; metrics.jsonl has the same values", workdir)
    elif config.train.tensorboard and _is_installed("tensorboard"):
        names["tensorboard"] = None
    elif config.train.tensorboard:
        log.info("no TensorBoard files: run `pip install 'capjax[tensorboard]'`; metrics.jsonl has the same values")
    return [BackgroundTracker(partial(TRACKERS.get(name), workdir, config), name, workdir / name) for name in names]


def _is_installed(name: str) -> bool:
    return all(importlib.util.find_spec(package) for package in _PACKAGES.get(name, ()))


@TRACKERS.register("tensorboard")
class TensorBoardTracker:
    """Summary files in `tensorboard/` of the workdir, written with clu."""

    def __init__(self, workdir: Path, config: ConfigDict):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # TensorFlow only writes files, and would announce oneDNN
        from clu import metric_writers

        self._writer = metric_writers.SummaryWriter(str(workdir / "tensorboard"))

    def write(self, step: int, values: dict[str, float]):
        self._writer.write_scalars(step, values)

    def close(self):
        self._writer.close()


@TRACKERS.register("wandb")
class WandbTracker:
    """Weights & Biases. Its own WANDB_* variables select project, account and offline mode."""

    def __init__(self, workdir: Path, config: ConfigDict):
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "capjax"), name=_name(workdir, config),
            dir=None if is_url(workdir) else str(workdir),
            id=_run_id(workdir / "wandb_id", lambda: uuid.uuid4().hex), resume="allow", config=config.to_dict(),
        )  # fmt: skip

    def write(self, step: int, values: dict[str, float]):
        self._run.log(values, step=step)

    def close(self):
        self._run.finish()


@TRACKERS.register("mlflow")
class MlflowTracker:
    """MLflow, at MLFLOW_TRACKING_URI or in `mlflow.db` of the workdir. The experiment is MLFLOW_EXPERIMENT_NAME."""

    def __init__(self, workdir: Path, config: ConfigDict):
        import mlflow

        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{workdir.resolve() / 'mlflow.db'}"
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        self._id = _run_id(workdir / "mlflow_id", lambda: self._create(_name(workdir, config)))

    def _create(self, name: str) -> str:
        experiment_name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "capjax")
        experiment = self._client.get_experiment_by_name(experiment_name)
        experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(experiment_name)
        return self._client.create_run(experiment_id, run_name=name).info.run_id

    def write(self, step: int, values: dict[str, float]):
        for name, value in values.items():
            # MLflow allows no other characters in names.
            self._client.log_metric(self._id, re.sub(r"[^\w\-. /]", "_", name), value, step=step)

    def close(self):
        self._client.set_terminated(self._id)


def _name(workdir: Path, config: ConfigDict) -> str:
    return config.name or workdir.name


def _run_id(path: Path, make: Callable[[], str]) -> str:
    """The tracker's id of the run, kept in the workdir, so that a resumed run continues its curves."""
    if not path.is_file():
        write_text(path, make())
    return path.read_text()
