"""A config to a model."""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from capjax.config import ConfigError
from capjax.data.batch import media_shapes
from capjax.models.captioner import Captioner
from capjax.models.decoders import DECODERS
from capjax.models.encoders import ENCODERS
from capjax.models.encoders.parts import BatchNorm
from capjax.models.pure_model import Arrays, PureModel, batch_stats_of, params_of
from capjax.models.temporal import TEMPORAL
from capjax.registry import Registry, nearest

# Room for <bos>, a task piece and a language piece before the first word.
PREFIX_ROOM = 3
# What the captioner says itself, and a config's `options` cannot.
_GIVEN_TO_DECODER = {"self", "vocab", "width", "max_len", "dtype", "rngs"}
_GIVEN_TO_TEMPORAL = {"self", "width", "dtype", "rngs"}
_GIVEN_TO_ENCODER = {"self", "image_size", "dtype", "rngs"}


def _check_options(registry: Registry, name: str, options: Mapping, given: set[str], where: str = ""):
    """ConfigError for an option that the class behind `name` does not have, or of another type than its default.

    Args:
      where: the config's key of the options; empty: that of the registry's kind.
    """
    where = where or f"model.{registry.kind}.options"
    maker = registry.get(name)
    cls, preset = (maker.func, maker.keywords) if isinstance(maker, partial) else (maker, {})
    # Of __init__: the class itself shows the signature of its metaclass.
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
    """Batch norms of which nothing learns keep their running statistics, and normalize by them in training too: what
    lies above a frozen part then sees in training what it will see later."""
    for path, norm in nnx.iter_modules(model):
        if isinstance(norm, BatchNorm):
            names = ["/".join(map(str, (*path, leaf))) for leaf in ("scale", "bias")]
            norm.frozen = all(any(re.search(pattern, name) for pattern in patterns) for name in names)


def _has_queries(config) -> bool:
    """Whether events are found by queries: the other way is to write their times into the text."""
    return config.data.task == "dense" and not config.data.time_bins


def make_pure_model(config, *, vocab: int, feature_shape=None, time_ids: Sequence[int] = ()) -> PureModel:
    """The captioner of a config as pure functions.

    Args:
      vocab: pieces in the vocabulary.
      feature_shape: (rows, columns, channels), for a model that is fed features.
      time_ids: the vocabulary's time pieces, for a model that is to learn and writes times.

    Raises:
      ConfigError: unknown encoder or decoder, or an option that it does not have or cannot take.
    """
    model = config.model
    encoder = None
    if not config.data.features:
        encoder = {"name": model.encoder.name, **model.encoder.options}

    def make(key) -> Captioner:
        captioner = Captioner(
            vocab=vocab,
            width=model.width,
            max_len=max(config.data.target_len, config.decode.max_len + PREFIX_ROOM),
            encoder=encoder,
            temporal={"name": model.temporal.name, **model.temporal.options} if model.temporal.name else None,
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
        if encoder is not None:
            _check_options(ENCODERS, model.encoder.name, model.encoder.options, _GIVEN_TO_ENCODER)
        if model.temporal.name:
            _check_options(TEMPORAL, model.temporal.name, model.temporal.options, _GIVEN_TO_TEMPORAL)
        _check_options(DECODERS, model.decoder.name, model.decoder.options, _GIVEN_TO_DECODER)
        return PureModel.of(make)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:  # an unknown name, or values that do not fit; the message says which
        raise ConfigError(f"model: {error}") from error


def check_stages(pure_model: PureModel, config, feature_shape=None):
    """Raises ConfigError for a stage of the curriculum, or a bucket, that a captioner of `make_pure_model` cannot take:
    at the start, and not when it comes."""
    data, checked = config.data, {(config.data.num_frames, config.data.image_size)}
    for first, changes in data.curriculum or ((0, {}),):
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


def load_encoder(config) -> tuple[Arrays, Arrays]:
    """(parameters, running statistics) of a config's pretrained encoder, under the names they have in the captioner;
    empty where the config names no weights."""
    encoder = config.model.encoder
    if not encoder.weights or config.data.features:
        return {}, {}
    from capjax.models.pretrained import load_pretrained

    # Abstract: nothing is drawn at random only to be thrown away.
    module = nnx.eval_shape(
        lambda: ENCODERS.make(
            encoder.name, image_size=config.data.image_size, rngs=nnx.Rngs(0), **dict(encoder.options)
        )
    )
    source = encoder.weights if encoder.weights.startswith("pip:") else Path(encoder.weights)
    load_pretrained(module, source)
    return tuple(
        {f"encoder/{name}": jax.device_get(value) for name, value in arrays.items()}
        for arrays in (params_of(module), batch_stats_of(module))
    )
