"""ConvLSTM (Shi et al. 2015) over the feature grids of an encoder of images.

b: batch, t: frames, h w: rows and columns of a grid, c: channels of the state.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Real

from capjax.models.encoders.clip import Grids, SpaceTimeAttention, encode_frames
from capjax.models.encoders.parts import Conv, draw_kernels
from capjax.models.encoders.registry import ENCODERS
from capjax.models.encoders.tap import tap
from capjax.models.layers import dropout, split


class ConvLSTM(nnx.Module):
    """One layer: an LSTM whose products are convolutions, so that each grid cell has a state and sees its neighbors.

    Equation 3 of the paper without the terms W_c * C, which would tie the weights to one size of grid.
    """

    def __init__(self, c_in: int, c: int, size: int, *, dtype):
        self.input = Conv(c_in, 4 * c, size, bias=True, dtype=dtype)
        self.state = Conv(c, 4 * c, size, dtype=dtype)
        self.channels = c

    def __call__(self, x: Float[Array, "b t h w c_in"], mask: Bool[Array, "b t"]) -> Float[Array, "b t h w c"]:
        """The state after each frame. A padding frame leaves the state as it is."""
        b, t, *grid = x.shape[:4]
        # The contribution of the input to the gates, for all frames at once.
        from_input = self.input(x.reshape(b * t, *x.shape[2:])).reshape(b, t, *grid, -1)
        zero = jnp.zeros((b, *grid, self.channels), jnp.float32)

        def step(carry, frame):
            hidden, cell = carry
            from_input, real = frame
            gates = from_input.astype(jnp.float32) + self.state(hidden).astype(jnp.float32)
            i, f, g, o = jnp.split(gates, 4, axis=-1)
            # The forget gate starts open (Jozefowicz et al. 2015).
            new_cell = jax.nn.sigmoid(f + 1.0) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
            new_hidden = jax.nn.sigmoid(o) * jnp.tanh(new_cell)
            real = real[:, None, None, None]
            carry = jnp.where(real, new_hidden, hidden), jnp.where(real, new_cell, cell)
            return carry, carry[0]

        _, states = jax.lax.scan(step, (zero, zero), (from_input.swapaxes(0, 1), mask.T))
        return states.swapaxes(0, 1).astype(x.dtype)


@ENCODERS.register("convlstm")
class ConvLSTMEncoder(nnx.Module):
    """The grids are the states of the last layer, one for each frame.

    Args:
      frame_encoder, frame_options: name and options of the encoder of images below.
      channels: of the state of each layer.
      size: of the convolutions, odd.
      dropout: on the input of each layer.

    Raises:
      ValueError: an option has an impossible value; the message says which.
    """

    over_time, time_stride = True, 1

    def __init__(
        self, *, frame_encoder: str = "resnet10_slim", frame_options: Mapping | None = None, channels: int = 128,
        layers: int = 1, size: int = 3, dropout: float = 0.0, image_size: int = 64, dtype=jnp.float32, rngs,
    ):  # fmt: skip
        if layers < 1 or size % 2 == 0:
            raise ValueError(f"layers {layers}, size {size}: expected 1 or more layers, and an odd size")
        self.frame_encoder = ENCODERS.make(
            frame_encoder, image_size=image_size, dtype=dtype, rngs=rngs, **frame_options or {}
        )
        if getattr(self.frame_encoder, "over_time", False):
            raise ValueError(f"frame_encoder {frame_encoder!r} sees clips; expected an encoder of images")
        widths = [self.frame_encoder.width, *[channels] * layers]
        self.layers = nnx.List(
            [ConvLSTM(c_in, c, size, dtype=dtype) for c_in, c in zip(widths, widths[1:], strict=False)]
        )
        draw_kernels(self.layers, rngs)
        self.width, self.image_size, self.rate = channels, image_size, dropout
        self.attends = getattr(self.frame_encoder, "attends", False)
        self.strided = getattr(self.frame_encoder, "strided", ())

    def grid(self, h: int, w: int) -> tuple[int, int]:
        """(rows, columns) of the output for frames of h x w pixels."""
        return self.frame_encoder.grid(h, w)

    def __call__(
        self, frames: Real[Array, "b t h w 3"], times: Float[Array, "b t"] | None, mask: Bool[Array, "b t"], *,
        train: bool = False, key=None, return_attention: bool = False,
    ) -> Grids | tuple[Grids, SpaceTimeAttention | None]:  # fmt: skip
        """The grids of frames in 0..255. Times are not used.

        With `return_attention` also the attention of the encoder of images.
        """
        frame_key, *keys = split(key, 1 + len(self.layers))
        x, attention = encode_frames(
            self.frame_encoder, frames, train=train, key=frame_key, return_attention=return_attention
        )
        for number, (layer, layer_key) in enumerate(zip(self.layers, keys, strict=True)):
            x = tap(f"layers/{number}", layer(dropout(x, self.rate, layer_key), mask))
        return (x, attention) if return_attention else x
