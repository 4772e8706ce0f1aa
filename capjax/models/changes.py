"""What changes from frame to frame, which no frame shows by itself (RGB difference of Wang et al. 2016, at the level of
features as in Wang et al. 2021, TDN)."""

import jax
import jax.numpy as jnp
from flax import nnx

from capjax.models.encoders.clip import differences
from capjax.models.layers import Linear, gelu


class FrameChanges(nnx.Module):
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
