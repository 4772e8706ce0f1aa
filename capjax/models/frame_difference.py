"""Changes between frames, which no single frame shows (RGB difference of Wang et al. 2016, at the level of features as
in TDN, Wang et al. 2021). b: batch, t: frames, n: positions of a frame, c: channels, d: width."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from capjax.models.encoders.clip import differences
from capjax.models.layers import Linear, gelu


class FrameDifference(nnx.Module):
    """Encodes differences to the previous and the next frame together with the features at the same position.

    If nothing changes the output does not depend on the features, so that motion is distinguished from rest from the
    start: a transformer needs long to learn that from the frames alone.
    """

    def __init__(self, channels: int, width: int, *, dtype, rngs):
        self.change = Linear(2 * channels, 2 * channels, axes=(None, None), dtype=dtype, rngs=rngs)
        self.appearance = Linear(channels, channels, axes=(None, None), dtype=dtype, rngs=rngs)
        self.position_out = Linear(2 * channels, width, axes=(None, "embed"), dtype=dtype, rngs=rngs)
        # Not small beside the sinusoid of the time, which is added to all positions too.
        normal = nnx.initializers.normal(0.5)
        self.frame_out = Linear(2 * channels, width, axes=(None, "embed"), init=normal, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b t n c"], mask: Bool[Array, "b t"]) -> Float[Array, "b t n d"]:
        """Differences to padding frames are 0."""
        change, gate = jnp.split(gelu(self.change(differences(x, mask))), 2, axis=-1)
        hidden = jnp.concatenate([change, gate * self.appearance(x)], axis=-1)
        # Not the mean: few positions change at a time, and the others would hide them.
        total = hidden.sum(2, keepdims=True) * x.shape[2] ** -0.5
        return self.position_out(hidden) + self.frame_out(total)


class FrameSimilarity(nnx.Module):
    """Encodes how similar each frame is to the frames around it, so that cuts are recognized in videos unlike those of
    training (frame similarities of TransNet V2, Souček & Lokoč 2020, without their projection).

    Args:
      reach: number of frames before and after that each is compared with.
    """

    def __init__(self, reach: int, width: int, *, dtype, rngs):
        self.hidden = Linear(2 * reach, width, axes=(None, None), dtype=dtype, rngs=rngs)
        # Not small beside the sinusoid of the time.
        normal = nnx.initializers.normal(0.5)
        self.out = Linear(width, width, axes=(None, "embed"), init=normal, dtype=dtype, rngs=rngs)
        self.reach = reach

    def __call__(self, x: Float[Array, "b t n c"], mask: Bool[Array, "b t"]) -> Float[Array, "b t d"]:
        distances = cosine_distances(x.astype(jnp.float32).mean(2), mask, self.reach)
        return self.out(gelu(self.hidden(distances)))


def cosine_distances(x: Float[Array, "b t c"], mask: Bool[Array, "b t"], reach: int) -> Float[Array, "b t 2*{reach}"]:
    """1 - the cosine of each frame to the `reach` frames before and after it, nearest first, previous before next.

    The distance to padding, and beyond both ends, is 1: a video begins and ends as a shot does.
    """
    x = jnp.where(mask[..., None], x, 0.0)
    x = x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-6)
    t = x.shape[1]

    def cosine_to(shift: int) -> Float[Array, "b t"]:
        """Of each frame to the frame `shift` later."""
        cosine = (x[:, : max(t - shift, 0)] * x[:, shift:]).sum(-1)
        return jnp.pad(cosine, ((0, 0), (0, t - cosine.shape[1])))

    later = [cosine_to(shift) for shift in range(1, reach + 1)]
    earlier = [jnp.roll(cosine, shift, axis=1) for shift, cosine in enumerate(later, 1)]
    return 1.0 - jnp.stack([cosine for pair in zip(earlier, later, strict=True) for cosine in pair], axis=-1)
