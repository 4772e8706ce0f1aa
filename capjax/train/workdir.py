"""The folder of a job, self-contained: config, vocabulary, encoder of features, checkpoints, metrics, samples."""

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml_collections import ConfigDict

from capjax import config as config_lib
from capjax.config import ConfigError
from capjax.data.pipeline import DatasetSplit
from capjax.decode.consensus import Neighbors
from capjax.files import local_path, write_bytes, write_text
from capjax.text.vocabulary import Vocabulary

log = logging.getLogger("capjax")

# What may change between two runs in one workdir: it does not alter what the arrays are.
_MAY_CHANGE = ("name", "data.threads", "data.prefetch", "train.steps", "train.log_every", "train.eval_every",
               "train.tensorboard", "train.xla_options", "compile.", "checkpoint.", "decode.", "eval.", "mesh.",
               "data.eval")  # fmt: skip


class Workdir:
    """Paths of a job's folder, and what is read from it.

    Raises:
      ValueError: the path is a URL.
    """

    def __init__(self, path: str | Path):
        self.path = local_path(path)
        self.config_path = self.path / "config.json"
        self.vocabulary_path = self.path / "vocabulary.model"
        self.encoder_dir = self.path / "encoder"
        # Runs of capjax 0.1 have the British spelling.
        old_neighbors_path = self.path / "neighbours.npz"
        self.neighbors_path = old_neighbors_path if old_neighbors_path.is_file() else self.path / "neighbors.npz"
        self.media_path = self.path / "media.json"
        self.metrics_path = self.path / "metrics.jsonl"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other runs out of the folder; it ends with the process, however that ends.

        Raises:
          ConfigError: another run is at work here.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    f"another run is training in {self.path}; wait for its end, or use another --workdir"
                ) from error
            except OSError as error:  # some network file systems have no locks
                log.warning("%s cannot be locked (%s): start no second run in it", self.path, error.strerror)
            yield
        finally:
            os.close(folder)

    def prepare(self, config: ConfigDict):
        """Makes the folder, or checks that it is of this config; copies in what the model needs to be used elsewhere.

        Until something is saved an attempt binds nothing: the next may be of another config.

        Raises:
          ConfigError: the folder holds a run of another config.
          FileNotFoundError: no vocabulary, or no encoder beside the features.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if self.has_checkpoint():
            self._check_same(config)
        else:
            self._clear()
        if not self.vocabulary_path.is_file():
            if not config.data.vocabulary:
                raise ConfigError(
                    "data.vocabulary is empty; make one with `python -m data_prep vocabulary --input DATASET "
                    "--output vocabulary.model` and pass --config.data.vocabulary=vocabulary.model"
                )
            Vocabulary.load(config.data.vocabulary)
            write_bytes(self.vocabulary_path, Path(config.data.vocabulary).read_bytes())
        if config.data.features:
            datasets = [DatasetSplit.parse(part).directory for part in (*config.data.train, config.data.eval) if part]
            if not self.encoder_dir.is_dir():
                self._copy_encoder(datasets[0])
            for dataset in datasets:
                self._check_encoder(dataset)
        if config.decode.num_neighbors and not self.neighbors_path.is_file():
            if not config.data.features:
                raise ConfigError(
                    "decode.num_neighbors compares extracted features; set data.features, or neighbors to 0"
                )
            sources = [DatasetSplit.parse(part).open() for part in config.data.train]
            records = (source[i] for source in sources for i in range(len(source)))
            Neighbors.of(records, config.data.languages).save(self.neighbors_path)
        write_text(self.config_path, config_lib.to_json(config))

    def config(self) -> ConfigDict:
        """The config of the run in this folder.

        Raises:
          FileNotFoundError: there is no run here.
        """
        if not self.config_path.is_file():
            raise FileNotFoundError(
                f"{self.path}: no trained model here (config.json is missing); give the --workdir of a training run"
            )
        return config_lib.from_json(self.config_path.read_text(), str(self.config_path))

    def keep_media(self, config: ConfigDict):
        """Notes how the training data were stored, so that raw media can be stored alike."""
        if not self.media_path.is_file():
            sources = [DatasetSplit.parse(part).open() for part in config.data.train]
            seconds = [sizes["seconds"].max() for source in sources if (sizes := source.sizes())]
            media = sources[0].media | {"longest": max(map(float, seconds), default=0.0)}
            write_text(self.media_path, json.dumps(media) + "\n")

    def media(self) -> dict:
        """How the training data were stored, see `RecordSource.media`; and `longest`, the seconds of the longest record
        (0: not known, or photos). What is not known is not there."""
        return json.loads(self.media_path.read_text()) if self.media_path.is_file() else {}

    def external_data(self, config: ConfigDict) -> dict[str, object]:
        """What was learned from beside the dataset, as servers of benchmarks ask for it: `used` and `details`."""
        weights = config.model.encoder.weights
        if self.feature_shape():
            weights = json.loads((self.encoder_dir / "encoder.json").read_text()).get("weights_file", "")
        details = f"pretrained weights of the encoder: {weights}" if weights else ""
        return {"used": bool(weights), "details": details}

    def neighbors(self, decode: ConfigDict) -> Neighbors | None:
        """The training pictures for `decode.num_neighbors`; None where it is 0."""
        return Neighbors.load(self.neighbors_path) if decode.num_neighbors else None

    def feature_shape(self) -> tuple[int, int, int] | None:
        """(rows, columns, channels) of the extracted features that the model is fed, or None if it is fed pictures."""
        path = self.encoder_dir / "encoder.json"
        return tuple(json.loads(path.read_text())["feature_shape"]) if path.is_file() else None

    def has_checkpoint(self) -> bool:
        """Whether the run in this folder has saved anything."""
        return any(path.name.isdigit() for name in ("checkpoints", "best") for path in self.path.glob(f"{name}/*"))

    def check_model(self, config: ConfigDict):
        """Raises ConfigError if a config is of another model than the run's."""
        self._check_same(config, only=("model.", "data.features", "data.image_size"))

    def _clear(self):
        """Drops what an attempt that learned nothing copied in."""
        if self.config_path.is_file():
            self.vocabulary_path.unlink(missing_ok=True)
            self.neighbors_path.unlink(missing_ok=True)
            self.media_path.unlink(missing_ok=True)
            if self.feature_shape():
                shutil.rmtree(self.encoder_dir)

    def _copy_encoder(self, dataset: Path):
        aside = self.encoder_dir.with_name("encoder.partial")
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(_encoder_json(dataset).parent, aside)
        aside.rename(self.encoder_dir)

    def _check_encoder(self, dataset: Path):
        """Features of another encoder may have the same shape, and would be nonsense to this model."""
        ours = json.loads((self.encoder_dir / "encoder.json").read_text())
        theirs = json.loads(_encoder_json(dataset).read_text())
        for key in ("encoder", "options", "image_size", "weights_sha256", "clip"):
            if ours.get(key) != theirs.get(key):
                raise ConfigError(
                    f"{dataset} has features with {key} = {theirs.get(key)!r}, and this model is made for those with "
                    f"{key} = {ours.get(key)!r}"
                )

    def _check_same(self, config: ConfigDict, only: tuple[str, ...] = ("",)):
        before = dict(config_lib.flatten(self.config()))
        now = dict(config_lib.flatten(config_lib.from_json(config_lib.to_json(config), "the config")))
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key) and key.startswith(only) and not key.startswith(_MAY_CHANGE):
                raise ConfigError(
                    f"{self.path} holds a run with {key} = {_shown(before.get(key))}, and this config has "
                    f"{_shown(now.get(key))}; "
                    "use another --workdir, or the same config to go on"
                )


def _shown(value) -> str:
    return repr(value.to_dict() if isinstance(value, ConfigDict) else value)


def _encoder_json(dataset: Path) -> Path:
    path = dataset / "encoder" / "encoder.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{dataset} has no features ({path} is missing), but data.features is set; "
            "make them with `python -m data_prep features --input DATASET --output NEW --encoder NAME`"
        )
    return path
