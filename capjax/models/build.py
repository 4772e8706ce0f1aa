"""From a config to a model."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from capjax.config import ConfigError
from capjax.data.batch import media_shapes
from capjax.models.captioner import VISION, Captioner, EncoderSpec
from capjax.models.connector import CONNECTORS
from capjax.models.decoders import DECODERS
from capjax.models.encoders import ENCODERS
from capjax.models.encoders.parts import BatchNorm
from capjax.models.parameter_aliases import matches
from capjax.models.pure_model import PureModel, batch_stats_of, params_of
from capjax.models.temporal import TEMPORAL
from capjax.registry import Registry, nearest

# Room for <bos>, a task token and a language token before the first word.
PREFIX_ROOM = 3
# Arguments that the captioner sets itself, and that a config's `options` cannot set.
_GIVEN_TO_DECODER = {"self", "vocab", "width", "max_len", "dtype", "rngs"}
_GIVEN_TO_TEMPORAL = {"self", "width", "dtype", "rngs"}
_GIVEN_TO_CONNECTOR = {
    "self", "channels", "width", "grid", "modality", "rate", "feature_dropout", "relative", "resizable",
    "frame_difference", "frame_similarity", "dtype", "rngs",
}  # fmt: skip
_GIVEN_TO_ENCODER = {"self", "image_size", "dtype", "rngs"}
# Keys of an entry of model.encoders, with their defaults.
_ENCODER_DEFAULTS = {"name": "", "weights": "", "frozen": False, "options": {}, "input": ""}


def _check_options(registry: Registry, name: str, options: Mapping, given: set[str], where: str = ""):
    """Raises ConfigError for an option that the class `name` does not have, or of another type than its default.

    Args:
      given: arguments that are not options.
      where: the config key of the options; empty: that of the registry's kind.
    """
    where = where or f"model.{registry.kind}.options"
    maker = registry.get(name)
    cls, preset = (maker.func, maker.keywords) if isinstance(maker, partial) else (maker, {})
    # Of __init__, because the class itself shows the signature of its metaclass.
    parameters = inspect.signature(cls.__init__).parameters
    defaults = {key: preset.get(key, p.default) for key, p in parameters.items() if key not in given}
    for key, value in options.items():
        if key not in defaults:
            raise ConfigError(f"{where}.{key}: {registry.kind} {name!r} has no such option; {nearest(key, defaults)}")
        kind = type(defaults[key])
        if kind in (bool, int, float) and type(value) is not kind and not (kind is float and type(value) is int):
            raise ConfigError(f"{where}.{key} = {value!r}: expected {kind.__name__}, such as {defaults[key]!r}")
    if "frame_encoder" in defaults:  # an encoder over an encoder of images
        inner = defaults | dict(options)
        _check_options(registry, inner["frame_encoder"], inner["frame_options"] or {}, given, f"{where}.frame_options")


def _freeze_norms(model: nnx.Module, patterns: Iterable[str]):
    """Marks batch norms whose scale and bias are both frozen: they keep their running statistics and normalize by them
    in training too, so that the layers above see the same features in training and afterwards."""
    for path, norm in nnx.iter_modules(model):
        if isinstance(norm, BatchNorm):
            names = ["/".join(map(str, (*path, leaf))) for leaf in ("scale", "bias")]
            norm.frozen = all(matches(name, patterns) for name in names)


def _has_queries(config) -> bool:
    """Whether queries find the events; otherwise their times are written into the text."""
    return config.data.task == "dense" and not config.data.time_bins


def encoder_configs(config) -> dict[str, dict]:
    """The settings of each encoder by name: name, weights, frozen, options and input.

    `vision` is described by model.encoder and is absent if the model reads features; model.encoders describes others.

    Raises:
      ConfigError: a setting of model.encoders is missing or unknown, or has another type than its default.
    """
    encoders = {}
    if not config.data.features:
        vision = config.model.encoder
        encoders[VISION] = {key: vision[key] for key in ("name", "weights", "frozen")}
        encoders[VISION] |= {"options": dict(vision.options), "input": "frames"}
    for name, given in config.model.encoders.items():
        where = f"model.encoders.{name}"
        if name in (VISION, "temporal"):
            raise ConfigError(f"{where}: this name is taken; choose another, such as 'audio'")
        for key, value in given.items():
            if key not in _ENCODER_DEFAULTS:
                raise ConfigError(f"{where}.{key}: an encoder has no such setting; {nearest(key, _ENCODER_DEFAULTS)}")
            kind = type(_ENCODER_DEFAULTS[key])
            if not (hasattr(value, "items") if kind is dict else isinstance(value, kind)):
                raise ConfigError(f"{where}.{key} = {value!r}: expected {kind.__name__}")
        if missing := [key for key in ("name", "input") if not given.get(key)]:
            raise ConfigError(
                f"{where}: {' and '.join(missing)} missing; name is that of an encoder, input the batch entry it reads"
            )
        encoders[name] = _ENCODER_DEFAULTS | dict(given)
        encoders[name]["options"] = dict(encoders[name]["options"])
    return encoders


def frozen_patterns(config) -> list[str]:
    """Regular expressions over the names of parameters that do not learn: optimizer.freeze and the frozen encoders."""
    frozen = [name for name, encoder in encoder_configs(config).items() if encoder["frozen"]]
    return [*config.optimizer.freeze, *(f"^encoders/{name}/" for name in frozen)]


def make_pure_model(config, *, vocab: int, feature_shape=None, time_ids: Sequence[int] = ()) -> PureModel:
    """The captioner of a config as pure functions.

    Args:
      vocab: number of tokens in the vocabulary.
      feature_shape: (rows, columns, channels), for a model that reads features.
      time_ids: the time tokens of the vocabulary, for a model that is trained to write times.

    Raises:
      ConfigError: an encoder or a decoder is unknown, or an option is unknown or has an impossible value.
    """
    model = config.model

    def make(key) -> Captioner:
        captioner = Captioner(
            vocab=vocab,
            width=model.width,
            max_len=max(config.data.target_len, config.decode.max_len + PREFIX_ROOM),
            encoder={"name": vision["name"], **vision["options"]} if vision else None,
            encoders={
                name: EncoderSpec(each["name"], each["options"], each["frozen"], each["input"])
                for name, each in further_encoders.items()
            },
            temporal={"name": model.temporal.name, **model.temporal.options} if model.temporal.name else None,
            connector={"name": model.connector.name, **model.connector.options},
            frame_difference=model.frame_difference,
            frame_similarity=model.frame_similarity,
            dense=config.data.task == "dense",
            time_ids=time_ids,
            events={"events": config.data.max_events, **model.events} if _has_queries(config) else None,
            decoder={"name": model.decoder.name, **model.decoder.options},
            image_size=config.data.image_size,
            feature_shape=feature_shape,
            frozen_encoder=model.encoder.frozen,
            dropout=model.dropout,
            feature_dropout=model.feature_dropout,
            dtype=jnp.dtype(model.dtype),
            rngs=nnx.Rngs(key),
        )
        _freeze_norms(captioner, config.optimizer.freeze)
        return captioner

    try:
        further_encoders = encoder_configs(config)
        vision = further_encoders.pop(VISION, None)
        if vision:
            _check_options(ENCODERS, vision["name"], vision["options"], _GIVEN_TO_ENCODER)
        for name, each in further_encoders.items():
            where = f"model.encoders.{name}.options"
            _check_options(ENCODERS, each["name"], each["options"], _GIVEN_TO_ENCODER, where)
        if model.temporal.name:
            _check_options(TEMPORAL, model.temporal.name, model.temporal.options, _GIVEN_TO_TEMPORAL)
        _check_options(CONNECTORS, model.connector.name, model.connector.options, _GIVEN_TO_CONNECTOR)
        _check_options(DECODERS, model.decoder.name, model.decoder.options, _GIVEN_TO_DECODER)
        return PureModel.of(make)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:  # an unknown name, or values that do not fit; the message says which
        raise ConfigError(f"model: {error}") from error


def check_stages(pure_model: PureModel, config, feature_shape=None):
    """Checks before training that the model can take each stage of the curriculum and each bucket.

    Raises:
      ConfigError: it cannot take one; the message says which.
    """
    data, checked = config.data, {(config.data.num_frames, config.data.image_size)}
    if set(encoder_configs(config)) - {VISION}:
        return  # the sizes of what further encoders read are known only from a batch
    stages: Sequence[tuple[int, Mapping[str, Any]]] = data.curriculum or ((0, {}),)
    for first, changes in stages:
        frames, size = (changes.get(name, data[name]) for name in ("num_frames", "image_size"))
        for t in sorted({min(bucket, frames) for bucket in data.buckets or (frames,)}):
            if (t, size) in checked:
                continue
            checked.add((t, size))
            shapes = media_shapes(1, t, image_size=size, feature_shape=feature_shape, duration=True)
            inputs = {name: jax.ShapeDtypeStruct(shape, jnp.dtype(dtype)) for name, (shape, dtype) in shapes.items()}
            try:
                jax.eval_shape(
                    lambda params, batch_stats, batch: pure_model.bind(params, batch_stats).encode(batch),
                    pure_model.shapes, pure_model.batch_stat_shapes, inputs,
                )  # fmt: skip
            except (TypeError, ValueError) as error:
                where = f"data.curriculum, from step {first}" if data.curriculum else "data.buckets"
                what = f"{t} frames" + ("" if feature_shape else f" of {size} x {size} pixels")
                raise ConfigError(f"{where}: the model cannot take {what}: {error}") from error


def make_encoder(name: str, *, image_size: int, dtype: str = "float32", options=None) -> PureModel:
    """An encoder alone as pure functions."""

    def make(key):
        return ENCODERS.make(name, image_size=image_size, dtype=jnp.dtype(dtype), rngs=nnx.Rngs(key), **(options or {}))

    return PureModel.of(make)


def load_encoders(config) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(parameters, running statistics) of the pretrained encoders of a config, under their names in the captioner.

    Encoders without weights are left out.
    """
    params: dict[str, np.ndarray] = {}
    batch_stats: dict[str, np.ndarray] = {}
    for name, encoder in encoder_configs(config).items():
        if not encoder["weights"]:
            continue
        from capjax.models.pretrained import load_pretrained

        def make(encoder=encoder):
            size = config.data.image_size
            return ENCODERS.make(encoder["name"], image_size=size, rngs=nnx.Rngs(0), **encoder["options"])

        module = nnx.eval_shape(make)  # abstract: no random values are drawn only to be replaced
        weights = encoder["weights"]
        load_pretrained(module, weights if weights.startswith("pip:") else Path(weights))
        for arrays, loaded in ((params, params_of(module)), (batch_stats, batch_stats_of(module))):
            arrays |= {f"encoders/{name}/{path}": jax.device_get(value) for path, value in loaded.items()}
    return params, batch_stats
