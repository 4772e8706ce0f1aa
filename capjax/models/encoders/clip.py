"""Clips: operations that encoders over space and time share, and the one function that calls an encoder of either kind.

b: batch, t: frames, groups: of `time_stride` frames, with one feature grid each, n: positions of a grid, h: heads.
"""

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Real, Shaped

# Feature grids of clips, as encoders over time return them.
Grids = Float[Array, "b groups rows columns d"]


@struct.dataclass
class SpaceTimeAttention:
    """Attention of an encoder, from each position of each frame, or group of frames, t. Weights sum to 1 over the last
    axis.

    Attributes:
      time: over frames, in float32, or None without attention over time. With joint attention over all positions of
        all frames, the sum over positions.
      space: over positions of the same frame, in float32, or None without attention over space. With joint attention,
        the sum over frames.
      class_token: whether the first of the n positions is a class token, which lies in no grid cell.
    """

    time: Float[Array, "layers b h t n t"] | None = None
    space: Float[Array, "layers b h t n n"] | None = None
    class_token: bool = struct.field(pytree_node=False, default=False)

    @classmethod
    def of_joint(cls, weights: Float[Array, "layers b h tn tn"], t: int) -> "SpaceTimeAttention":
        """From joint attention over all t * n positions of all frames."""
        n = weights.shape[-1] // t
        weights = weights.reshape(*weights.shape[:3], t, n, t, n)
        return cls(time=weights.sum(-1), space=weights.sum(-2))


def over_time(encoder) -> bool:
    """Whether an encoder sees a clip rather than one image at a time."""
    return getattr(encoder, "over_time", False)


def time_stride(encoder) -> int:
    """Number of frames that give one feature grid."""
    return encoder.time_stride if over_time(encoder) else 1


def group_frames(x: Shaped[Array, "b t ..."], stride: int) -> Shaped[Array, "b groups {stride} ..."]:
    """Groups of `stride` frames; the last group is padded with zeros."""
    b, t = x.shape[:2]
    x = jnp.pad(x, ((0, 0), (0, -t % stride), *((0, 0) for _ in x.shape[2:])))
    return x.reshape(b, -1, stride, *x.shape[2:])


def group_times(
    times: Float[Array, "b t"], mask: Bool[Array, "b t"], stride: int
) -> tuple[Float[Array, "b groups"], Bool[Array, "b groups"]]:
    """Times in seconds and mask of groups of frames.

    The time of a group is the mean over its real frames; a group is real if one of its frames is.
    """
    if stride == 1:
        return times, mask
    real = group_frames(mask, stride)
    count = jnp.maximum(real.sum(-1), 1)
    return (group_frames(times, stride) * real).sum(-1) / count, real.any(-1)


def differences(x: Float[Array, "b t ... c"], mask: Bool[Array, "b t"]) -> Float[Array, "b t ... 2*c"]:
    """Differences to the previous frame and of the next frame, as further channels. Those with padding are 0."""
    both_real = (mask[:, 1:] & mask[:, :-1]).reshape(mask.shape[0], -1, *(1,) * (x.ndim - 2))
    step = jnp.where(both_real, x[:, 1:] - x[:, :-1], 0.0)
    zero = jnp.zeros_like(x[:, :1])
    return jnp.concatenate([jnp.concatenate([zero, step], 1), jnp.concatenate([step, zero], 1)], axis=-1)


def _call(encoder, *inputs, return_attention: bool, **options):
    """(output of an encoder, its attention, or None unless it is requested and the encoder has attention)."""
    if return_attention and getattr(encoder, "attends", False):
        return encoder(*inputs, return_attention=True, **options)
    return encoder(*inputs, **options), None


def encode_frames(
    encoder, frames: Real[Array, "b t h w 3"], *, return_attention: bool = False, **options
) -> tuple[Float[Array, "b t rows columns d"], SpaceTimeAttention | None]:
    """Calls an encoder of images on each frame. Options are `train` and `key`.

    Returns:
      The grids, and the attention if it is requested and the encoder has attention, else None.
    """
    b, t = frames.shape[:2]
    images = frames.reshape(b * t, *frames.shape[2:])
    grids, attention = _call(encoder, images, return_attention=return_attention, **options)
    if attention is not None:
        layers, _, h, n, _ = attention.space.shape
        attention = attention.replace(space=attention.space.reshape(layers, b, t, h, n, n).swapaxes(2, 3))
    return grids.reshape(b, t, *grids.shape[1:]), attention


def encode_clip(
    encoder, frames: Real[Array, "b t ..."], times: Float[Array, "b t"], mask: Bool[Array, "b t"], *,
    train: bool = False, key=None, return_attention: bool = False,
) -> tuple[
    Float[Array, "b groups n d"], Float[Array, "b groups"], Bool[Array, "b groups"], SpaceTimeAttention | None
]:  # fmt: skip
    """Calls any encoder on clips.

    Args:
      frames: [b, t, h, w, 3], or as the encoder reads them; times: in seconds.

    Returns:
      The features, their times and their mask, and the attention if it is requested and the encoder has attention, else
      None.
    """
    options = {"train": train, "key": key, "return_attention": return_attention}
    if over_time(encoder):
        grids, attention = _call(encoder, frames, times, mask, **options)
    else:
        grids, attention = encode_frames(encoder, frames, **options)
    times, mask = group_times(times, mask, time_stride(encoder))
    return grids.reshape(*times.shape, -1, grids.shape[-1]), times, mask, attention
