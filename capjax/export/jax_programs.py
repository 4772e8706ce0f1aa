"""A trained model as pure functions of weights and arrays, for any batch size.

b: batch, t: frames, n: positions of a feature grid, d: channels, p: prefix, l: tokens, e: events.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from capjax.config import ConfigError
from capjax.data.batch import media_shapes
from capjax.models.frozen_encoder import FrozenEncoder
from capjax.models.pure_model import Arrays
from capjax.predict.predictor import Parts, Predictor

# Platforms that a model can be lowered for.
PLATFORMS = ("cpu", "cuda", "tpu")


@dataclass(frozen=True)
class JaxProgram:
    """A pure function of weights and named arrays.

    Attributes:
      call: from weights and {name: array} to {name: array}.
      inputs: shape and dtype of each input, with "b" for the batch size.
    """

    call: Callable[[Arrays, Mapping], dict]
    inputs: Mapping[str, tuple[tuple, str]]

    def specs(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns abstract inputs of any batch size."""
        scope = export.SymbolicScope()
        return {
            name: jax.ShapeDtypeStruct(
                export.symbolic_shape(",".join(map(str, shape)) + ",", scope=scope), jnp.dtype(dtype)
            )
            for name, (shape, dtype) in self.inputs.items()
        }  # fmt: skip


@dataclass(frozen=True)
class ExportModel:
    """A trained model, as the writers of an export need it.

    Attributes:
      predictor: the loaded model.
      parts: its components, with the decoding options of the export.
      weights: parameters and batch statistics by name; names of a frozen encoder of features begin with `extractor/`.
      programs: `generate`, from pixels or features to hypotheses; and for a model that takes features `extract`, from
        pixels to features.
    """

    predictor: Predictor
    parts: Parts
    weights: Arrays
    programs: Mapping[str, JaxProgram]

    @property
    def config(self):
        return self.predictor.config

    @property
    def frames(self) -> int:
        """t, the number of frames of the model's input."""
        return self.config.data.num_frames

    @property
    def platforms(self) -> tuple[str, ...]:
        """Platforms that the model can be lowered for."""
        # On CUDA, JAX draws random numbers with a kernel that other runtimes do not have.
        random = self.parts.generator.options.method == "sample"
        return tuple(name for name in PLATFORMS if not (random and name == "cuda"))

    def prefixes(self) -> dict[str, list[int]]:
        """Returns by language the tokens that every caption starts with."""
        return {lang: self.parts.generator.prefix(lang, 1)[0].tolist() for lang in self.predictor.languages}


def make_export_model(predictor: Predictor, decode: Mapping) -> ExportModel:
    """Returns the model of a Predictor with these decoding options.

    Raises:
      ConfigError: an option cannot be exported.
    """
    if decode["num_neighbors"]:
        raise ConfigError(
            f"decode.num_neighbors = {decode['num_neighbors']} cannot be exported: it compares words with the training "
            "captions on the host"
        )
    parts = predictor.parts(**decode)
    weights = parts.params | parts.batch_stats
    programs = {"generate": _generate(predictor, parts)}
    if (extractor := parts.extractor) is not None:
        weights |= {f"extractor/{name}": value for name, value in (extractor.params | extractor.batch_stats).items()}
        programs["extract"] = _extract(extractor, parts.image_size)
    return ExportModel(predictor, parts, weights, programs)


def _generate(predictor: Predictor, parts: Parts) -> JaxProgram:
    """The program that returns {tokens [b, l], scores [b]}; for a model that finds events by queries {tokens [b, e, l],
    times [b, e, 2] as fractions of the duration, confidence [b, e], count [b]}; for a model that writes times into the
    text {tokens [b, l], token_log_probs [b, l]}."""
    generator, pure_model, data = parts.generator, parts.pure_model, predictor.config.data
    (prefix_len,) = {generator.prefix(lang, 1).shape[1] for lang in data.languages}
    inputs = media_shapes(
        "b", data.num_frames, image_size=parts.image_size, feature_shape=predictor.feature_shape,
        duration=predictor.dense,
    )  # fmt: skip
    inputs["prefix"] = ("b", prefix_len), "int32"
    if generator.options.method == "sample":
        inputs["key"] = (2,), "uint32"

    def call(weights, batch):
        params, batch_stats = (
            {name: weights[name] for name in names} for names in (pure_model.shapes, pure_model.batch_stat_shapes)
        )
        batch = dict(batch)
        prefix, key = batch.pop("prefix"), batch.pop("key", np.zeros(2, np.uint32))
        key = jax.random.wrap_key_data(key, impl="threefry2x32")
        decoded, proposed, _ = generator.generate(params, batch_stats, batch, prefix, key)
        tokens = decoded.tokens[:, 0]
        if generator.times:
            return {"tokens": tokens, "token_log_probs": decoded.token_log_probs[:, 0]}
        if proposed is None:
            return {"tokens": tokens, "scores": decoded.scores[:, 0]}
        return {"tokens": tokens.reshape(*proposed.times.shape[:2], -1)} | proposed._asdict()

    return JaxProgram(call, inputs)


def _extract(extractor: FrozenEncoder, image_size: int) -> JaxProgram:
    """The program that returns {features float16 [b, groups, n, d]} of clips."""

    def call(weights, batch):
        params, batch_stats = (
            {name: weights[f"extractor/{name}"] for name in names}
            for names in (extractor.params, extractor.batch_stats)
        )
        frames, times, mask = (batch[name] for name in ("frames", "frame_times", "frame_mask"))
        return {"features": extractor.extract(params, batch_stats, frames, times, mask)}

    return JaxProgram(call, media_shapes("b", extractor.clip_frames, image_size=image_size))
