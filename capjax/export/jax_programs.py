"""A trained model as pure functions of weights and arrays, of any batch size, and what goes in and out of them.

b: batch, t: frames, n: positions of a feature grid, d: channels, p: prefix, l: pieces, e: events.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from capjax.config import ConfigError
from capjax.data.batch import media_shapes
from capjax.models.pure_model import Arrays
from capjax.predict.predictor import Parts, Predictor

# What a decoding step may be lowered for. Random numbers are drawn on CUDA by a kernel that only JAX brings.
PLATFORMS = ("cpu", "cuda", "tpu")


@dataclass(frozen=True)
class Program:
    """One function of a model.

    Attributes:
      call: weights, {name: array} -> {name: array}.
      inputs: the shape of each input, with "b" for the batch, and its dtype.
    """

    call: Callable[[Arrays, Mapping], dict]
    inputs: Mapping[str, tuple[tuple, str]]

    def specs(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Abstract inputs, of any batch size."""
        scope = export.SymbolicScope()
        return {
            name: jax.ShapeDtypeStruct(
                export.symbolic_shape(",".join(map(str, shape)) + ",", scope=scope), jnp.dtype(dtype)
            )
            for name, (shape, dtype) in self.inputs.items()
        }  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A trained model, taken apart for export.

    Attributes:
      predictor: what it was taken from; parts: with the decoding options that it is exported with.
      weights: parameters and statistics by name; those of a frozen encoder of features begin with `extractor/`.
      programs: `generate`, from pixels or features to hypotheses; and `extract`, from pixels to features, of a model
        that is fed these.
    """

    predictor: Predictor
    parts: Parts
    weights: Arrays
    programs: Mapping[str, Program]

    @property
    def config(self):
        return self.predictor.config

    @property
    def frames(self) -> int:
        """t, the frames that the model looks at."""
        return self.config.data.num_frames

    @property
    def platforms(self) -> tuple[str, ...]:
        """What it can be lowered for."""
        random = self.parts.generator.options.method == "sample"
        return tuple(name for name in PLATFORMS if not (random and name == "cuda"))

    def prefixes(self) -> dict[str, list[int]]:
        """By language, the pieces that every caption begins with."""
        return {lang: self.parts.generator.prefix(lang, 1)[0].tolist() for lang in self.predictor.languages}


def take_apart(predictor: Predictor, decode: Mapping) -> Model:
    """The model of a Predictor with these decoding options.

    Raises:
      ConfigError: an option that needs what cannot be exported.
    """
    if decode["num_neighbors"]:
        raise ConfigError(
            f"decode.num_neighbors = {decode['num_neighbors']} compares words with the training captions on the host, "
            "which no graph can do; it cannot be exported"
        )
    parts = predictor.parts(**decode)
    weights = parts.params | parts.batch_stats
    programs = {"generate": _generate(predictor, parts)}
    if parts.extractor:
        extractor = parts.extractor
        weights |= {f"extractor/{name}": value for name, value in (extractor.params | extractor.batch_stats).items()}
        programs["extract"] = _extract(parts)
    return Model(predictor, parts, weights, programs)


def _generate(predictor: Predictor, parts: Parts) -> Program:
    """{tokens [b, l], scores [b]}; of a model that finds events by queries {tokens [b, e, l], times [b, e, 2] as shares
    of the duration, confidence [b, e], count [b]}; of one that writes times {tokens [b, l], token_log_probs [b, l]}."""
    generator, pure_model, data = parts.generator, parts.pure_model, predictor.config.data
    (prefix,) = {len(generator.prefix(lang, 1)[0]) for lang in data.languages}
    inputs = media_shapes(
        "b", data.num_frames, image_size=parts.image_size, feature_shape=predictor.feature_shape,
        duration=predictor.dense,
    )  # fmt: skip
    inputs["prefix"] = ("b", prefix), "int32"
    if generator.options.method == "sample":
        inputs["key"] = (2,), "uint32"

    def call(weights, batch):
        params, batch_stats = (
            {name: weights[name] for name in names} for names in (pure_model.shapes, pure_model.batch_stat_shapes)
        )
        batch = dict(batch)
        start, key = batch.pop("prefix"), batch.pop("key", np.zeros(2, np.uint32))
        key = jax.random.wrap_key_data(key, impl="threefry2x32")
        decoded, proposed, _ = generator.generate(params, batch_stats, batch, start, key)
        tokens = decoded.tokens[:, 0]
        if generator.times:
            return {"tokens": tokens, "token_log_probs": decoded.token_log_probs[:, 0]}
        if proposed is None:
            return {"tokens": tokens, "scores": decoded.scores[:, 0]}
        return {"tokens": tokens.reshape(*proposed.times.shape[:2], -1)} | proposed._asdict()

    return Program(call, inputs)


def _extract(parts: Parts) -> Program:
    """{features float16 [b, t', n, d]} of clips."""
    extractor = parts.extractor

    def call(weights, batch):
        params, batch_stats = (
            {name: weights[f"extractor/{name}"] for name in names}
            for names in (extractor.params, extractor.batch_stats)
        )
        frames, times, mask = (batch[name] for name in ("frames", "frame_times", "frame_mask"))
        return {"features": extractor.extract(params, batch_stats, frames, times, mask)}

    return Program(call, media_shapes("b", extractor.clip_frames, image_size=parts.image_size))
