"""Reads and checks a config once, at the start, so that nothing inside asks again.

A config file is Python with `get_config(arg=None) -> ml_collections.ConfigDict`; `path.py:arg` passes the argument.
"""

import ast
import importlib.util
import inspect
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from ml_collections import ConfigDict

from capjax.metrics.names import check_families, dense_figures, metric_names
from capjax.registry import nearest

# Subtrees whose keys are not listed in common.py: keyword arguments of a constructor, languages.
_FREE = (
    "model.encoder.options", "model.temporal.options", "model.decoder.options", "data.language_weights",
    "train.xla_options", "eval.xla_options",
)  # fmt: skip
_CHOICES = {
    "data.task": ("caption", "summary", "dense"),
    "model.dtype": ("float32", "bfloat16"),
    "optimizer.name": ("adam", "adamw", "adafactor", "lion", "muon"),
    "optimizer.schedule": ("cosine", "linear", "rsqrt", "constant"),
    "decode.method": ("greedy", "beam", "sample"),
    "eval.output_format": ("coco", "msrvtt", "plain"),
}
_POSITIVE = (
    "data.num_frames", "data.max_events", "data.image_size", "data.captions_per_item", "data.target_len",
    "data.threads", "data.prefetch", "model.width", "train.steps", "train.batch_size",
    "train.gradient_accumulation_steps", "train.log_every", "checkpoint.every", "checkpoint.keep",
    "decode.num_beams", "decode.max_len", "eval.batch_size", "compile.vocabulary",
)  # fmt: skip
# What a stage of data.curriculum may change.
_OF_A_STAGE = ("num_frames", "image_size", "target_len", "hard")
_FRACTION = ("model.dropout", "model.feature_dropout", "train.ema", "train.label_smoothing")


class ConfigError(ValueError):
    """A config that cannot be used; the message names the key and what it may be."""


def load(source: str, overrides: Iterable[str] = ()) -> ConfigDict:
    """The config of `path.py[:arg]`, with `key.sub=value` overrides, checked.

    Raises:
      FileNotFoundError: no such file.
      ConfigError: misspelt key, wrong type or impossible value.
    """
    path, _, arg = source.partition(":")
    path = Path(path)
    if not path.is_file():
        siblings = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise FileNotFoundError(f"no config file {path}; {nearest(path.name, siblings)}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    # Config files import their siblings: `import common`.
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise ConfigError(f"{path}: a config file defines get_config(arg=None); this one does not")
        if arg and not inspect.signature(module.get_config).parameters:
            raise ConfigError(f"{path} takes no argument, so {source!r} should be {str(path)!r}")
        config = module.get_config(arg) if arg else module.get_config()
    except (AttributeError, KeyError, TypeError) as error:  # ConfigDict's own message names the key and the nearest
        raise ConfigError(f"{path}: {error}") from error
    finally:
        sys.path.pop(0)
    for setting in overrides:
        override(config, setting)
    check(config)
    return config


def override(config: ConfigDict, setting: str):
    """Applies a setting as written on the command line, `key.sub=value`.

    Raises:
      ConfigError: misspelt key or wrong type.
    """
    key, equals, text = setting.partition("=")
    if not equals:
        raise ConfigError(f"--config.{key}: write --config.{key}=VALUE")
    *parents, last = key.split(".")
    node, seen = config, ""
    for part in parents:
        if not isinstance(node, ConfigDict) or part not in node:
            raise ConfigError(_unknown(f"{seen}{part}", key, config))
        node, seen = node[part], f"{seen}{part}."
    if seen.rstrip(".") in _FREE:
        node[last] = _literal(text)
        return
    if not isinstance(node, ConfigDict) or last not in node:
        raise ConfigError(_unknown(key, key, config))
    if key in _FREE and isinstance(_literal(text), dict):
        node[last] = ConfigDict(_literal(text))
        return
    if isinstance(node[last], ConfigDict):
        raise ConfigError(f"--config.{key}={text}: {key} is a group; {_in_group(key, node[last])}")
    node[last] = _coerce(key, _literal(text) if not isinstance(node[last], str) else text, node[last])


def _in_group(key: str, group: ConfigDict) -> str:
    names = ", ".join(group) or "its keys"
    return f"set one of {names}" + (f", or all: --config.{key}='{{\"name\": value}}'" if key in _FREE else "")


def _unknown(bad: str, key: str, config: ConfigDict) -> str:
    known = [name for name, _ in flatten(config)]
    # Someone who remembers the last part but not the group wants the same name elsewhere.
    same = [name for name in known if name.split(".")[-1] == key.split(".")[-1]]
    hint = f"did you mean {' or '.join(map(repr, same))}?" if same else nearest(key, known).split("known:")[0].strip()
    return f"--config.{key}: there is no key {bad!r} in the config; {hint or 'see configs/common.py for all keys'}"


def _literal(text: str):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)


def _coerce(key: str, value, default):
    """`value` in the type of `default`; an int is a fine float, and one thing a fine tuple of one."""
    kind = type(default)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is tuple:
        if isinstance(value, str):
            return tuple(part for part in value.split(",") if part)
        return tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if type(value) is not kind:
        raise ConfigError(f"{key} = {value!r} is {_a(type(value))}; expected {_a(kind)}, such as {default!r}")
    return value


def _a(kind: type) -> str:
    return {"str": "a string", "int": "a whole number", "float": "a number", "bool": "true or false"}.get(
        kind.__name__, f"a {kind.__name__}"
    )


def flatten(config: ConfigDict, prefix: str = "") -> Iterable[tuple[str, object]]:
    """(dotted key, value) of every leaf."""
    for key, value in config.items():
        if isinstance(value, ConfigDict) and f"{prefix}{key}" not in _FREE:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def check(config: ConfigDict):
    """Raises ConfigError unless every value is possible."""
    values = dict(flatten(config))
    for key, choices in _CHOICES.items():
        if values[key] not in choices:
            raise ConfigError(f"{key} = {values[key]!r}: {nearest(str(values[key]), choices)}")
    for key in _POSITIVE:
        if values[key] < 1:
            raise ConfigError(f"{key} = {values[key]}: expected 1 or more")
    for key in _FRACTION:
        if not 0.0 <= values[key] < 1.0:
            raise ConfigError(f"{key} = {values[key]}: expected a share from 0 up to, but not, 1")
    if values["train.batch_size"] % values["train.gradient_accumulation_steps"]:
        raise ConfigError(
            f"train.batch_size = {values['train.batch_size']} does not divide into "
            f"train.gradient_accumulation_steps = {values['train.gradient_accumulation_steps']} micro-batches"
        )
    for key in ("seed", "data.time_bins", "decode.num_neighbors", "decode.consensus_weight"):
        if values[key] < 0:
            raise ConfigError(f"{key} = {values[key]}: expected 0 or more")
    for lang, weight in values["data.language_weights"].items():
        if not weight > 0:
            raise ConfigError(
                f"data.language_weights.{lang} = {weight}: expected more than 0; data.languages leaves out"
            )
    try:
        families = check_families(values["eval.metrics"])
        names = (dense_figures if values["data.task"] == "dense" else metric_names)(families)
    except ValueError as error:
        raise ConfigError(f"eval.metrics: {error}") from error
    if values["data.task"] == "dense" and (values["decode.min_len"] or values["decode.no_repeat_ngram"]):
        raise ConfigError("decode.min_len and decode.no_repeat_ngram do not go with events; set both to 0")
    if values["checkpoint.best"] not in names:
        raise ConfigError(
            f"checkpoint.best = {values['checkpoint.best']!r}: {nearest(values['checkpoint.best'], names)}; "
            f"eval.metrics is {', '.join(families)}"
        )
    _check_buckets(values["data.buckets"], values["data.num_frames"])
    _check_curriculum(values)
    if not values["data.languages"]:
        raise ConfigError("data.languages is empty; name at least one, such as ('en',)")


def _check_buckets(buckets: tuple, frames: int):
    if not all(type(bucket) is int and bucket >= 1 for bucket in buckets) or list(buckets) != sorted(set(buckets)):
        raise ConfigError(f"data.buckets = {buckets!r}: expected frame counts, each above the one before: (8, 16, 32)")
    if buckets and buckets[-1] != frames:
        raise ConfigError(
            f"data.buckets = {buckets!r} and data.num_frames = {frames}: the last bucket should be {frames}, the most "
            "frames that a record has"
        )


def _check_curriculum(values: dict):
    stages = values["data.curriculum"]
    before = -1
    for number, stage in enumerate(stages):
        where = f"data.curriculum[{number}]"
        pair = isinstance(stage, (tuple, list)) and len(stage) == 2
        if not pair or type(stage[0]) is not int or not isinstance(stage[1], dict):
            raise ConfigError(f'{where} = {stage!r}: expected (FIRST_STEP, {{"num_frames": 8, ...}})')
        first, changes = stage
        if first <= before or (number == 0 and first):
            wanted = f"a step above {before}" if number else "0, for it is the first"
            raise ConfigError(f"{where} begins at step {first}: expected {wanted}")
        before = first
        for key, value in changes.items():
            _check_change(f"{where}: {key}", key, value, values)


def _check_change(where: str, key: str, value, values: dict):
    """Raises ConfigError unless a stage may set `key` to `value`."""
    if key not in _OF_A_STAGE:
        raise ConfigError(f"{where}: no stage can set it; {nearest(str(key), _OF_A_STAGE)}")
    if key == "hard":
        if type(value) not in (int, float) or not 0 <= value <= 1:
            raise ConfigError(f"{where} = {value!r}: expected a share from 0 to 1")
        return
    most = values[f"data.{key}"]
    if type(value) is not int or not 1 <= value <= most:
        raise ConfigError(f"{where} = {value!r}: expected a whole number from 1 to data.{key} = {most}")
    if key == "image_size" and values["data.features"]:
        raise ConfigError(f"{where}: data.features is set, and features are of one size; leave it out")


def to_json(config: ConfigDict) -> str:
    return json.dumps(config.to_dict(), indent=2, ensure_ascii=False) + "\n"


def from_json(text: str, where: str) -> ConfigDict:
    """The config that `to_json` wrote, checked. `where` names it in errors."""
    try:
        config = ConfigDict(_tuples(json.loads(text)))
        check(config)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{where} is not a config that capjax wrote: {error}") from error
    return config


def _tuples(value):
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value
