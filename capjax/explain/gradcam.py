"""Grad-CAM (Selvaraju et al. 2017) of each word and of the whole caption, at any layer of the encoder.

b: items, t: frames or groups of frames at the layer, n: cells of a grid, c: channels, l: target positions, w: words and
the whole caption.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from capjax.explain.explanation import HeatMaps
from capjax.explain.methods import FEATURES, METHODS, Options
from capjax.explain.model import BoundModel, CaptionedBatch, CaptionModel, sum_by_word, token_log_probs
from capjax.models.captioner import VISION
from capjax.models.encoders.clip import group_times
from capjax.models.encoders.tap import tapped
from capjax.registry import nearest

# Words whose gradients are computed at once.
_WORDS_AT_ONCE = 8


class _WordMaps(NamedTuple):
    """Maps, and the times and the mask (True = real) of their frames or groups of frames."""

    values: Float[Array, "b w t rows columns"]
    times: Float[Array, "b t"]
    mask: Float[Array, "b t"]


@METHODS.register("gradcam")
def gradcam(model: CaptionModel, batch: CaptionedBatch, options: Options) -> list[HeatMaps]:
    """Maps of the activations that raise the log-probability of each word: positive parts of their sum over channels,
    weighted by the mean gradient of each channel.

    Raises:
      ValueError: the encoder has no such layer; the message lists those that there are.
    """
    layer = options.gradcam_layer
    if layer != FEATURES:
        if layer not in (layers := model.layers(batch)):
            raise ValueError(f"the encoder has no layer {layer!r}; {nearest(layer, [FEATURES, *layers])}")
        batch = replace(batch, media={name: value for name, value in batch.media.items() if name != "features"})
    out = model.run(_word_maps, batch, layer=layer, grid=model.grid)
    return [
        HeatMaps(values[:, real], times[real], model.geometry(item, *values.shape[2:]))
        for item, values, times, real in zip(
            batch.items, batch.rows(out.values), np.asarray(out.times), np.asarray(out.mask), strict=False
        )
    ]


def _word_maps(
    model: BoundModel, media: Mapping, target: Int[Array, "b l"], word_tokens: Float[Array, "b w l-1"], *,
    layer: str, grid: tuple[int, int],
) -> _WordMaps:  # fmt: skip
    if layer == FEATURES:
        features = model.features(media)
        perturbation = jnp.zeros_like(features[VISION].x)
    else:
        perturbation = jnp.zeros_like(jax.eval_shape(partial(_tapped_value, model, media, layer)))

    def scores(perturbation: Array) -> tuple[Float[Array, "b w"], tuple]:
        """The log-probability of each word; the activations, and the times and mask of the encoder's output."""
        if layer == FEATURES:
            vision = features[VISION]
            value = vision.x + perturbation
            changed = {**features, VISION: vision.replace(x=value)}
        else:
            with tapped(layer, perturbation) as tap:
                changed = model.features(media)
            value, vision = tap.value, changed[VISION]
        logits = model.decode(target, model.memory(changed, media)).logits
        return sum_by_word(token_log_probs(logits, target), word_tokens), (value, vision.times, vision.mask)

    _, gradient_of, (value, times, mask) = jax.vjp(scores, perturbation, has_aux=True)
    b, w = word_tokens.shape[:2]
    value = value.reshape(b, -1, *(grid if layer == FEATURES else value.shape[-3:-1]), value.shape[-1])
    value = value.astype(jnp.float32)

    def word_map(one_hot: Float[Array, " w"]) -> Float[Array, "b t rows columns"]:
        (gradient,) = gradient_of(jnp.broadcast_to(one_hot, (b, w)))
        gradient = gradient.reshape(value.shape).astype(jnp.float32)
        weights = gradient.mean((1, 2, 3), keepdims=True)
        return jax.nn.relu((weights * value).sum(-1))

    maps = jax.lax.map(word_map, jnp.eye(w), batch_size=_WORDS_AT_ONCE).swapaxes(0, 1)
    if layer != FEATURES and "frame_times" in media and maps.shape[2] != times.shape[1]:
        stride = -(-media["frame_times"].shape[1] // maps.shape[2])
        times, mask = group_times(media["frame_times"], media["frame_mask"], stride)
    return _WordMaps(maps, times, mask)


def _tapped_value(model: BoundModel, media: Mapping, layer: str) -> Array | None:
    with tapped(layer) as tap:
        model.features(media)
    return tap.value
