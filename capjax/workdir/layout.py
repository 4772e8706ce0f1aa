"""The folder of a run: config, vocabulary, encoder of features, checkpoints, metrics and samples."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml_collections import ConfigDict

from capjax import config as config_lib
from capjax import digests
from capjax.config import ConfigError
from capjax.data.balance import Balance
from capjax.data.dataset_folder import MediaJson
from capjax.decode.attribute_shares import AttributeShares
from capjax.decode.consensus import Neighbors
from capjax.files import is_url, make_folder, read_json, read_text, storage_path
from capjax.models.build import make_pure_model
from capjax.models.frozen_encoder import EncoderJson
from capjax.models.pure_model import PureModel
from capjax.text.word_groups import WordGroups

log = logging.getLogger("capjax")

_REMEDY = "copy the workdir again from where the model was trained"
# Keys that may change between two starts of one run: they do not alter the trained arrays.
_MAY_CHANGE = (
    "name", "init", "plugins", "data.threads", "data.prefetch", "train.steps", "train.log_every",
    "train.eval_every", "train.tensorboard", "train.trackers", "train.profile", "train.xla_options", "compile.",
    "checkpoint.", "decode.", "eval.", "mesh.", "data.eval",
)  # fmt: skip
# With this file Orbax marks a complete checkpoint in a bucket, where a folder cannot be renamed in one operation.
_COMMIT_FILE = "commit_success.txt"
# Keys that determine the model.
_OF_MODEL = ("model.", "data.features", "data.image_size")


class Workdir:
    """The paths in the folder of a run, and the files that describe the trained model.

    The folder is self-contained: the dataset and the vocabulary file that the run was started with are not needed to
    use the model. `capjax.workdir.prepare` writes these files.

    Args:
      path: a folder on this machine, or gs://BUCKET/FOLDER.

    Raises:
      ValueError: the path is another URL.
    """

    def __init__(self, path: str | Path):
        self.path = storage_path(path)
        self.config_path = self.path / "config.json"
        self.vocabulary_path = self.path / "vocabulary.model"
        self.encoder_dir = self.path / "encoder"
        self.encoder_json_path = self.encoder_dir / "encoder.json"
        # Runs of capjax 0.1 have the British spelling.
        old_neighbors_path = self.path / "neighbours.npz"
        self.neighbors_path = old_neighbors_path if old_neighbors_path.is_file() else self.path / "neighbors.npz"
        self.media_path = self.path / "media.json"
        self.balance_path = self.path / "balance.json"
        self.metrics_path = self.path / "metrics.jsonl"

    @contextmanager
    def lock(self) -> Iterator[list[Path]]:
        """Holds an exclusive lock on the folder; the system releases it when the process ends.

        Yields:
          The folders that were created for it, innermost first.

        Raises:
          ConfigError: another run holds the lock.
        """
        if is_url(self.path):
            log.warning("%s cannot be locked: do not start a second run in it", self.path)
            yield []  # a bucket has no empty folders
            return
        new_folders = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        make_folder(self.path)
        folder = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(
                    f"another run is training in {self.path}; wait until it ends, or use another --workdir"
                ) from error
            except OSError as error:  # some network file systems have no locks
                log.warning("%s cannot be locked (%s): do not start a second run in it", self.path, error.strerror)
            yield new_folders
        finally:
            os.close(folder)

    def config(self) -> ConfigDict:
        """Returns the config of the run in this folder.

        Raises:
          FileNotFoundError: the folder holds no run.
          ConfigError: config.json is damaged.
        """
        if not self.config_path.is_file():
            raise FileNotFoundError(
                f"{self.path}: no trained model here (config.json is missing); give the --workdir of a training run"
            )
        if digests.read_digests(self.path) is None:
            digests.warn_without_digests(self.path)
        return config_lib.from_json(read_text(self.config_path, _REMEDY, editable=True), str(self.config_path))

    def has_checkpoint(self) -> bool:
        """Whether the run in this folder has saved anything."""
        return any(checkpoint_steps(self.path / name) for name in ("checkpoints", "best"))

    def media(self) -> MediaJson:
        """Returns how the training data were stored (see `RecordSource.media`), with `longest`, the duration of the
        longest record in seconds (0: photos, or unknown). Unknown entries are absent."""
        return read_json(self.media_path, _REMEDY, MediaJson) if self.media_path.is_file() else {}

    def feature_shape(self) -> tuple[int, int, int] | None:
        """Returns (rows, columns, channels) of the extracted features that the model takes; None: it takes frames."""
        if not self.encoder_dir.is_dir():
            return None
        return tuple(read_json(self.encoder_json_path, _REMEDY, EncoderJson)["feature_shape"])

    def pure_model(self, config: ConfigDict, *, vocab: int) -> PureModel:
        """Returns the model of this run, of which `config` is the config, as pure functions.

        Raises:
          ConfigError: no model can be made of it; the message names config.json.
        """
        try:
            return make_pure_model(config, vocab=vocab, feature_shape=self.feature_shape())
        except ConfigError as error:
            raise ConfigError(f"{self.config_path}: {error}") from error

    def neighbors(self, decode: ConfigDict) -> Neighbors | None:
        """Returns the training pictures for `decode.num_neighbors`; None where that is 0."""
        return Neighbors.load(self.neighbors_path) if decode.num_neighbors else None

    def balance(self, mitigation: ConfigDict) -> Balance | None:
        """Returns the weights of the training items for `mitigation.balance`; None where that is empty."""
        return Balance.load(self.balance_path) if mitigation.balance else None

    def attribute_shares(self, decode: ConfigDict, config: ConfigDict) -> AttributeShares | None:
        """Returns the constraint of `decode.attribute_shares`; None where that is empty.

        The shares of the training data are those that the run has stored, else they are counted in its datasets.

        Args:
          decode: the section of that name.
          config: the config with the words and the datasets.

        Raises:
          ConfigError: the datasets are not there.
        """
        if not decode.attribute_shares:
            return None
        mitigation = config.mitigation
        attribute, context = WordGroups.of(mitigation.attribute), WordGroups.of(mitigation.context)
        if decode.attribute_shares == "equal":
            return AttributeShares.equal(attribute, context, decode.share_margin)
        balance = Balance.load(self.balance_path) if self.balance_path.is_file() else None
        if balance is None or (balance.attribute, balance.context) != (attribute, context):
            from capjax.data.pipeline import measure_balance  # imports Grain, which prediction rarely needs

            try:
                balance = measure_balance(config)
            except FileNotFoundError as error:
                raise ConfigError(
                    "decode.attribute_shares = 'training' counts words in config.data.train, which is not there: "
                    f"{error}; name the datasets, or set decode.attribute_shares to 'equal'"
                ) from error
        return AttributeShares(attribute, context, balance.attribute_shares(), decode.share_margin)

    def external_data(self, config: ConfigDict) -> dict[str, object]:
        """Returns which data beside the dataset the model was trained on, as benchmark servers ask for it: `used` and
        `details`."""
        weights = config.model.encoder.weights
        if self.feature_shape():
            weights = read_json(self.encoder_json_path, _REMEDY, EncoderJson).get("weights_file", "")
        details = f"pretrained weights of the encoder: {weights}" if weights else ""
        return {"used": bool(weights), "details": details}

    def check_model(self, config: ConfigDict):
        """Raises ConfigError if the config describes another model than the run's."""
        self._check_same([change for change in self._changes(config) if change[0].startswith(_OF_MODEL)])

    def check_resumable(self, config: ConfigDict) -> list[str]:
        """Returns the settings that changed since the last start, one `key: old -> new` each.

        Raises:
          ConfigError: a setting changed that determines the trained arrays.
        """
        changes = self._changes(config)
        self._check_same(changes)
        return [f"{key}: {_shown(old)} -> {_shown(new)}" for key, old, new in changes]

    def _changes(self, config: ConfigDict) -> list[tuple[str, object, object]]:
        """(key, value of the run in this folder, value in `config`) of each setting that differs."""
        old = config_lib.flatten(self.config())
        new = config_lib.flatten(config_lib.from_json(config_lib.to_json(config), "the config"))
        return [(key, old[key], new[key]) for key in sorted(old) if old[key] != new[key]]

    def _check_same(self, changes: list[tuple[str, object, object]]):
        for key, old, new in changes:
            if not key.startswith(_MAY_CHANGE):
                raise ConfigError(
                    f"{self.path} holds a run with {key} = {_shown(old)}, and this config has {_shown(new)}; "
                    "use another --workdir, or the same config to continue the run"
                )


def checkpoint_steps(folder: Path) -> list[int]:
    """Returns the steps of the complete checkpoints in a folder, in order."""
    return sorted(
        int(path.name)
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.name.isdigit() and (not is_url(path) or (path / _COMMIT_FILE).is_file())
    )


def _shown(value) -> str:
    return repr(value.to_dict() if isinstance(value, ConfigDict) else value)
