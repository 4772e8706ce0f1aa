"""Preparing a workdir: the files that make it independent of the dataset and the vocabulary it was started with."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from capjax import config as config_lib
from capjax import digests
from capjax.config import ConfigError
from capjax.data.pipeline import DatasetSplit, measure_balance
from capjax.data.record import RecordSource
from capjax.decode.consensus import Neighbors
from capjax.files import read_json, remove_tree, storage_path, write_bytes, write_with_digest
from capjax.models.frozen_encoder import EncoderJson
from capjax.parallel import hosts
from capjax.text.vocabulary import Vocabulary
from capjax.workdir.layout import Workdir

# Keys of encoder.json that must agree: features of another encoder may have the same shape and mean something else.
_ENCODER_KEYS = ("encoder", "options", "image_size", "weights_sha256", "clip")


# What a run writes into its workdir before the first step.
_START_FILES = (
    "config.json", "vocabulary.model", "encoder", "neighbors.npz", "media.json", "balance.json", "digests.json",
    "metrics.jsonl", "tensorboard", "wandb", "wandb_id", "mlflow.db", "mlflow_id", "profile", "checkpoints", "best",
)  # fmt: skip


class StartRecord:
    """Remembers which files of a workdir exist before a start, so that a start that fails can remove the others.

    Make it while holding the lock of the workdir: the files may be those of another run.

    Args:
      new_folders: the folders that the lock has created.
    """

    def __init__(self, workdir: Workdir, new_folders: Sequence[Path] = ()):
        self._workdir, self._new_folders = workdir, new_folders
        self._existing = {path.name for path in workdir.path.glob("*")}

    def remove(self):
        """Removes what this start created, and the folder if it is then empty. Once anything is saved, all files stay,
        and files that were there before stay in any case."""
        if not hosts.is_first() or self._workdir.has_checkpoint():
            return
        for name in _START_FILES:
            path = self._workdir.path / name
            if name not in self._existing:
                if path.is_dir():
                    remove_tree(path)
                else:
                    path.unlink(missing_ok=True)
        for folder in self._new_folders:
            with contextlib.suppress(OSError):  # not empty, or never created
                folder.rmdir()


def prepare(workdir: Workdir, config: ConfigDict, sources: Sequence[RecordSource]) -> list[str]:
    """Creates the folder of a run, or checks that the run in it has the same config.

    Before its first checkpoint a run may be restarted with another config.

    Args:
      sources: the open training datasets, `config.data.train`.

    Returns:
      The settings that changed since the last start, one `key: old -> new` each.

    Raises:
      ConfigError: the folder holds a run of another config, or a setting is missing.
      FileNotFoundError: the vocabulary or the encoder of the features does not exist.
    """
    workdir.path.mkdir(parents=True, exist_ok=True)
    changed = []
    if workdir.has_checkpoint():
        changed = workdir.check_resumable(config)
    else:
        _remove_earlier_start(workdir)
    if not workdir.vocabulary_path.is_file():
        _copy_vocabulary(workdir, config)
    if config.data.features:
        _copy_encoder(workdir, config)
    if config.decode.num_neighbors and not workdir.neighbors_path.is_file():
        if not config.data.features:
            raise ConfigError(
                "decode.num_neighbors compares extracted features; set data.features, or decode.num_neighbors to 0"
            )
        records = (source[i] for source in sources for i in range(len(source)))
        Neighbors.of(records, config.data.languages).save(workdir.neighbors_path)
    if not workdir.media_path.is_file():
        _write_media(workdir, sources)
    counts_words = config.mitigation.balance or config.decode.attribute_shares == "training"
    if counts_words and not workdir.balance_path.is_file():
        measure_balance(config, sources).save(workdir.balance_path)
    write_with_digest(workdir.config_path, config_lib.to_json(config).encode())
    _add_digests(workdir)
    return changed


def _add_digests(workdir: Workdir):
    """Adds the digests of files that have none: capjax 0.1 wrote them, or a start that was cut off."""
    existing = digests.read_digests(workdir.path) or {}
    for path in (workdir.vocabulary_path, workdir.neighbors_path, workdir.media_path, workdir.balance_path):
        if path.is_file() and path.name not in existing:
            digests.set_digest(path, path.read_bytes())
    if workdir.encoder_json_path.is_file() and digests.read_digests(workdir.encoder_dir) is None:
        digests.write_digests(workdir.encoder_dir)


def _remove_earlier_start(workdir: Workdir):
    """Removes the copies that a start without a checkpoint left behind."""
    if workdir.config_path.is_file():  # else these files are not ours
        workdir.vocabulary_path.unlink(missing_ok=True)
        workdir.neighbors_path.unlink(missing_ok=True)
        workdir.media_path.unlink(missing_ok=True)
        workdir.balance_path.unlink(missing_ok=True)
        (workdir.path / digests.FILE).unlink(missing_ok=True)
        if workdir.encoder_json_path.is_file():
            remove_tree(workdir.encoder_dir)


def _copy_vocabulary(workdir: Workdir, config: ConfigDict):
    if not config.data.vocabulary:
        raise ConfigError(
            "data.vocabulary is empty; make one with `capjax prepare vocabulary --input DATASET "
            "--output vocabulary.model` and pass --config.data.vocabulary=vocabulary.model"
        )
    Vocabulary.load(config.data.vocabulary)  # raises for a file that is none
    write_with_digest(workdir.vocabulary_path, storage_path(config.data.vocabulary).read_bytes())


def _copy_encoder(workdir: Workdir, config: ConfigDict):
    """Copies the encoder from the first dataset, and checks that all datasets hold features of the same encoder."""
    datasets = [DatasetSplit.parse(part).directory for part in (*config.data.train, config.data.eval) if part]
    if not workdir.encoder_json_path.is_file():
        encoder_json = _encoder_json(datasets[0])
        workdir.encoder_dir.mkdir(parents=True, exist_ok=True)
        # encoder.json comes last: with it the copy is complete. Digests of the dataset, if it has them, come along.
        for path in sorted(encoder_json.parent.iterdir(), key=lambda path: path.name == encoder_json.name):
            write_bytes(workdir.encoder_dir / path.name, path.read_bytes())
    model = read_json(workdir.encoder_json_path, "copy the workdir again, or use another --workdir", EncoderJson)
    for dataset in datasets:
        features = read_json(_encoder_json(dataset), "extract the features again with --overwrite", EncoderJson)
        for key in _ENCODER_KEYS:
            if model.get(key) != features.get(key):
                raise ConfigError(
                    f"{dataset} has features with {key} = {features.get(key)!r}, and this model takes features with "
                    f"{key} = {model.get(key)!r}"
                )


def _encoder_json(dataset: Path) -> Path:
    path = dataset / "encoder" / "encoder.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{dataset} has no features ({path} is missing), but data.features is set; "
            "make them with `capjax prepare features --input DATASET --output NEW --encoder NAME`"
        )
    return path


def _write_media(workdir: Workdir, sources: Sequence[RecordSource]):
    """Records how the training data were stored, so that new media can be stored in the same way."""
    seconds = [sizes["seconds"].max() for source in sources if (sizes := source.sizes())]
    media = sources[0].media | {"longest": max(map(float, seconds), default=0.0)}
    write_with_digest(workdir.media_path, (json.dumps(media) + "\n").encode())
