"""A config to a model."""

from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from capjax.config import ConfigError
from capjax.models.captioner import Captioner
from capjax.models.encoders import ENCODERS
from capjax.models.functional import Arrays, Functional, params_of, stats_of

# Room for <bos>, a task piece and a language piece before the first word.
PREFIX_ROOM = 3


def make_functional(config, *, vocab: int, feature_shape=None) -> Functional:
    """The captioner of a config as pure functions.

    Args:
      vocab: pieces in the vocabulary.
      feature_shape: (rows, columns, channels), for a model that is fed features.

    Raises:
      ConfigError: unknown encoder or decoder, or an option it does not have.
    """
    model = config.model
    encoder = None
    if not config.data.features:
        encoder = {"name": model.encoder.name, **model.encoder.options}

    def make(key) -> Captioner:
        return Captioner(
            vocab=vocab,
            width=model.width,
            max_len=max(config.data.target_len, config.decode.max_len + PREFIX_ROOM),
            encoder=encoder,
            decoder={"name": model.decoder.name, **model.decoder.options},
            image_size=config.data.image_size,
            feature_shape=feature_shape,
            frozen_encoder=model.encoder.frozen,
            dropout=model.dropout,
            feature_dropout=model.feature_dropout,
            dtype=jnp.dtype(model.dtype),
            rngs=nnx.Rngs(key),
        )

    try:
        return Functional.of(make)
    except (TypeError, ValueError) as error:  # an unknown name or option; the message says which
        raise ConfigError(f"model: {error}") from error


def make_encoder(name: str, *, image_size: int, dtype: str = "float32", options=None) -> Functional:
    """An encoder alone as pure functions."""

    def make(key):
        return ENCODERS.make(name, image_size=image_size, dtype=jnp.dtype(dtype), rngs=nnx.Rngs(key), **(options or {}))

    return Functional.of(make)


def load_encoder(config) -> tuple[Arrays, Arrays]:
    """(parameters, running statistics) of a config's pretrained encoder, under the names they have in the captioner;
    empty where the config names no weights."""
    encoder = config.model.encoder
    if not encoder.weights or config.data.features:
        return {}, {}
    from capjax.models.pretrained import load_pretrained

    module = ENCODERS.make(encoder.name, image_size=config.data.image_size, rngs=nnx.Rngs(0), **dict(encoder.options))
    source = encoder.weights if encoder.weights.startswith("pip:") else Path(encoder.weights)
    load_pretrained(module, source)
    return tuple(
        {f"encoder/{name}": jax.device_get(value) for name, value in arrays.items()}
        for arrays in (params_of(module), stats_of(module))
    )
