"""Video transformer: tubelets (ViViT, Arnab et al. 2021) under attention over time and space.

b: batch, t: frames, groups: tubelets in sequence, n: positions of a frame, p: patch, d: width, h w: height and width.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Real

from capjax.models.encoders.clip import Grids, SpaceTimeAttention, group_frames, group_times
from capjax.models.encoders.parts import normalize
from capjax.models.encoders.registry import ENCODERS
from capjax.models.encoders.vit import PatchEncoder, resize_positions
from capjax.models.layers import TIME_SCALE, LayerNorm, Linear, dropout, sinusoid, split
from capjax.models.transformer_block import make_blocks


def _block_keys(key: jax.Array | None, divided: bool) -> list:
    """The keys of a block in the order of their use, see TransformerBlock. The pair of each branch is split from one
    key, and joint attention leaves out the first, as in all runs trained so far."""
    time, space, hidden, mlp, _ = split(key, 5)
    return [*(split(time, 2) if divided else []), *split(space, 2), hidden, *split(mlp, 2)]


@ENCODERS.register("video_vit_tiny", width=128, depth=4, heads=4, patch=8, image_size=64)
@ENCODERS.register("video_vit", width=768, depth=12, heads=12)
class VideoViT(PatchEncoder):
    """The grids hold the normed tokens of the last layer.

    The position of a token is encoded by learned rows and columns, and by the sinusoid of its time in seconds, so that
    clips of any frame rate can be mixed. Padding frames are not attended to.

    Args:
      width: d.
      patch: p, pixels per side of a patch.
      tubelet: frames of a token. Frames missing from the last tubelet are zero.
      attention: `divided`: over time (the same position at all times), then over space (all positions at the same
        time); `joint`: over all positions at all times.
      image_size: pixels per side for which the position embeddings are made; they are interpolated for other sizes.
      dropout: on embeddings, on each residual branch and inside the MLP.
      stochastic_depth: rate of the last block; it grows linearly from 0 at the first.
      remat: what the backward pass recomputes of each layer instead of keeping it: none, light or full (see
        capjax.models.stacked.REMAT).
      mean, std: of the RGB values, in 0..255.

    Raises:
      ValueError: an option has an impossible value; the message says which.
    """

    over_time = True

    def __init__(
        self, *, width: int, depth: int, heads: int, patch: int = 16, tubelet: int = 2, attention: str = "divided",
        mlp_ratio: float = 4.0, image_size: int = 224, dropout: float = 0.0, stochastic_depth: float = 0.0,
        remat: str = "none", mean=(127.5,) * 3, std=(127.5,) * 3, dtype=jnp.float32, rngs,
    ):  # fmt: skip
        if attention not in ("divided", "joint"):
            raise ValueError(f"attention {attention!r}: expected 'divided' or 'joint'")
        if tubelet < 1:
            raise ValueError(f"tubelet {tubelet}: expected 1 frame or more")
        self.patch, self.image_size, self.width, self.depth, self.time_stride = patch, image_size, width, depth, tubelet
        normal = nnx.initializers.truncated_normal(0.02)
        self.embed = Linear(tubelet * patch * patch * 3, width, axes=(None, "embed"), dtype=dtype, rngs=rngs)
        self.position = nnx.Param(
            normal(rngs.params(), (*self.grid(image_size, image_size), width)), out_sharding=(None, None, "embed")
        )
        self.divided = attention == "divided"
        options = {"time": self.divided, "stochastic_depth": True, "dropout": dropout, "dtype": dtype}
        self.blocks = make_blocks("encoder", depth, width, heads, mlp_ratio, rngs=rngs, **options)
        self.norm = LayerNorm(width, dtype=dtype)
        self.rate, self.stochastic_depth, self.remat = dropout, stochastic_depth, remat
        self.mean, self.std, self.dtype = tuple(mean), tuple(std), dtype

    def _tokens(
        self, frames: Real[Array, "b t h w 3"], times: Float[Array, "b groups"], mask: Bool[Array, "b t"]
    ) -> Float[Array, "b groups n d"]:
        """Embeds the tubelets; `times` are those of the tubelets, `mask` is of the frames."""
        x = normalize(frames, self.mean, self.std, self.dtype, axes="b t h w")
        b, p, (rows, columns) = len(frames), self.patch, self.grid(*frames.shape[2:4])
        x = group_frames(jnp.where(mask[:, :, None, None, None], x, 0), self.time_stride)
        x = x.reshape(b, -1, self.time_stride, rows, p, columns, p, 3).transpose(0, 1, 3, 5, 2, 4, 6, 7)
        x = self.embed(x.reshape(b, -1, rows * columns, self.time_stride * p * p * 3))
        position = resize_positions(self.position[...], rows, columns).reshape(-1, self.width)
        return x + (position + sinusoid(times * TIME_SCALE, self.width)[:, :, None]).astype(self.dtype)

    def __call__(
        self, frames: Real[Array, "b t h w 3"], times: Float[Array, "b t"], mask: Bool[Array, "b t"], *,
        train: bool = False, key=None, return_attention: bool = False,
    ) -> Grids | tuple[Grids, SpaceTimeAttention]:  # fmt: skip
        """The grids of frames in 0..255, whose times are in seconds.

        With `return_attention` also a SpaceTimeAttention. `train` changes nothing here: dropout and stochastic depth
        come with a `key`.
        """
        embed_key, blocks_key = split(key, 2)
        times, real = group_times(times, mask, self.time_stride)
        x = dropout(self._tokens(frames, times, mask), self.rate, embed_key)
        if not self.divided:
            real = jnp.repeat(real, x.shape[2], axis=1)
        grid = self.grid(*frames.shape[2:4])
        x, weights = self._apply_blocks(
            x, blocks_key, grid, split_key=partial(_block_keys, divided=self.divided), mask=real,
            return_attention=return_attention,
        )  # fmt: skip
        grids = self.norm(x).reshape(*x.shape[:2], *grid, self.width)
        if not return_attention:
            return grids
        if self.divided:
            return grids, SpaceTimeAttention(weights["time_attention"], weights["attention"])
        return grids, SpaceTimeAttention.of_joint(weights["attention"], x.shape[1])
