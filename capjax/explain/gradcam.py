"""Grad-CAM (Selvaraju et al. 2017) of each word and of the whole caption, at any layer of the encoder.

b: items, t: frames or groups of frames at the layer, n: cells of a grid, c: channels, l: target positions, k: predicted
tokens (l - 1), w: words and the whole caption.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int

from capjax.explain.explanation import HeatMaps
from capjax.explain.methods import METHODS, Options
from capjax.explain.model import BoundModel, CaptionedBatch, CaptionModel, from_frames, sum_by_word, token_log_probs
from capjax.models.captioner import FEATURES, VISION
from capjax.models.encoders.clip import group_times
from capjax.models.encoders.tap import tapped
from capjax.models.gradients import weights_held
from capjax.registry import nearest

# Standard deviation of the filter on maps, as a share of the picture's side and, if that is larger, in cells: gradients
# of single cells of a fine grid are noisy, and a cell sees more of the picture than its own part.
_BLUR, _CELLS = 1 / 16, 0.75
# Words whose gradients are computed at once, a divisor of what numbers of words are padded to.
_WORDS_AT_ONCE = 2


class _WordMaps(NamedTuple):
    """Maps, and the times and the mask (True = real) of their frames or groups of frames."""

    values: Float[Array, "b w t rows columns"]
    times: Float[Array, "b t"]
    mask: Bool[Array, "b t"]


@METHODS.register("gradcam")
def gradcam(model: CaptionModel, batch: CaptionedBatch, options: Options) -> list[HeatMaps]:
    """Maps of the activations that raise the log-probability of each word.

    The value of a cell is the sum over channels of activation times gradient, of either sign. It differs from
    Grad-CAM of classifiers in two more ways. The gradient is not averaged over cells first (as in HiResCAM, Draelos &
    Carin 2020), because a decoder that attends treats cells differently. And attention weights and the scale of layer
    norms are constants in the gradient, see `capjax.models.gradients.weights_held`.

    Raises:
      ValueError: the encoder has no such layer; the message lists those that there are.
    """
    layer = options.gradcam_layer
    if layer != FEATURES:
        if layer not in (layers := model.layers(batch)):
            raise ValueError(f"the encoder has no layer {layer!r}; {nearest(layer, layers)}")
        batch = replace(batch, media=from_frames(batch.media))
    out = model.run(_word_maps, batch, layer=layer, grid=model.grid)
    times, mask = np.asarray(out.times), np.asarray(out.mask)
    return [
        HeatMaps(_smooth(values[:, real]), own_times[real], model.geometry(item, *values.shape[2:]))
        for item, values, own_times, real in zip(batch.items, batch.rows(out.values), times, mask, strict=False)
    ]


def _smooth(maps: Float32[np.ndarray, "w t rows columns"]) -> Float32[np.ndarray, "w t rows columns"]:
    """Maps after a Gaussian filter."""

    def weights(cells: int) -> Float32[np.ndarray, "cells cells"]:
        distance = np.subtract.outer(np.arange(cells), np.arange(cells)) / max(_BLUR * cells, _CELLS)
        kernel = np.exp(-0.5 * distance**2).astype(np.float32)
        return kernel / kernel.sum(-1, keepdims=True)

    rows, columns = maps.shape[2:]
    return weights(rows) @ maps @ weights(columns).T


def _word_maps(
    model: BoundModel, media: Mapping, target: Int[Array, "b l"], word_tokens: Float[Array, "b w k"], *,
    layer: str, grid: tuple[int, int],
) -> _WordMaps:  # fmt: skip
    def tapped_value() -> Array:
        with tapped(layer) as tap:
            model.memory(model.features(media), media)
        assert tap.value is not None
        return tap.value

    def scores(perturbation: Array) -> tuple[Float[Array, "b w"], tuple]:
        """The log-probability of each word; the activations; times and mask of the encoder's output."""
        with tapped(layer, perturbation) as tap:
            features = model.features(media)
            memory = model.memory(features, media)
        logits = model.decode(target, memory).logits
        vision = features[VISION]
        return sum_by_word(token_log_probs(logits, target), word_tokens), (tap.value, vision.times, vision.mask)

    shape = jax.eval_shape(tapped_value)
    with weights_held():
        _, gradient_of, (value, times, mask) = jax.vjp(scores, jnp.zeros(shape.shape, shape.dtype), has_aux=True)
    b, w = word_tokens.shape[:2]
    cells = grid if layer == FEATURES else value.shape[-3:-1]
    value = value.reshape(b, -1, *cells, value.shape[-1]).astype(jnp.float32)

    def word_map(one_hot: Float[Array, " w"]) -> Float[Array, "b t rows columns"]:
        (gradient,) = gradient_of(jnp.broadcast_to(one_hot, (b, w)))
        return (gradient.reshape(value.shape) * value).sum(-1)

    def add_maps(number: Int[Array, ""], maps: Float[Array, "w b t rows columns"]):
        first = number * _WORDS_AT_ONCE
        some_maps = jax.vmap(word_map)(jax.lax.dynamic_slice_in_dim(jnp.eye(w), first, _WORDS_AT_ONCE))
        return jax.lax.dynamic_update_slice_in_dim(maps, some_maps, first, axis=0)

    # No gradients of padding, which can be half of the words.
    count = word_tokens.any((0, 2)).sum()
    maps = jnp.zeros((w, b, *value.shape[1:-1]))
    maps = jax.lax.fori_loop(0, -(-count // _WORDS_AT_ONCE), add_maps, maps).swapaxes(0, 1)
    if maps.shape[2] != times.shape[1]:  # a layer over time before the last
        stride = -(-media["frame_times"].shape[1] // maps.shape[2])
        times, mask = group_times(media["frame_times"], media["frame_mask"], stride)
    return _WordMaps(maps, times, mask)
