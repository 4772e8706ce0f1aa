"""What changes from frame to frame, which no frame shows by itself (RGB difference of Wang et al. 2016, at the level of
features as in Wang et al. 2021, TDN)."""

import jax
import jax.numpy as jnp
from flax import nnx

from capjax.models.encoders.clip import differences
from capjax.models.layers import Linear, gelu


class FrameDifference(nnx.Module):
    """Differences to the frame before and to the frame after, and what is seen where they are: place by place, and
    together.

    Where nothing changes the output is the same whatever is seen there, so that motion is told from rest, and what
    moves from what rests, at once: a transformer needs long to learn as much from the frames alone.
    """

    def __init__(self, channels: int, width: int, *, dtype, rngs):
        self.change = Linear(2 * channels, 2 * channels, axes=(None, None), dtype=dtype, rngs=rngs)
        self.seen = Linear(channels, channels, axes=(None, None), dtype=dtype, rngs=rngs)
        self.here = Linear(2 * channels, width, axes=(None, "embed"), dtype=dtype, rngs=rngs)
        # Not small beside the sinusoid of the time, which is in all places too.
        normal = nnx.initializers.normal(0.5)
        self.anywhere = Linear(2 * channels, width, axes=(None, "embed"), init=normal, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """x [b, t, n, channels], mask bool [b, t] -> [b, t, n, width]; a frame that is not there differs in nothing."""
        change, gate = jnp.split(gelu(self.change(differences(x, mask))), 2, axis=-1)
        known = jnp.concatenate([change, gate * self.seen(x)], axis=-1)
        # Few places change at a time: their mean would be lost beside what does not.
        together = known.sum(2, keepdims=True) * x.shape[2] ** -0.5
        return self.here(known) + self.anywhere(together)


class FrameSimilarity(nnx.Module):
    """How unlike each frame is to those around it, whatever they show: so that cuts are known in videos of which
    nothing was seen in training (the frame similarities of Souček & Lokoč 2020, TransNet V2, without their projection).

    Args:
      reach: r, frames before and after that each is compared with.
    """

    def __init__(self, reach: int, width: int, *, dtype, rngs):
        self.weigh = Linear(2 * reach, width, axes=(None, None), dtype=dtype, rngs=rngs)
        # Not small beside the sinusoid of the time.
        normal = nnx.initializers.normal(0.5)
        self.tell = Linear(width, width, axes=(None, "embed"), init=normal, dtype=dtype, rngs=rngs)
        self.reach = reach

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """x [b, t, n, channels], mask bool [b, t] -> [b, t, width]."""
        return self.tell(gelu(self.weigh(unlikeness(x.astype(jnp.float32).mean(2), mask, self.reach))))


def unlikeness(x: jax.Array, mask: jax.Array, reach: int) -> jax.Array:
    """1 - the cosine of x [b, t, c] to each of the `reach` moments before and after: float32 [b, t, 2 * reach], nearest
    first. Mask bool [b, t]; what is not there is wholly unlike, so that a video begins and ends as a shot does."""
    x = jnp.where(mask[..., None], x, 0.0)
    x = x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-6)
    t = x.shape[1]

    def to(shift: int) -> jax.Array:
        """[b, t], of each moment to that `shift` later."""
        alike = (x[:, : max(t - shift, 0)] * x[:, shift:]).sum(-1)
        return jnp.pad(alike, ((0, 0), (0, t - alike.shape[1])))

    later = [to(shift) for shift in range(1, reach + 1)]
    earlier = [jnp.roll(alike, shift, axis=1) for shift, alike in enumerate(later, 1)]
    return 1.0 - jnp.stack([one for pair in zip(earlier, later, strict=True) for one in pair], axis=-1)
