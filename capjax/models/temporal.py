"""Attention over time, above an encoder that sees one frame at a time (the form of Vid2Seq, Yang et al. 2023)."""

import jax
import jax.numpy as jnp
from flax import nnx

from capjax.models.attention import SelfAttention
from capjax.models.encoders.clip import SpaceTimeAttention
from capjax.models.layers import LayerNorm, Linear, Mlp, dropout, gelu, scan, split, stack
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


class FrameMixer(nnx.Module):
    """A convolution over three frames, after a norm and with a residual: what has changed since the frame before."""

    def __init__(self, d: int, *, rate: float, dtype, rngs):
        self.norm = LayerNorm(d, dtype=dtype)
        self.mix = Linear(3 * d, d, axes=("embed", None), dtype=dtype, rngs=rngs)
        self.rate = rate

    def __call__(self, x: jax.Array, mask: jax.Array, key) -> jax.Array:
        """x [b, t, d], mask bool [b, t]; beyond the first and the last real frame all is 0."""
        normal = jnp.where(mask[..., None], self.norm(x), 0.0)
        padded = jnp.pad(normal, ((0, 0), (1, 1), (0, 0)))
        near = jnp.concatenate([padded[:, :-2], normal, padded[:, 2:]], axis=-1)
        return x + dropout(gelu(self.mix(near)), self.rate, key)


SPACES = ("pooled", "added", "same", "all")


@TEMPORAL.register("transformer")
class TemporalTransformer(nnx.Module):
    """A pre-norm transformer over the frames of a memory; times are in the memory already.

    Args:
      space: what becomes of them. `pooled`: they are averaged, and the memory then has one position for each frame;
        `added`: as `pooled`, but the places stay, and what the transformer says of a frame is added to each of them;
        `same`: each place attends to the same place in all frames; `all`: to every place in all frames.
      mixers: convolutions over three frames before the transformer (see `FrameMixer`); not for `same` and `all`.
    """

    def __init__(
        self, *, width: int, layers: int = 2, heads: int = 4, mlp_ratio: float = 4.0, dropout: float = 0.0,
        space: str = "pooled", mixers: int = 0, remat: str = "none", dtype=jnp.float32, rngs,
    ):  # fmt: skip
        if space not in SPACES:
            raise ValueError(f"space {space!r}: expected {', '.join(map(repr, SPACES))}")
        if layers < 1 or width % heads:
            raise ValueError(f"{layers} layers of width {width} with {heads} heads: expected 1 or more that divide it")
        if mixers and space in ("same", "all"):
            raise ValueError(f"mixers = {mixers} need one position a frame: space pooled or added, not {space}")
        hidden = int(width * mlp_ratio)
        self.mixers = nnx.List([FrameMixer(width, rate=dropout, dtype=dtype, rngs=rngs) for _ in range(mixers)])
        self.blocks = stack(
            lambda rngs: Block(width, heads, hidden, rate=dropout, dtype=dtype, rngs=rngs), layers, rngs
        )
        self.norm = LayerNorm(width, dtype=dtype)
        self.layers, self.space, self.remat, self.dtype = layers, space, remat, dtype

    def __call__(self, memory: Memory, frames: int, key=None, *, return_attention: bool = False):
        """A memory of `frames` frames, with the places of each in a row -> (the same, or one position for each frame; a
        SpaceTimeAttention, with one place where they are pooled, or None where it is not asked for)."""
        b, n, d = memory.x.shape
        places, whole = n // frames, memory
        mixer_keys, key = split(key, 2)
        if self.space in ("pooled", "added"):
            memory, places = self._one_a_frame(memory, frames, places), 1
        x, mask = memory.x, memory.mask
        for mixer, mixer_key in zip(self.mixers, split(mixer_keys, len(self.mixers)), strict=True):
            x = mixer(x, mask, mixer_key)
        if self.space == "same" and places > 1:
            x = x.reshape(b, frames, places, d).swapaxes(1, 2).reshape(b * places, frames, d)
            mask = jnp.repeat(mask[:, ::places], places, axis=0)

        def layer(block, x, key):
            return block(x, mask, key, return_attention=return_attention)

        x, weights = scan(self.blocks, self.layers, x, layer, key=key, remat=self.remat, dtype=self.dtype)
        x = self.norm(x)
        if self.space == "same" and places > 1:
            x = x.reshape(b, places, frames, d).swapaxes(1, 2).reshape(b, n, d)
        if self.space == "added":
            memory = whole.replace(x=whole.x + jnp.repeat(x, n // frames, axis=1))
        else:
            memory = memory.replace(x=x)
        if not return_attention:
            return memory, None
        if self.space == "all" and places > 1:
            return memory, SpaceTimeAttention.of_joint(weights, frames)
        weights = weights.reshape(self.layers, b, places, -1, frames, frames)
        return memory, SpaceTimeAttention(time=weights.transpose(0, 1, 3, 4, 2, 5))

    def _one_a_frame(self, memory: Memory, frames: int, places: int) -> Memory:
        b, _, d = memory.x.shape
        x = memory.x.reshape(b, frames, places, d).mean(2)
        place = memory.grid_index[::places].at[:, 1:].set(0)
        return Memory(x, memory.mask[:, ::places], memory.time[:, ::places], place)
