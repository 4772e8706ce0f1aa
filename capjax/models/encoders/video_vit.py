"""Video transformer: tubelets (Arnab et al. 2021, ViViT) under attention over time and space.

b: batch, t: tubelets after one another, n: places of a frame, p: patch, d: width.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from capjax.models.attention import SelfAttention
from capjax.models.encoders.clip import SpaceTimeAttention, group_times, groups
from capjax.models.encoders.parts import drop_path, normalize
from capjax.models.encoders.registry import ENCODERS
from capjax.models.encoders.vit import resize_positions
from capjax.models.layers import TIME_SCALE, LayerNorm, Linear, Mlp, dropout, scan, sinusoid, split, stack


class Block(nnx.Module):
    """Attention over time, attention over space, MLP, each after a norm and with a residual (Bertasius et al. 2021,
    TimeSformer, section 3); not `divided`: attention over both at once, MLP."""

    def __init__(self, d: int, heads: int, hidden: int, *, divided: bool, rate: float, dtype, rngs):
        self.time_norm = LayerNorm(d, dtype=dtype) if divided else None
        self.time_attention = SelfAttention(d, heads, dtype=dtype, rngs=rngs) if divided else None
        self.attention_norm = LayerNorm(d, dtype=dtype)
        self.attention = SelfAttention(d, heads, dtype=dtype, rngs=rngs)
        self.mlp_norm = LayerNorm(d, dtype=dtype)
        self.mlp = Mlp(d, hidden=hidden, dtype=dtype, rngs=rngs)
        self.rate = rate

    def __call__(self, x: jax.Array, mask: jax.Array, drop, key, *, return_attention: bool = False):
        """x [b, t, n, d], mask bool [b, t] -> (x, weights): of time [b, heads, t, n, t] and space [b, heads, t, n, n],
        or of both at once [b, heads, t * n, t * n]; None where they are not asked for."""
        b, t, n, d = x.shape
        keys = split(key, 5)
        over_time = None
        if self.time_attention is not None:
            rows = self.time_norm(x).swapaxes(1, 2).reshape(b * n, t, d)
            out, over_time = self.time_attention.with_weights(rows, jnp.repeat(mask, n, axis=0), return_attention)
            x = self._add(x, out.reshape(b, n, t, d).swapaxes(1, 2), drop, keys[0])
            rows, seen = self.attention_norm(x).reshape(b * t, n, d), None
        else:
            rows, seen = self.attention_norm(x).reshape(b, t * n, d), jnp.repeat(mask, n, axis=1)
        out, weights = self.attention.with_weights(rows, seen, return_attention)
        x = self._add(x, out.reshape(b, t, n, d), drop, keys[1])
        out = self.mlp(self.mlp_norm(x), rate=self.rate, key=keys[2])
        x = self._add(x, out, drop, keys[3])
        if not return_attention:
            return x, None
        if over_time is None:
            return x, weights
        over_time = over_time.reshape(b, n, -1, t, t).transpose(0, 2, 3, 1, 4)
        return x, (over_time, weights.reshape(b, t, -1, n, n).swapaxes(1, 2))

    def _add(self, x, out, drop, key):
        drop_key, path_key = split(key, 2)
        return x + drop_path(dropout(out, self.rate, drop_key), drop, path_key)


@ENCODERS.register("video_vit_tiny", width=128, depth=4, heads=4, patch=8, image_size=64)
@ENCODERS.register("video_vit", width=768, depth=12, heads=12)
class VideoViT(nnx.Module):
    """The grids are the normed tokens of the last layer.

    A token's position is learned rows and columns, and the sinusoid of its time in seconds: clips of any frame rate go
    together. Times are attended to among the real ones alone.

    Args:
      width: d.
      tubelet: frames of a token; of a tubelet that is not full, the frames that are missing are zero.
      attention: `divided`: over time (the same place at all times), then over space (all places at the same time);
        `joint`: over all places at all times.
      image_size: pixels a side that the position embeddings are made for; interpolated for other sizes.
      dropout: on embeddings, on each residual branch and inside the MLP.
      stochastic_depth: rate of the last block; it grows linearly from 0 at the first.
      remat: what the backward pass computes anew of each layer instead of keeping it: none, light or full (see
        capjax.models.layers.REMAT).
      mean, std: of the RGB values, in 0..255.
    """

    over_time = attends = True

    def __init__(
        self, *, width: int, depth: int, heads: int, patch: int = 16, tubelet: int = 2, attention: str = "divided",
        mlp_ratio: float = 4.0, image_size: int = 224, dropout: float = 0.0, stochastic_depth: float = 0.0,
        remat: str = "none", mean=(127.5,) * 3, std=(127.5,) * 3, dtype=jnp.float32, rngs,
    ):  # fmt: skip
        if attention not in ("divided", "joint"):
            raise ValueError(f"attention {attention!r}: expected 'divided' or 'joint'")
        if width % heads or tubelet < 1:
            raise ValueError(f"encoder width {width} is not a multiple of its {heads} heads, or tubelet {tubelet} < 1")
        self.patch, self.image_size, self.width, self.depth, self.time_stride = patch, image_size, width, depth, tubelet
        normal = nnx.initializers.truncated_normal(0.02)
        self.embed = Linear(tubelet * patch * patch * 3, width, axes=(None, "embed"), dtype=dtype, rngs=rngs)
        self.position = nnx.Param(
            normal(rngs.params(), (*self.grid(image_size, image_size), width)),
            out_sharding=(None, None, "embed"),
        )
        hidden, self.divided = int(width * mlp_ratio), attention == "divided"
        self.blocks = stack(
            lambda rngs: Block(width, heads, hidden, divided=self.divided, rate=dropout, dtype=dtype, rngs=rngs),
            depth, rngs,
        )  # fmt: skip
        self.norm = LayerNorm(width, dtype=dtype)
        self.rate, self.stochastic_depth, self.remat = dropout, stochastic_depth, remat
        self.mean, self.std, self.dtype = tuple(mean), tuple(std), dtype

    def grid(self, h: int, w: int) -> tuple[int, int]:
        """(rows, columns) of the output for frames of h x w pixels.

        Raises:
          ValueError: a frame is not a whole number of patches.
        """
        if h % self.patch or w % self.patch:
            raise ValueError(f"a picture of {h} x {w} pixels is not a whole number of patches of {self.patch}")
        return h // self.patch, w // self.patch

    def _tokens(self, frames: jax.Array, times: jax.Array, mask: jax.Array) -> jax.Array:
        """[b, t * tubelet, h, w, 3] -> [b, t, n, d]; times [b, t] of the tubelets, mask of the frames."""
        x = normalize(frames, self.mean, self.std, self.dtype, axes="b t h w")
        b, p, (rows, columns) = len(frames), self.patch, self.grid(*frames.shape[2:4])
        x = groups(jnp.where(mask[:, :, None, None, None], x, 0), self.time_stride)
        x = x.reshape(b, -1, self.time_stride, rows, p, columns, p, 3).transpose(0, 1, 3, 5, 2, 4, 6, 7)
        x = self.embed(x.reshape(b, -1, rows * columns, self.time_stride * p * p * 3))
        place = resize_positions(self.position[...], rows, columns).reshape(-1, self.width)
        return x + (place + sinusoid(times * TIME_SCALE, self.width)[:, :, None]).astype(self.dtype)

    def __call__(
        self, frames: jax.Array, times: jax.Array, mask: jax.Array, *, train: bool = False, key=None,
        return_attention: bool = False,
    ):  # fmt: skip
        """uint8 or float [b, t, h, w, 3] in 0..255, times float32 [b, t] (s), mask bool [b, t] -> [b,
        ceil(t / tubelet), rows, columns, width]; with `return_attention` that and a SpaceTimeAttention.

        `train` changes nothing here; dropout and stochastic depth come with a `key`.
        """
        embed_key, blocks_key = split(key, 2)
        times, real = group_times(times, mask, self.time_stride)
        x = dropout(self._tokens(frames, times, mask), self.rate, embed_key)

        def layer(block, carry, key):
            x, index = carry
            drop = self.stochastic_depth and self.stochastic_depth * index / max(self.depth - 1, 1)
            x, weights = block(x, real, drop, key, return_attention=return_attention)
            return (x, index + 1), weights

        (x, _), weights = scan(
            self.blocks, self.depth, (x, jnp.float32(0)), layer, key=blocks_key, remat=self.remat, dtype=self.dtype
        )  # fmt: skip
        x = self.norm(x).reshape(*x.shape[:2], *self.grid(*frames.shape[2:4]), self.width)
        if not return_attention:
            return x
        if self.divided:
            return x, SpaceTimeAttention(*weights)
        return x, SpaceTimeAttention.of_joint(weights, x.shape[1])
