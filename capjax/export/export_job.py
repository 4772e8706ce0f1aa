"""`--mode=export`: exports the best checkpoint of a workdir to a folder that serves without it.

saved_model.pb variables/ assets.extra/    the SavedModel, with warm-up requests
stablehlo/                                 the programs for JAX alone, with the weights as safetensors
config.json vocabulary.model export.json README.md
"""

import importlib.util
import json
import logging
import shutil
from pathlib import Path
from typing import TypedDict

from ml_collections import ConfigDict

from capjax import config as config_lib
from capjax.config import ConfigError
from capjax.digests import write_digests
from capjax.files import check_output, is_url, local_path, make_folder, read_json, write_bytes
from capjax.metrics.signature import version
from capjax.metrics.writing import write_errors_named
from capjax.predict import Predictor
from capjax.workdir.layout import Workdir

log = logging.getLogger("capjax")

# Its presence marks a folder as an export.
METADATA_FILE = "export.json"
REMEDY = "export the workdir again"
REQUIRED_PACKAGES = ("tensorflow", "orbax.export")


class _ExternalDataJson(TypedDict):
    used: bool
    details: str


class MetadataJson(TypedDict):
    """The parts of export.json that are read again."""

    step: int
    external_data: _ExternalDataJson


def run(config: ConfigDict, workdir: Path, output: str | Path | None = None) -> Path:
    """Exports the best checkpoint of a workdir with the config's decoding options; returns the export's folder.

    Args:
      config: a config of the same model.
      workdir: folder of a training run.
      output: folder of the export; None: `export` in the workdir. An older export there is replaced.

    Raises:
      FileNotFoundError: the workdir has no trained model.
      ConfigError: the config is of another model, the output folder is not an export, or a package is missing.
    """
    check_installed("--mode=export")
    files = Workdir(workdir)
    files.check_model(config)
    if not output and is_url(files.path):
        raise ConfigError(f"{files.path}: an export is written to a folder on this machine; give it with --output DIR")
    output = local_path(output) if output else files.path / "export"
    check_replaceable(output)
    check_output(output.parent)
    decode = config.decode.to_dict()
    if decode["num_neighbors"]:
        log.warning(
            "decode.num_neighbors = %d is not exported: reranking compares words with the training captions on the "
            "host. The exported model returns the best hypothesis of the search; its scores are those of --mode=eval "
            "with --config.decode.num_neighbors=0", decode["num_neighbors"],
        )  # fmt: skip
        decode["num_neighbors"] = 0
    model_config = files.config()
    model_config.decode.update(decode)
    aside, old = (output.with_name(f".{output.name}.{end}") for end in ("partial", "old"))
    shutil.rmtree(aside, ignore_errors=True)
    make_folder(aside)
    try:
        with write_errors_named(output):
            write(Predictor(files.path, **decode), model_config, files, aside)
        if output.exists():
            shutil.rmtree(old, ignore_errors=True)
            output.rename(old)
        aside.rename(output)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    print(f"{output}: a SavedModel of step {read_metadata(output)['step']}; its README.md describes how to serve it")
    return output


def write(predictor: Predictor, config: ConfigDict, files: Workdir, directory: Path):
    """Writes an export into an empty folder. `config` is the model's, with the decoding options of the export."""
    from capjax.export import card, saved_model, stablehlo
    from capjax.export.batching import BATCHING_FILE, batching_parameters
    from capjax.export.jax_programs import make_export_model

    model = make_export_model(predictor, config.decode.to_dict())
    metadata = {
        "capjax": version(),
        "step": predictor.step,
        "languages": list(predictor.languages),
        "platforms": list(model.platforms),
        "signatures": saved_model.write(model, directory),
        "stablehlo": stablehlo.write(model, directory / "stablehlo"),
        "prefixes": model.prefixes(),
        "image_size": model.parts.image_size,
        "parameters": sum(int(value.size) for value in model.weights.values()),
        "external_data": files.external_data(config),
    }
    if parameters := batching_parameters(metadata, config):
        (directory / BATCHING_FILE).write_text(parameters)
    (directory / "config.json").write_text(config_lib.to_json(config))
    write_bytes(directory / "vocabulary.model", files.vocabulary_path.read_bytes())
    (directory / METADATA_FILE).write_text(json.dumps(metadata, indent=1) + "\n")
    (directory / "README.md").write_text(card.make(metadata, config, files))
    write_digests(directory / "stablehlo")
    write_digests(directory)


def read_metadata(directory: Path) -> dict:
    """Returns the contents of an export's `export.json`.

    Raises:
      FileNotFoundError: the folder is not an export.
      ValueError: the file is damaged.
    """
    path = directory / METADATA_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{directory} is not an export of capjax ({METADATA_FILE} is missing); make one with "
            "`launch.py --config CONFIG --workdir DIR --mode=export`"
        )
    return read_json(path, REMEDY, MetadataJson)


def check_replaceable(output: Path):
    """Raises ConfigError if the path holds anything but an export, which would be lost."""
    if (
        output.exists()
        and not (output / METADATA_FILE).is_file()
        and not (output.is_dir() and not any(output.iterdir()))
    ):
        raise ConfigError(
            f"{output} exists and is not an export of capjax; give another folder with --output, or remove it"
        )


def check_installed(option: str):
    """Raises ConfigError if packages of the extra `export` are missing. `option` is what needs them."""
    missing = [name for name in REQUIRED_PACKAGES if not _is_installed(name)]
    if missing:
        raise ConfigError(f"{option} needs {' and '.join(missing)}: pip install 'capjax[export]'")


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
