"""The connector between an encoder and the decoder. b: batch, t: frames, n: positions of a frame, c: channels of the
features, d: width."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from capjax.models.frame_difference import FrameDifference, FrameSimilarity
from capjax.models.layers import TIME_SCALE, LayerNorm, Linear, dropout, sinusoid, split
from capjax.models.memory import Memory, Segment
from capjax.registry import Registry

# Connectors by name. All are created with the arguments of `Connector` except `frame_difference` and
# `frame_similarity`, which are given only where a config sets them, and with `model.connector.options`.
CONNECTORS = Registry("connector")

# Radians of the fastest sinusoid over a whole video.
RELATIVE_TIME_SCALE = 100.0


@CONNECTORS.register("linear")
class Connector(nnx.Module):
    """Projects the feature grids of t frames to a memory of width d.

    Learned embeddings of rows and columns and the sinusoid of the time are added.

    Args:
      channels: c.
      grid: (rows, columns) of the features of one frame.
      modality: name of the encoder, for the memory.
      rate: dropout on the memory.
      feature_dropout: dropout on the normalized features, before the projection.
      relative: half of the time's channels encode the time as a share of the duration.
      resizable: images are square, and images of another size give another square grid, for which the embeddings of
        rows and columns are interpolated linearly. Otherwise another grid is an error.
      frame_difference: adds the differences to the frames before and after (see FrameDifference).
      frame_similarity: number of frames before and after whose similarity to each frame is added (see FrameSimilarity).
    """

    def __init__(
        self, channels: int, width: int, grid: tuple[int, int], *, modality: str = "vision", rate: float = 0.0,
        feature_dropout: float = 0.0, relative: bool = False, resizable: bool = False, frame_difference: bool = False,
        frame_similarity: int = 0, dtype=jnp.float32, rngs,
    ):  # fmt: skip
        rows, columns = grid
        normal = nnx.initializers.normal(0.5)
        options = {"dtype": dtype, "rngs": rngs}
        self.norm = LayerNorm(channels, dtype=dtype)
        self.project = Linear(channels, width, axes=(None, "embed"), **options)
        self.out_norm = LayerNorm(width, dtype=dtype)
        self.frame_difference = FrameDifference(channels, width, **options) if frame_difference else None
        self.frame_similarity = FrameSimilarity(frame_similarity, width, **options) if frame_similarity else None
        # Not small beside the normalized features: words such as "left of" are learned from these embeddings.
        self.row = nnx.Param(normal(rngs.params(), (rows, width)), out_sharding=(None, "embed"))
        self.column = nnx.Param(normal(rngs.params(), (columns, width)), out_sharding=(None, "embed"))
        self.grid, self.modality, self.dtype = (rows, columns), modality, dtype
        self.rate, self.feature_dropout = rate, feature_dropout
        self.relative, self.resizable = relative, resizable

    def __call__(
        self, features: Float[Array, "b t n c"], times: Float[Array, "b t"], mask: Bool[Array, "b t"], key=None, *,
        duration: Float[Array, " b"] | None = None,
    ) -> Memory:  # fmt: skip
        """Returns a memory of t * n positions. Times and, if `relative`, the duration are in seconds.

        Raises:
          ValueError: n positions do not form the grid of the connector.
        """
        b, t, n, channels = features.shape
        rows, columns = self._grid_of(n)
        feature_key, out_key = split(key, 2)
        normal = self.norm(features.reshape(b * t * n, channels))
        x = dropout(normal, self.feature_dropout, feature_key)
        x = self.out_norm(self.project(x)).reshape(b, t, n, -1)
        if self.frame_difference is not None:
            x = x + self.frame_difference(normal.reshape(b, t, n, channels), mask)
        if self.frame_similarity is not None:
            x = x + self.frame_similarity(normal.reshape(b, t, n, channels), mask)[:, :, None]
        cell = (_resize(self.row[...], rows)[:, None] + _resize(self.column[...], columns)[None]).reshape(n, -1)
        x = x + cell.astype(x.dtype) + self.time_embedding(times, duration, x.shape[-1])[:, :, None].astype(x.dtype)
        frame, position = jnp.divmod(jnp.arange(t * n), n)
        return Memory(
            x=dropout(x.reshape(b, t * n, -1), self.rate, out_key),
            mask=jnp.repeat(mask, n, axis=1),
            time=jnp.repeat(times, n, axis=1),
            grid_index=jnp.stack([frame, position // columns, position % columns], axis=-1),
            segments=(Segment(self.modality, t, n),),
        )

    def _grid_of(self, n: int) -> tuple[int, int]:
        """(rows, columns) of n positions."""
        rows, columns = self.grid
        if n == rows * columns:
            return rows, columns
        side = math.isqrt(n)
        if not self.resizable or rows != columns or side * side != n:
            raise ValueError(f"the model was made for a feature grid of {rows} x {columns}, not for {n} positions")
        return side, side

    def time_embedding(
        self, times: Float[Array, "b t"], duration: Float[Array, " b"] | None, d: int
    ) -> Float[Array, "b t {d}"]:
        """The sinusoid of the time in seconds and, if `relative`, of its share of the duration."""
        if not self.relative:
            return sinusoid(times * TIME_SCALE, d)
        assert duration is not None  # `dense` models have it in every batch
        shares = sinusoid(times / duration[:, None] * RELATIVE_TIME_SCALE, d - d // 2)
        return jnp.concatenate([sinusoid(times * TIME_SCALE, d // 2), shares], axis=-1)


def time_token_embeddings(count: int, d: int) -> Float[Array, "{count} {d}"]:
    """Embeddings of length 1 for the tokens of evenly spaced times.

    They lie in the channels that encode the share of the duration in the memory of a `relative` connector.
    """
    shares = sinusoid(jnp.linspace(0.0, 1.0, count) * RELATIVE_TIME_SCALE, d - d // 2)
    embeddings = jnp.concatenate([jnp.zeros((count, d // 2)), shares], axis=-1)
    return embeddings / jnp.linalg.norm(embeddings, axis=-1, keepdims=True)


def _resize(embedding: Float[Array, "rows d"], count: int) -> Float[Array, "{count} d"]:
    """Embeddings of `count` evenly spaced rows or columns over the same extent."""
    if len(embedding) == count:
        return embedding
    return jax.image.resize(embedding, (count, embedding.shape[1]), "linear", antialias=False)
