"""Attention over time, above an encoder that sees one frame at a time (the form of Vid2Seq, Yang et al. 2023).

b: batch, t: frames, n: positions of a frame, d: width, h: heads.
"""

from dataclasses import replace

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from capjax.models.encoders.clip import SpaceTimeAttention
from capjax.models.layers import LayerNorm, Linear, dropout, gelu, split
from capjax.models.memory import Memory
from capjax.models.stacked import scan
from capjax.models.transformer_block import make_blocks
from capjax.registry import Registry

TEMPORAL = Registry("temporal")


class FrameMixer(nnx.Module):
    """A convolution over three frames behind a norm, with a residual: it sees changes from frame to frame."""

    def __init__(self, d: int, *, rate: float, dtype, rngs):
        self.norm = LayerNorm(d, dtype=dtype)
        self.mix = Linear(3 * d, d, axes=("embed", None), dtype=dtype, rngs=rngs)
        self.rate = rate

    def __call__(self, x: Float[Array, "b t d"], mask: Bool[Array, "b t"], key) -> Float[Array, "b t d"]:
        """Padding frames, and frames beyond both ends, count as 0."""
        normal = jnp.where(mask[..., None], self.norm(x), 0.0)
        padded = jnp.pad(normal, ((0, 0), (1, 1), (0, 0)))
        neighborhood = jnp.concatenate([padded[:, :-2], normal, padded[:, 2:]], axis=-1)
        return x + dropout(gelu(self.mix(neighborhood)), self.rate, key)


SPACES = ("pooled", "added", "same", "all")


@TEMPORAL.register("transformer")
class TemporalTransformer(nnx.Module):
    """A pre-norm transformer over the frames of a memory. The memory already encodes times.

    Args:
      space: treatment of the positions of a frame. `pooled`: they are averaged, and the memory then has one position
        per frame; `added`: as `pooled`, but all positions stay, and the output for a frame is added to each of its
        positions; `same`: each position attends to the same position in all frames; `all`: each position attends to
        every position in all frames.
      mixers: number of convolutions over three frames before the transformer (see `FrameMixer`); not for `same` and
        `all`.
      remat: what the backward pass recomputes: none, light or full (see capjax.models.stacked.REMAT).

    Raises:
      ValueError: an option has an impossible value; the message says which.
    """

    def __init__(
        self, *, width: int, layers: int = 2, heads: int = 4, mlp_ratio: float = 4.0, dropout: float = 0.0,
        space: str = "pooled", mixers: int = 0, remat: str = "none", dtype=jnp.float32, rngs,
    ):  # fmt: skip
        if space not in SPACES:
            raise ValueError(f"space {space!r}: expected {', '.join(map(repr, SPACES))}")
        if mixers and space in ("same", "all"):
            raise ValueError(f"mixers = {mixers} need one position a frame: space pooled or added, not {space}")
        self.mixers = nnx.List([FrameMixer(width, rate=dropout, dtype=dtype, rngs=rngs) for _ in range(mixers)])
        self.blocks = make_blocks(
            "temporal module", layers, width, heads, mlp_ratio, dropout=dropout, dtype=dtype, rngs=rngs
        )
        self.norm = LayerNorm(width, dtype=dtype)
        self.layers, self.space, self.remat, self.dtype = layers, space, remat, dtype

    def __call__(
        self, memory: Memory, key=None, *, return_attention: bool = False
    ) -> tuple[Memory, SpaceTimeAttention | None]:
        """Returns a memory with one segment after attention over time, and the attention if it is requested.

        Pooled frames count as one position in the attention.
        """
        whole, (_, frames, n) = memory, memory.segment
        b, _, d = memory.x.shape
        mixer_keys, key = split(key, 2)
        if self.space in ("pooled", "added"):
            memory = Memory(
                memory.frame_means(), memory.frame_mask, memory.frame_times,
                memory.grid_index[::n].at[:, 1:].set(0), (memory.segment._replace(positions=1),),
            )  # fmt: skip
        x, mask, positions = memory.x, memory.mask, memory.segment.positions
        for mixer, mixer_key in zip(self.mixers, split(mixer_keys, len(self.mixers)), strict=True):
            x = mixer(x, mask, mixer_key)
        same_position = self.space == "same" and positions > 1
        if same_position:
            x = x.reshape(b, frames, positions, d).swapaxes(1, 2).reshape(b * positions, frames, d)
            mask = jnp.repeat(memory.frame_mask, positions, axis=0)

        def layer(block, x, key):
            return block(x, key, mask=mask, return_attention=return_attention)

        x, weights = scan(self.blocks, self.layers, x, layer, key=key, remat=self.remat, dtype=self.dtype)
        x = self.norm(x)
        if same_position:
            x = x.reshape(b, positions, frames, d).swapaxes(1, 2).reshape(b, -1, d)
        if self.space == "added":
            memory = replace(whole, x=whole.x + jnp.repeat(x, n, axis=1))
        else:
            memory = replace(memory, x=x)
        if not return_attention:
            return memory, None
        weights = weights["attention"]
        if self.space == "all" and positions > 1:
            return memory, SpaceTimeAttention.of_joint(weights, frames)
        weights = weights.reshape(self.layers, b, positions, -1, frames, frames)
        return memory, SpaceTimeAttention(time=weights.transpose(0, 1, 3, 4, 2, 5))
