"""Vision Transformer (Dosovitskiy et al. 2021), in timm's form.

b: images, p: patch, n: patches, with the class token if there is one, d: width, h: heads.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Real

from capjax.models.encoders.clip import SpaceTimeAttention
from capjax.models.encoders.parts import normalize
from capjax.models.encoders.receptive_field import Strided
from capjax.models.encoders.registry import ENCODERS
from capjax.models.encoders.tap import tap_tokens, tapped_parts
from capjax.models.layers import LayerNorm, Linear, dropout, split
from capjax.models.stacked import scan, take
from capjax.models.transformer_block import TransformerBlock, make_blocks


def resize_positions(position: Float[Array, "h w d"], rows: int, columns: int) -> Float[Array, "{rows} {columns} d"]:
    """Position embeddings for another grid: bicubic, antialiased, as in timm."""
    if position.shape[:2] == (rows, columns):
        return position
    return jax.image.resize(position, (rows, columns, position.shape[-1]), "cubic", antialias=True)


class PatchEncoder(nnx.Module):
    """An encoder of square patches by transformer blocks: what ViT and VideoViT share."""

    attends = True

    patch: int
    depth: int
    stochastic_depth: float
    remat: str
    dtype: jnp.dtype
    blocks: TransformerBlock

    def grid(self, h: int, w: int) -> tuple[int, int]:
        """(rows, columns) of the output for a picture of h x w pixels.

        Raises:
          ValueError: the picture is not a whole number of patches.
        """
        if h % self.patch or w % self.patch:
            raise ValueError(f"a picture of {h} x {w} pixels is not a whole number of patches of {self.patch}")
        return h // self.patch, w // self.patch

    @property
    def strided(self) -> tuple[Strided, ...]:
        """The layer that reduces the picture."""
        return (Strided(self.patch, self.patch, "same"),)

    def _apply_blocks(self, x: jax.Array, key, grid: tuple[int, int], *, split_key=lambda key: key, **options):
        """Returns the output of the last block, and the attention weights stacked by layer.

        Args:
          grid: (rows, columns) of the patches, which are the last tokens of x.
          split_key: the key of a block -> its argument `key`.
          **options: arguments of the blocks.
        """

        def layer(block, carry, key):
            x, index = carry
            drop = self.stochastic_depth and self.stochastic_depth * index / max(self.depth - 1, 1)
            x, weights = block(x, split_key(key), drop=drop, **options)
            return (x, index + 1), weights

        carry, parts = (x, jnp.float32(0)), []
        for first, end in tapped_parts("blocks", self.depth):
            blocks = self.blocks if end - first == self.depth else take(self.blocks, first, end)
            (x, index), weights = scan(blocks, end - first, carry, layer, key=key, remat=self.remat, dtype=self.dtype)
            carry = (tap_tokens(f"blocks/{end - 1}", x, grid), index)
            parts.append(weights)
        return carry[0], jax.tree.map(lambda *each: each[0] if len(each) == 1 else jnp.concatenate(each), *parts)


@ENCODERS.register("vit_tiny", width=128, depth=4, heads=4, patch=8, image_size=64, class_token=False)
@ENCODERS.register("vit_ti16", width=192, depth=12, heads=3)
@ENCODERS.register("vit_s32", width=384, depth=12, heads=6, patch=32)
@ENCODERS.register("vit_s16", width=384, depth=12, heads=6)
@ENCODERS.register("vit_b32", width=768, depth=12, heads=12, patch=32)
@ENCODERS.register("vit_b16", width=768, depth=12, heads=12)
@ENCODERS.register("vit_b8", width=768, depth=12, heads=12, patch=8)
@ENCODERS.register("vit_l32", width=1024, depth=24, heads=16, patch=32)
@ENCODERS.register("vit_l16", width=1024, depth=24, heads=16)
class ViT(PatchEncoder):
    """The grid holds the normed patch tokens of the last layer, without the class token.

    Args:
      width: d.
      patch: p, pixels per side of a patch.
      image_size: pixels per side for which the position embeddings are made; they are interpolated for other sizes.
      class_token: adds a token that belongs to no patch. Most published weights have it; training from scratch does not
        need it.
      dropout: on embeddings, on each residual branch and inside the MLP.
      stochastic_depth: rate of the last block; it grows linearly from 0 at the first.
      remat: what the backward pass recomputes of each layer instead of keeping it: none, light or full (see
        capjax.models.stacked.REMAT).
      mean, std: of the RGB values, in 0..255.

    Raises:
      ValueError: the width is not a multiple of the heads, or the image of the patch.
    """

    def __init__(
        self, *, width: int, depth: int, heads: int, patch: int = 16, mlp_ratio: float = 4.0,
        image_size: int = 224, class_token: bool = True, dropout: float = 0.0, stochastic_depth: float = 0.0,
        remat: str = "none", mean=(127.5,) * 3, std=(127.5,) * 3, dtype=jnp.float32, rngs,
    ):  # fmt: skip
        self.patch, self.image_size, self.width, self.depth = patch, image_size, width, depth
        normal = nnx.initializers.truncated_normal(0.02)
        self.embed = Linear(patch * patch * 3, width, axes=(None, "embed"), dtype=dtype, rngs=rngs)
        self.position = nnx.Param(
            normal(rngs.params(), (*self.grid(image_size, image_size), width)), out_sharding=(None, None, "embed")
        )
        self.class_token = nnx.Param(normal(rngs.params(), (width,)), out_sharding=("embed",)) if class_token else None
        options = {"stochastic_depth": True, "dropout": dropout, "dtype": dtype}
        self.blocks = make_blocks("encoder", depth, width, heads, mlp_ratio, rngs=rngs, **options)
        self.norm = LayerNorm(width, dtype=dtype)
        self.rate, self.stochastic_depth, self.remat = dropout, stochastic_depth, remat
        self.mean, self.std, self.dtype = tuple(mean), tuple(std), dtype

    def _tokens(self, images: Real[Array, "b h w 3"]) -> Float[Array, "b n d"]:
        """Embeds the patches: a convolution of stride p, as a matrix product."""
        rows, columns = self.grid(*images.shape[1:3])
        x, p = normalize(images, self.mean, self.std, self.dtype), self.patch
        x = x.reshape(-1, rows, p, columns, p, 3).transpose(0, 1, 3, 2, 4, 5)
        x = self.embed(x.reshape(-1, p * p * 3)).reshape(-1, rows * columns, self.width)
        position = resize_positions(self.position[...], rows, columns)
        return x + position.reshape(-1, self.width).astype(self.dtype)

    def __call__(
        self, images: Real[Array, "b h w 3"], *, train: bool = False, key=None, return_attention: bool = False
    ) -> Float[Array, "b rows columns d"] | tuple[Float[Array, "b rows columns d"], SpaceTimeAttention]:
        """The grids of images in 0..255.

        With `return_attention` also a SpaceTimeAttention whose `space` is [layers, b, h, n, n]; a class token is the
        first of the n positions in both axes. `train` changes nothing here: dropout and stochastic depth come with a
        `key`.
        """
        embed_key, blocks_key = split(key, 2)
        x = self._tokens(images)
        if self.class_token is not None:
            class_token = jnp.broadcast_to(self.class_token[...].astype(self.dtype), (x.shape[0], 1, self.width))
            x = jnp.concatenate([class_token, x], axis=1)
        x = dropout(x, self.rate, embed_key)
        grid = self.grid(*images.shape[1:3])
        x, weights = self._apply_blocks(x, blocks_key, grid, return_attention=return_attention)
        if self.class_token is not None:
            x = x[:, 1:]
        x = self.norm(x)
        grids = x.reshape(x.shape[0], *grid, self.width)
        if not return_attention:
            return grids
        return grids, SpaceTimeAttention(space=weights["attention"], class_token=self.class_token is not None)
