"""From a config to a model."""

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from capjax.config import ConfigError
from capjax.data.batch import feature_entries, media_shapes
from capjax.models.captioner import VISION, Captioner, EncoderSpec
from capjax.models.encoders.parts import BatchNorm
from capjax.models.frozen_encoder import FrozenEncoder
from capjax.models.parameter_aliases import matches
from capjax.models.pure_model import PureModel
from capjax.registry import Registry, nearest

# Room for <bos>, a task token and a language token before the first word.
PREFIX_ROOM = 3
# Arguments of the registered classes that the captioner sets itself, and that a config's `options` cannot set.
_SET_BY_CAPTIONER = {
    "encoder": {"image_size"},
    "connector": {
        "channels", "grid", "modality", "rate", "feature_dropout", "relative", "resizable", "frame_difference",
        "frame_similarity", "width",
    },
    "temporal": {"width"},
    "decoder": {"vocab", "width", "max_len"},
}  # fmt: skip


def _check_options(kind: str, name: str, options: Mapping, where: str):
    """Raises ConfigError for an option that the class `name` does not have, or of another type than its default.

    Args:
      kind: of the class's registry.
      where: the config key of the options.
    """
    maker = Registry.by_kind[kind].get(name)
    cls, preset = (maker.func, maker.keywords) if isinstance(maker, partial) else (maker, {})
    # Of __init__, because the class itself shows the signature of its metaclass.
    parameters = inspect.signature(cls.__init__).parameters
    given = _SET_BY_CAPTIONER[kind] | {"self", "dtype", "rngs"}
    defaults = {key: preset.get(key, p.default) for key, p in parameters.items() if key not in given}
    for key, value in options.items():
        if key not in defaults:
            raise ConfigError(f"{where}.{key}: {kind} {name!r} has no such option; {nearest(key, defaults)}")
        expected = type(defaults[key])
        is_number = expected is float and type(value) is int
        if expected in (bool, int, float) and type(value) is not expected and not is_number:
            raise ConfigError(f"{where}.{key} = {value!r}: expected {expected.__name__}, such as {defaults[key]!r}")
    if "frame_encoder" in defaults:  # an encoder over an encoder of images
        inner = defaults | dict(options)
        _check_options(kind, inner["frame_encoder"], inner["frame_options"] or {}, f"{where}.frame_options")


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


def encoder_specs(config) -> dict[str, EncoderSpec]:
    """The encoders of a config by name.

    `vision` is described by model.encoder and is absent if the model reads features; model.encoders describes others.

    Raises:
      ConfigError: a setting of model.encoders is missing or unknown, or has another type than its default.
    """
    specs = {}
    if not config.data.features:
        vision = config.model.encoder
        specs[VISION] = EncoderSpec(vision.name, dict(vision.options), vision.frozen, weights=vision.weights)
    types = {"name": str, "input": str, "weights": str, "frozen": bool, "options": dict}
    for name, given in config.model.encoders.to_dict().items():
        where = f"model.encoders.{name}"
        if name in (VISION, "temporal"):
            raise ConfigError(f"{where}: this name is taken; choose another, such as 'audio'")
        for key, value in given.items():
            if key not in types:
                raise ConfigError(f"{where}.{key}: an encoder has no such setting; {nearest(key, types)}")
            if not isinstance(value, types[key]):
                raise ConfigError(f"{where}.{key} = {value!r}: expected {types[key].__name__}")
        if missing := [key for key in ("name", "input") if not given.get(key)]:
            raise ConfigError(
                f"{where}: {' and '.join(missing)} missing; name is that of an encoder, input the batch entry it reads"
            )
        specs[name] = EncoderSpec(**given)
    return specs


def frozen_patterns(config) -> list[str]:
    """Regular expressions over the names of parameters that do not learn: optimizer.freeze and the frozen encoders."""
    frozen = [name for name, spec in encoder_specs(config).items() if spec.frozen]
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
    model, encoders = config.model, encoder_specs(config)

    def make(key) -> Captioner:
        captioner = Captioner(
            vocab=vocab,
            width=model.width,
            max_len=max(config.data.target_len, config.decode.max_len + PREFIX_ROOM),
            encoders=encoders,
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
            dropout=model.dropout,
            feature_dropout=model.feature_dropout,
            dtype=jnp.dtype(model.dtype),
            rngs=nnx.Rngs(key),
        )
        _freeze_norms(captioner, config.optimizer.freeze)
        return captioner

    try:
        for name, spec in encoders.items():
            where = "model.encoder" if name == VISION else f"model.encoders.{name}"
            _check_options("encoder", spec.name, spec.options, f"{where}.options")
        for kind in ("temporal", "connector", "decoder"):
            if name := model[kind].name:
                _check_options(kind, name, model[kind].options, f"model.{kind}.options")
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

    def encode(params, batch_stats, batch):
        model = pure_model.bind(params, batch_stats)
        return model.encode(_placeholder_features(model, data.image_size, batch) | batch)

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
                jax.eval_shape(encode, pure_model.shapes, pure_model.batch_stat_shapes, inputs)
            except (TypeError, ValueError) as error:
                where = f"data.curriculum, from step {first}" if data.curriculum else "data.buckets"
                what = f"{t} frames" + ("" if feature_shape else f" of {size} x {size} pixels")
                raise ConfigError(f"{where}: the model cannot take {what}: {error}") from error


def _placeholder_features(model: Captioner, size: int, batch: Mapping) -> dict[str, jax.Array]:
    """Features of the encoders whose input is not in a batch: the sizes of their input are known only from data."""
    entries = {}
    for name, entry in zip(model.names, model.inputs, strict=True):
        if entry not in batch and name in model.encoders:
            encoder, keys = model.encoders[name], feature_entries(name)
            positions = math.prod(encoder.grid(size, size))
            entries[keys.features] = jnp.zeros((1, 1, positions, encoder.width))
            entries[keys.times], entries[keys.mask] = jnp.zeros((1, 1)), jnp.ones((1, 1), bool)
    return entries


def load_encoders(config) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(parameters, running statistics) of the pretrained encoders of a config, under their names in the captioner.

    Encoders without weights are left out.
    """
    params: dict[str, np.ndarray] = {}
    batch_stats: dict[str, np.ndarray] = {}
    for name, spec in encoder_specs(config).items():
        if spec.weights:
            encoder, _ = FrozenEncoder.from_pretrained(
                spec.name, spec.weights, image_size=config.data.image_size, options=spec.options
            )
            for arrays, loaded in ((params, encoder.params), (batch_stats, encoder.batch_stats)):
                arrays |= {f"encoders/{name}/{path}": value for path, value in jax.device_get(loaded).items()}
    return params, batch_stats
