"""ConvLSTM: equal to a plain loop, and deaf to frames that are none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from capjax.models.encoders import ENCODERS
from capjax.models.encoders.convlstm import ConvLSTM
from capjax.models.encoders.parts import draw_kernels
from tests.helpers.torch_models import torch_models

pytestmark = pytest.mark.usefixtures("quick_compilation")
SMALL = {"frame_options": {"channels": 4, "depths": (1,)}, "channels": 6, "layers": 2, "image_size": 8}


@nnx.jit
def run(encoder, frames, mask):
    return encoder(frames, jnp.zeros(mask.shape), mask)


def test_a_layer_equals_torchs_convolutions_in_a_plain_loop():
    torch, *_ = torch_models()
    rng = np.random.default_rng(0)
    layer = ConvLSTM(3, 5, 3, dtype=jnp.float32)
    draw_kernels(layer, nnx.Rngs(0))
    layer.input.bias[...] = jnp.asarray(rng.normal(size=20), jnp.float32)
    x, mask = rng.normal(size=(2, 4, 6, 7, 3)).astype(np.float32), np.ones((2, 4), bool)
    mask[1, 2:] = False

    def kernel(conv):
        return torch.tensor(np.asarray(conv.kernel[...])).permute(3, 2, 0, 1)

    bias = torch.tensor(np.asarray(layer.input.bias[...]))
    hidden = cell = torch.zeros(2, 5, 6, 7)
    for i in range(4):
        gates = torch.nn.functional.conv2d(
            torch.tensor(x[:, i]).permute(0, 3, 1, 2), kernel(layer.input), bias, padding=1
        )
        gates = gates + torch.nn.functional.conv2d(hidden, kernel(layer.state), padding=1)
        enter, forget, new, leave = gates.split(5, dim=1)
        kept = torch.sigmoid(forget + 1) * cell + torch.sigmoid(enter) * torch.tanh(new)
        shown = torch.sigmoid(leave) * torch.tanh(kept)
        real = torch.tensor(mask[:, i]).reshape(2, 1, 1, 1)
        hidden, cell = torch.where(real, shown, hidden), torch.where(real, kept, cell)
        ours = layer(jnp.asarray(x), jnp.asarray(mask))[:, i]
        np.testing.assert_allclose(ours, hidden.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-5)


def test_a_frame_that_is_none_leaves_the_state_and_a_real_one_moves_all_that_follow():
    encoder = ENCODERS.make("convlstm", rngs=nnx.Rngs(0), **SMALL)
    frames = np.random.default_rng(0).integers(0, 256, (1, 5, 8, 8, 3)).astype(np.uint8)
    mask = np.array([[True, True, False, True, True]])
    states = np.asarray(run(encoder, frames, mask))
    assert states.shape == (1, 5, *encoder.grid(8, 8), 6)
    np.testing.assert_array_equal(states[0, 2], states[0, 1])
    other = frames.copy()
    other[0, 2] = 255 - other[0, 2]
    np.testing.assert_array_equal(run(encoder, other, mask), states)
    without = np.delete(frames, 2, axis=1)
    np.testing.assert_allclose(run(encoder, without, np.ones((1, 4), bool))[0, 2:], states[0, 3:], rtol=1e-5, atol=1e-6)
    other[0, 1] = 255 - other[0, 1]
    moved = np.abs(run(encoder, other, mask) - states).max((0, 2, 3, 4))
    assert moved[0] == 0 and (moved[1:] > 1e-4).all()


def test_every_parameter_learns():
    encoder = ENCODERS.make("convlstm", rngs=nnx.Rngs(0), **SMALL)
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8, 3)).astype(np.uint8)

    @nnx.jit
    def gradient(encoder):
        target = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 6))
        mask = jnp.ones((2, 3), bool)
        return nnx.grad(lambda encoder: (encoder(frames, None, mask, train=True) * target).mean())(encoder)

    dead = {path for path, leaf in nnx.to_flat_state(gradient(encoder)) if not np.any(leaf[...])}
    assert all("convs" in path for path in dead)  # before the last norm of a ResNet's block, which begins at zero


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, "expected 1 or more layers"),
        ({"size": 2}, "an odd size"),
        ({"frame_encoder": "i3d_slim", "frame_options": {}}, "'i3d_slim' sees clips; expected an encoder of images"),
    ],
)
def test_an_encoder_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        nnx.eval_shape(lambda: ENCODERS.make("convlstm", rngs=nnx.Rngs(0), **SMALL | options))
