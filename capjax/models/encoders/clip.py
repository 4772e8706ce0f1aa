"""Clips: what encoders over space and time share, and the one way to call an encoder of either kind.

b: batch, t: frames, t': groups of `time_stride` frames, of which each gives one feature grid, n: places of a grid.
"""

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class SpaceTimeAttention:
    """What each position, a place in a frame or in a group of frames, attends to; weights sum to 1 over the last axis.

    Attributes:
      time: float32 [layers, b, heads, t, n, t], over moments, or None. Where a position attends to all places of all
        moments at once, the sum over the places.
      space: float32 [layers, b, heads, t, n, n], over places: those of the same moment, or the sum over all moments;
        None where no attention is over places.
    """

    time: jax.Array | None = None
    space: jax.Array | None = None

    @classmethod
    def of_joint(cls, weights: jax.Array, t: int) -> "SpaceTimeAttention":
        """Of weights [layers, b, heads, t * n, t * n] over places and moments at once."""
        n = weights.shape[-1] // t
        weights = weights.reshape(*weights.shape[:3], t, n, t, n)
        return cls(time=weights.sum(-1), space=weights.sum(-2))


def over_time(encoder) -> bool:
    """Whether an encoder sees a clip, not one image at a time."""
    return getattr(encoder, "over_time", False)


def time_stride(encoder) -> int:
    """Frames that give one feature grid."""
    return encoder.time_stride if over_time(encoder) else 1


def groups(x: jax.Array, stride: int) -> jax.Array:
    """[b, t, ...] -> [b, t', stride, ...], filled up with zeros."""
    b, t = x.shape[:2]
    x = jnp.pad(x, ((0, 0), (0, -t % stride), *((0, 0) for _ in x.shape[2:])))
    return x.reshape(b, -1, stride, *x.shape[2:])


def group_times(times: jax.Array, mask: jax.Array, stride: int) -> tuple[jax.Array, jax.Array]:
    """Times float32 [b, t] (s) and mask bool [b, t] of frames -> those of their groups, [b, t'].

    A group's time is the mean of its real frames'; it is real if one of its frames is.
    """
    if stride == 1:
        return times, mask
    real = groups(mask, stride)
    count = jnp.maximum(real.sum(-1), 1)
    return (groups(times, stride) * real).sum(-1) / count, real.any(-1)


def differences(x: jax.Array, mask: jax.Array) -> jax.Array:
    """x [b, t, ..., c], mask bool [b, t] -> [b, t, ..., 2 c]: what has changed since the frame before, and what will
    have until the frame after; a frame that is not there differs in nothing."""
    both = (mask[:, 1:] & mask[:, :-1]).reshape(mask.shape[0], -1, *(1,) * (x.ndim - 2))
    step = jnp.where(both, x[:, 1:] - x[:, :-1], 0.0)
    none = jnp.zeros_like(x[:, :1])
    return jnp.concatenate([jnp.concatenate([none, step], 1), jnp.concatenate([step, none], 1)], axis=-1)


def encode_clip(encoder, frames, times, mask, *, train: bool = False, key=None, return_attention: bool = False):
    """Any encoder on clips: frames [b, t, h, w, 3], times float32 [b, t] (s), mask bool [b, t] -> features
    [b, t', n, width], their times and their mask [b, t'], and a SpaceTimeAttention where the encoder attends over time
    and it is asked for, else None."""
    b, t = frames.shape[:2]
    attention = None
    if return_attention and getattr(encoder, "attends", False):
        grid, attention = encoder(frames, times, mask, train=train, key=key, return_attention=True)
    elif over_time(encoder):
        grid = encoder(frames, times, mask, train=train, key=key)
    else:
        grid = encoder(frames.reshape(b * t, *frames.shape[2:]), train=train, key=key)
    times, mask = group_times(times, mask, time_stride(encoder))
    return grid.reshape(b, times.shape[1], -1, grid.shape[-1]), times, mask, attention
