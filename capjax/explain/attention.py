"""Attention heat maps: the share of a decoder's cross-attention that each position had when a word was written.

b: items, t: frames, n: positions of a frame, l: target positions, w: words and the whole caption, h: heads.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from capjax.explain.explanation import HeatMaps
from capjax.explain.methods import METHODS, Options
from capjax.explain.model import BoundModel, CaptionedBatch, CaptionModel


class _WordAttention(NamedTuple):
    """Attention of each word by frame and position; times, mask (True = real) and grid cells of the frames."""

    weights: Float[Array, "b w t n"]
    times: Float[Array, "b t"]
    mask: Bool[Array, "b t"]
    grid_index: Int[Array, "n 3"]


@METHODS.register("attention")
def attention(model: CaptionModel, batch: CaptionedBatch, options: Options) -> list[HeatMaps]:
    """Maps of the attention with which the tokens of each word were chosen, by any decoder.

    Raises:
      ValueError: there is no such layer or head; the message lists those that there are.
    """
    out = model.run(
        _word_attention, batch, layer=options.attention_layer, head=options.attention_head, rollout=options.rollout
    )
    rows, columns = (int(out.grid_index[:, axis].max()) + 1 for axis in (1, 2))
    maps = []
    for row, (item, weights) in enumerate(zip(batch.items, batch.rows(out.weights), strict=True)):
        real = np.asarray(out.mask[row])
        values = weights[:, real].reshape(len(weights), -1, rows, columns)
        maps.append(HeatMaps(values, np.asarray(out.times[row])[real], model.geometry(item, rows, columns)))
    return maps


def _word_attention(
    model: BoundModel, media: Mapping, target: Int[Array, "b l"], word_tokens: Float[Array, "b w l-1"], *,
    layer: int | None, head: int | None, rollout: bool,
) -> _WordAttention:  # fmt: skip
    memory = model.memory(model.features(media), media)
    weights = model.decode(target, memory, return_attention=True).attention
    assert weights is not None
    weights = _select(weights, layer, "layer").swapaxes(0, 1)  # [h, b, l, n]
    weights = _select(weights, head, "head")
    share = word_tokens / jnp.maximum(word_tokens.sum(-1, keepdims=True), 1.0)
    weights = jnp.einsum("bwl,bln->bwn", share, weights)
    # The encoder of pictures and videos is the first segment.
    part = memory.parts()[0]
    positions = part.segment.positions
    weights = weights[..., : part.x.shape[1]].reshape(*weights.shape[:2], -1, positions)
    return _WordAttention(weights, part.frame_times, part.frame_mask, part.grid_index[:positions])


def _select(weights: Float[Array, "_ ..."], index: int | None, kind: str) -> Float[Array, "..."]:
    """One entry of the first axis, or the mean over it."""
    if index is None:
        return weights.mean(0)
    count = len(weights)
    if not 0 <= index < count:
        raise ValueError(
            f"attention {kind} {index}: the decoder has {count}; known: {', '.join(map(str, range(count)))}"
        )
    return weights[index]
