"""Attention heat maps: the share of a decoder's cross-attention that each position had when a word was written.

b: items, t: frames, n: positions of a frame, l: target positions, k: predicted tokens (l - 1), w: words and the whole
caption, h: heads.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from capjax.explain.explanation import HeatMaps
from capjax.explain.methods import METHODS, Options
from capjax.explain.model import BoundModel, CaptionedBatch, CaptionModel
from capjax.models.captioner import VISION
from capjax.models.encoders.clip import SpaceTimeAttention


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
        _word_attention,
        batch,
        layer=options.attention_layer,
        head=options.attention_head,
        rollout=options.rollout,
        grid=model.grid,
    )
    rows, columns = (int(out.grid_index[:, axis].max()) + 1 for axis in (1, 2))
    maps = []
    for row, (item, weights) in enumerate(zip(batch.items, batch.rows(out.weights), strict=True)):
        real = np.asarray(out.mask[row])
        values = weights[:, real].reshape(len(weights), -1, rows, columns)
        maps.append(HeatMaps(values, np.asarray(out.times[row])[real], model.geometry(item, rows, columns)))
    return maps


def _word_attention(
    model: BoundModel, media: Mapping, target: Int[Array, "b l"], word_tokens: Float[Array, "b w k"], *,
    layer: int | None, head: int | None, rollout: bool, grid: tuple[int, int],
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
    positions, grid_index = part.segment.positions, part.grid_index
    weights = weights[..., : part.x.shape[1]].reshape(*weights.shape[:2], -1, positions)
    if rollout:
        weights = _roll_out(model, media, weights)
        if weights.shape[-1] != positions:  # the positions of each frame were pooled above the encoder
            positions, columns = weights.shape[-1], grid[1]
            cell = jnp.arange(positions)
            grid_index = jnp.stack([jnp.zeros_like(cell), cell // columns, cell % columns], axis=-1)
    return _WordAttention(weights, part.frame_times, part.frame_mask, grid_index[:positions])


def _roll_out(model: BoundModel, media: Mapping, weights: Float[Array, "b w t n"]) -> Float[Array, "b w t cells"]:
    """Attention rollout (Abnar & Zuidema 2020): follows weights over the memory down to the input of the encoder.

    In each layer half of the weight goes through the attention, whose heads are averaged, and half past it.

    Raises:
      ValueError: nothing below the decoder has attention, or the memory is that of an event.
    """
    if model.captioner.events is not None:
        raise ValueError("rollout: the frames of an event are picked from the memory; use attention without rollout")
    attention = model.encoder_attention(media)
    if not attention:
        raise ValueError("rollout: the encoder of this model has no self-attention; use attention without rollout")
    if "temporal" in attention:
        temporal = attention["temporal"]
        assert temporal.time is not None
        if (
            temporal.time.shape[4] == 1 and weights.shape[-1] > 1
        ):  # the output for a frame was added to each of its positions
            pooled = _follow(weights.sum(-1, keepdims=True), temporal)
            weights = 0.5 * weights + 0.5 * pooled / weights.shape[-1]
        else:
            weights = _follow(weights, temporal)
    if VISION in attention:
        vision = attention[VISION]
        per_position = vision.time if vision.space is None else vision.space
        assert per_position is not None
        n = per_position.shape[4] - vision.class_token
        if weights.shape[-1] == 1:
            weights = jnp.broadcast_to(weights / n, (*weights.shape[:-1], n))
        weights = jnp.pad(weights, ((0, 0), (0, 0), (0, 0), (int(vision.class_token), 0)))
        weights = _follow(weights, vision)[..., int(vision.class_token) :]
    return weights


def _follow(weights: Float[Array, "b w t n"], attention: SpaceTimeAttention) -> Float[Array, "b w t n"]:
    """The weights of the inputs of layers with attention, from those of their outputs."""

    def layer(weights, attention):
        time, space = attention
        if space is not None:
            weights = 0.5 * weights + 0.5 * jnp.einsum("bwtn,btnm->bwtm", weights, space.mean(1))
        if time is not None:
            weights = 0.5 * weights + 0.5 * jnp.einsum("bwtn,btns->bwsn", weights, time.mean(1))
        return weights, None

    return jax.lax.scan(layer, weights, (attention.time, attention.space), reverse=True)[0]


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
