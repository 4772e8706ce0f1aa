"""Vision Transformer (Dosovitskiy et al. 2021), in timm's form. n: images, p: patch, t: tokens, d: width."""

import jax
import jax.numpy as jnp
from flax import nnx

from capjax.models.attention import SelfAttention
from capjax.models.encoders.parts import drop_path, normalize
from capjax.models.encoders.registry import ENCODERS
from capjax.models.layers import LayerNorm, Linear, Mlp, dropout, scan, split, stack


class Block(nnx.Module):
    """Self-attention and MLP, each after a norm and with a residual."""

    def __init__(self, d: int, heads: int, hidden: int, *, rate: float, dtype, rngs):
        self.attention_norm = LayerNorm(d, dtype=dtype)
        self.attention = SelfAttention(d, heads, dtype=dtype, rngs=rngs)
        self.mlp_norm = LayerNorm(d, dtype=dtype)
        self.mlp = Mlp(d, hidden=hidden, dtype=dtype, rngs=rngs)
        self.rate = rate

    def __call__(self, x: jax.Array, drop, key) -> jax.Array:
        """x [n, t, d]; `drop` is the stochastic depth of this block."""
        keys = split(key, 5)
        out = dropout(self.attention(self.attention_norm(x)), self.rate, keys[0])
        x = x + drop_path(out, drop, keys[1])
        out = self.mlp(self.mlp_norm(x), rate=self.rate, key=keys[2])
        return x + drop_path(dropout(out, self.rate, keys[3]), drop, keys[4])


def resize_positions(position: jax.Array, rows: int, columns: int) -> jax.Array:
    """Position embeddings [r, c, d] for another grid: bicubic, antialiased, as timm does it."""
    if position.shape[:2] == (rows, columns):
        return position
    return jax.image.resize(position, (rows, columns, position.shape[-1]), "cubic", antialias=True)


@ENCODERS.register("vit_tiny", width=128, depth=4, heads=4, patch=8, image_size=64, class_token=False)
@ENCODERS.register("vit_ti16", width=192, depth=12, heads=3)
@ENCODERS.register("vit_s32", width=384, depth=12, heads=6, patch=32)
@ENCODERS.register("vit_s16", width=384, depth=12, heads=6)
@ENCODERS.register("vit_b32", width=768, depth=12, heads=12, patch=32)
@ENCODERS.register("vit_b16", width=768, depth=12, heads=12)
@ENCODERS.register("vit_b8", width=768, depth=12, heads=12, patch=8)
@ENCODERS.register("vit_l32", width=1024, depth=24, heads=16, patch=32)
@ENCODERS.register("vit_l16", width=1024, depth=24, heads=16)
class ViT(nnx.Module):
    """The grid is the normed patch tokens of the last layer, without the class token.

    Args:
      width: d.
      image_size: pixels a side that the position embeddings are made for; interpolated for other sizes.
      class_token: one more token that all may read and write. Published weights mostly have it; training from
        scratch does not need it.
      dropout: on embeddings, on each residual branch and inside the MLP.
      stochastic_depth: rate of the last block; it grows linearly from 0 at the first.
      remat: what the backward pass computes anew of each layer instead of keeping it: none, light or full (see
        capjax.models.layers.REMAT).
      mean, std: of the RGB values, in 0..255.
    """

    def __init__(
        self, *, width: int, depth: int, heads: int, patch: int = 16, mlp_ratio: float = 4.0,
        image_size: int = 224, class_token: bool = True, dropout: float = 0.0, stochastic_depth: float = 0.0,
        remat: str = "none", mean=(127.5,) * 3, std=(127.5,) * 3, dtype=jnp.float32, rngs,
    ):  # fmt: skip
        if width % heads:
            raise ValueError(f"encoder width {width} is not a multiple of its {heads} heads")
        self.patch, self.image_size, self.width, self.depth = patch, image_size, width, depth
        normal = nnx.initializers.truncated_normal(0.02)
        self.embed = Linear(patch * patch * 3, width, axes=(None, "embed"), dtype=dtype, rngs=rngs)
        self.position = nnx.Param(
            normal(rngs.params(), (*self.grid(image_size, image_size), width)),
            out_sharding=(None, None, "embed"),
        )
        token = nnx.Param(normal(rngs.params(), (width,)), out_sharding=("embed",)) if class_token else None
        self.class_token = token
        hidden = int(width * mlp_ratio)
        self.blocks = stack(lambda rngs: Block(width, heads, hidden, rate=dropout, dtype=dtype, rngs=rngs), depth, rngs)
        self.norm = LayerNorm(width, dtype=dtype)
        self.rate, self.stochastic_depth, self.remat = dropout, stochastic_depth, remat
        self.mean, self.std, self.dtype = tuple(mean), tuple(std), dtype

    def grid(self, h: int, w: int) -> tuple[int, int]:
        """(rows, columns) of the output for a picture of h x w pixels.

        Raises:
          ValueError: the picture is not a whole number of patches.
        """
        if h % self.patch or w % self.patch:
            raise ValueError(f"a picture of {h} x {w} pixels is not a whole number of patches of {self.patch}")
        return h // self.patch, w // self.patch

    def _tokens(self, images: jax.Array) -> jax.Array:
        """[n, h, w, 3] -> [n, rows * columns, d]: a convolution of stride p, as a matrix product."""
        rows, columns = self.grid(*images.shape[1:3])
        x, p = normalize(images, self.mean, self.std, self.dtype), self.patch
        x = x.reshape(-1, rows, p, columns, p, 3).transpose(0, 1, 3, 2, 4, 5)
        x = self.embed(x.reshape(-1, p * p * 3)).reshape(-1, rows * columns, self.width)
        position = resize_positions(self.position[...], rows, columns)
        return x + position.reshape(-1, self.width).astype(self.dtype)

    def __call__(self, images: jax.Array, *, train: bool = False, key=None) -> jax.Array:
        """uint8 or float [n, h, w, 3] in 0..255 -> [n, rows, columns, width].

        `train` changes nothing here; dropout and stochastic depth come with a `key`.
        """
        embed_key, blocks_key = split(key, 2)
        x = self._tokens(images)
        if self.class_token is not None:
            first = jnp.broadcast_to(self.class_token[...].astype(self.dtype), (x.shape[0], 1, self.width))
            x = jnp.concatenate([first, x], axis=1)
        x = dropout(x, self.rate, embed_key)

        def layer(block, carry, key):
            x, index = carry
            drop = self.stochastic_depth and self.stochastic_depth * index / max(self.depth - 1, 1)
            return (block(x, drop, key), index + 1), None

        (x, _), _ = scan(
            self.blocks, self.depth, (x, jnp.float32(0)), layer, key=blocks_key, remat=self.remat, dtype=self.dtype
        )  # fmt: skip
        if self.class_token is not None:
            x = x[:, 1:]
        x = self.norm(x)
        return x.reshape(x.shape[0], *self.grid(*images.shape[1:3]), self.width)
