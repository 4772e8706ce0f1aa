"""`--mode=export`: the best checkpoint of a workdir to a folder that serves without it.

saved_model.pb variables/ assets.extra/    the SavedModel, with requests that warm it up
stablehlo/                                 the same for JAX alone, with the weights as safetensors
config.json vocabulary.model export.json README.md
"""

import importlib.util
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict

from capjax import config as config_lib
from capjax.config import ConfigError
from capjax.files import local_path
from capjax.metrics.signature import version
from capjax.predict import Predictor
from capjax.workdir.layout import Workdir

log = logging.getLogger("capjax")

# What tells an export from any other folder.
ABOUT_FILE = "export.json"
NEEDS = ("tensorflow", "orbax.export")


def run(config: ConfigDict, workdir: Path, output: Path | None = None, *, say: Callable = print) -> Path:
    """Exports the best checkpoint of a workdir with the config's decoding options; returns the export's folder.

    Args:
      output: where to; None: `export` in the workdir. An older export there is replaced.

    Raises:
      FileNotFoundError: nothing was trained there.
      ConfigError: the config is of another model, the folder holds something else, or a package is missing.
    """
    check_installed("--mode=export")
    files = Workdir(workdir)
    files.config()
    files.check_model(config)
    output = local_path(output) if output else files.path / "export"
    check_replaceable(output)
    decode = config.decode.to_dict()
    if decode["num_neighbors"]:
        log.warning(
            "decode.num_neighbors = %d is not exported: reranking compares words with the training captions on the "
            "host. The exported model takes the search's best hypothesis, as `--config.decode.num_neighbors=0` does; "
            "its scores are those of --mode=eval with that", decode["num_neighbors"],
        )  # fmt: skip
        decode["num_neighbors"] = 0
    model_config = files.config()
    model_config.decode.update(decode)
    aside, old = (output.with_name(f".{output.name}.{end}") for end in ("partial", "old"))
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        write(Predictor(files.path, **decode), model_config, files, aside)
        if output.exists():
            shutil.rmtree(old, ignore_errors=True)
            output.rename(old)
        aside.rename(output)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    say(f"{output}: a SavedModel of step {about(output)['step']}; README.md there tells how to serve it")
    return output


def write(predictor: Predictor, config: ConfigDict, files: Workdir, directory: Path):
    """Writes an export into an empty folder. `config` is the model's, with the decoding options it is exported with."""
    from capjax.export import card, saved_model, stablehlo
    from capjax.export.jax_programs import take_apart

    model = take_apart(predictor, config.decode.to_dict())
    description = {
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
    (directory / "config.json").write_text(config_lib.to_json(config))
    shutil.copyfile(files.vocabulary_path, directory / "vocabulary.model")
    (directory / ABOUT_FILE).write_text(json.dumps(description, indent=1) + "\n")
    (directory / "README.md").write_text(card.make(description, config, files))


def about(directory: Path) -> dict:
    """What an export tells of itself.

    Raises:
      FileNotFoundError: it is none.
    """
    path = directory / ABOUT_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{directory} is no export of capjax ({ABOUT_FILE} is missing); make one with "
            "`launch.py --config CONFIG --workdir DIR --mode=export`"
        )
    return json.loads(path.read_text())


def check_replaceable(output: Path):
    """Raises ConfigError if there is something that is no export, which would be lost."""
    if output.exists() and not (output / ABOUT_FILE).is_file() and not (output.is_dir() and not any(output.iterdir())):
        raise ConfigError(
            f"{output} is there already and is no export of capjax; give another folder with --output, or remove it"
        )


def check_installed(what: str):
    """Raises ConfigError if the packages of the extra `export` are not there."""
    missing = [name for name in NEEDS if not _found(name)]
    if missing:
        raise ConfigError(f"{what} needs {' and '.join(missing)}: pip install 'capjax[export]'")


def _found(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
