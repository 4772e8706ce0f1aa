"""Attention over time, above an encoder that sees one frame at a time (the form of Vid2Seq, Yang et al. 2023)."""

import jax
import jax.numpy as jnp
from flax import nnx

from capjax.models.attention import SelfAttention
from capjax.models.encoders.clip import SpaceTimeAttention
from capjax.models.layers import LayerNorm, Mlp, dropout, scan, split, stack
from capjax.models.memory import Memory
from capjax.registry import Registry

TEMPORAL = Registry("temporal")


class Block(nnx.Module):
    """Self-attention and MLP, each after a norm and with a residual."""

    def __init__(self, d: int, heads: int, hidden: int, *, rate: float, dtype, rngs):
        self.attention_norm = LayerNorm(d, dtype=dtype)
        self.attention = SelfAttention(d, heads, dtype=dtype, rngs=rngs)
        self.mlp_norm = LayerNorm(d, dtype=dtype)
        self.mlp = Mlp(d, hidden=hidden, dtype=dtype, rngs=rngs)
        self.rate = rate

    def __call__(self, x: jax.Array, mask: jax.Array, key, *, return_attention: bool = False):
        """x [b, n, d], mask bool [b, n] -> (x, weights [b, heads, n, n], or None where they are not asked for)."""
        keys = split(key, 3)
        out, weights = self.attention.with_weights(self.attention_norm(x), mask, return_attention)
        x = x + dropout(out, self.rate, keys[0])
        return x + dropout(self.mlp(self.mlp_norm(x), rate=self.rate, key=keys[1]), self.rate, keys[2]), weights


@TEMPORAL.register("transformer")
class TemporalTransformer(nnx.Module):
    """A pre-norm transformer over the frames of a memory; times are in the memory already.

    Args:
      space: what a position attends to. `pooled`: the positions of a frame are averaged, and the memory then has one
        for each frame; `same`: the same place in all frames; `all`: every place in all frames.
    """

    def __init__(
        self, *, width: int, layers: int = 2, heads: int = 4, mlp_ratio: float = 4.0, dropout: float = 0.0,
        space: str = "pooled", remat: bool = False, dtype=jnp.float32, rngs,
    ):  # fmt: skip
        if space not in ("pooled", "same", "all"):
            raise ValueError(f"space {space!r}: expected 'pooled', 'same' or 'all'")
        if layers < 1 or width % heads:
            raise ValueError(f"{layers} layers of width {width} with {heads} heads: expected 1 or more that divide it")
        hidden = int(width * mlp_ratio)
        self.blocks = stack(
            lambda rngs: Block(width, heads, hidden, rate=dropout, dtype=dtype, rngs=rngs), layers, rngs
        )
        self.norm = LayerNorm(width, dtype=dtype)
        self.layers, self.space, self.remat = layers, space, remat

    def __call__(self, memory: Memory, frames: int, key=None, *, return_attention: bool = False):
        """A memory of `frames` frames, with the places of each in a row -> (the same, or one position for each frame; a
        SpaceTimeAttention, with one place where they are pooled, or None where it is not asked for)."""
        b, n, d = memory.x.shape
        places = n // frames
        if self.space == "pooled" and places > 1:
            place = memory.place[::places].at[:, 1:].set(0)
            memory = Memory(
                memory.x.reshape(b, frames, places, d).mean(2),
                memory.mask[:, ::places],
                memory.time[:, ::places],
                place,
            )
            places = 1
        x, mask = memory.x, memory.mask
        if self.space == "same" and places > 1:
            x = x.reshape(b, frames, places, d).swapaxes(1, 2).reshape(b * places, frames, d)
            mask = jnp.repeat(mask[:, ::places], places, axis=0)

        def layer(block, x, key):
            return block(x, mask, key, return_attention=return_attention)

        x, weights = scan(self.blocks, self.layers, x, layer, key=key, remat=self.remat)
        x = self.norm(x)
        if self.space == "same" and places > 1:
            x = x.reshape(b, places, frames, d).swapaxes(1, 2).reshape(b, n, d)
        memory = memory.replace(x=x)
        if not return_attention:
            return memory, None
        if self.space == "all" and places > 1:
            return memory, SpaceTimeAttention.of_joint(weights, frames)
        weights = weights.reshape(self.layers, b, places, -1, frames, frames)
        return memory, SpaceTimeAttention(time=weights.transpose(0, 1, 3, 4, 2, 5))
