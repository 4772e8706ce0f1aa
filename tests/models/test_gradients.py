"""Hand-written gradients against those that JAX derives, and forward mode over a whole captioner."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from capjax.models.captioner import Captioner
from capjax.models.gradients import by_platform, plain_gradients
from capjax.models.pure_model import PureModel
from tests.helpers.drawn_models import draw_params, vision

pytestmark = pytest.mark.usefixtures("quick_compilation")
B, T, L, V = 2, 2, 5, 7
# Between them these have every operation with a gradient of its own.
MODELS = {
    "transformers": {
        "encoders": vision({"name": "vit_tiny", "width": 16, "depth": 1, "heads": 2}),
        "temporal": {"name": "transformer", "layers": 1, "heads": 2, "mixers": 1},
        "decoder": {"name": "transformer", "layers": 1, "heads": 2, "remat": "light"},
    },
    "convolutions": {
        "encoders": vision({"name": "efficientnet_lite0", "stages": ((1, 3, 1, 8, 1), (2, 3, 2, 8, 1))}),
        "decoder": {"name": "lstm"},
    },
    "convolutions over time": {
        "encoders": vision(
            {"name": "i3d_slim", "multiplier": 0.0625, "depths": (0, 0, 0), "time_strides": (2, 1, 1, 1, 1)}
        ),
        "decoder": {"name": "gru"},
    },
}


def test_a_function_by_platform_has_the_gradient_of_the_way_that_is_taken():
    function = by_platform(lambda x, y: (x * y).sum(), lambda x, y: (x - y).sum())
    x, y = jnp.arange(1.0, 4.0), jnp.arange(2.0, 5.0)
    value, gradients = jax.jit(jax.value_and_grad(function, (0, 1)))(x, y)
    np.testing.assert_allclose(value, (x * y).sum(), rtol=1e-6)
    np.testing.assert_allclose(gradients, (y, x), rtol=1e-6)
    elsewhere = jax.export.export(jax.jit(jax.grad(function)), platforms=["tpu"])(x, y).mlir_module()
    assert "stablehlo.multiply" not in elsewhere


def loss_of(options):
    """(loss of parameters and pixels, parameters, float pixels) of a captioner."""
    pure_model = PureModel.of(
        lambda key: Captioner(vocab=V, width=16, max_len=L, image_size=16, rngs=nnx.Rngs(key), **options)
    )
    rng = np.random.default_rng(0)
    batch = {
        "frame_times": np.tile(np.arange(T, dtype=np.float32), (B, 1)),
        "frame_mask": np.ones((B, T), bool),
        "target": rng.integers(0, V, (B, L)).astype(np.int32),
    }
    batch_stats = {
        name: jnp.full(spec.shape, 0.0 if name.endswith("mean") else 1.0)
        for name, spec in pure_model.batch_stat_shapes.items()
    }

    def loss(params, frames):
        logits = pure_model.bind(params, batch_stats)(batch | {"frames": frames}).logits
        return -jax.nn.log_softmax(logits)[..., 1].mean()

    frames = rng.uniform(0, 255, (B, T, 16, 16, 3)).astype(np.float32)
    return loss, draw_params(pure_model), frames


@pytest.mark.parametrize("name", MODELS)
def test_both_gradients_agree_and_forward_mode_agrees_with_reverse_mode(name):
    loss, params, frames = loss_of(MODELS[name])
    rng = np.random.default_rng(1)
    direction = {name: jnp.asarray(rng.normal(size=value.shape), jnp.float32) for name, value in params.items()}
    by_hand = jax.jit(jax.grad(loss))(params, frames)

    def derived(params, frames):
        """(gradient, derivative along the direction, Hessian times the direction) without hand-written gradients."""
        slope = jax.jvp(lambda params: loss(params, frames), (params,), (direction,))[1]
        gradient, curvature = jax.jvp(lambda params: jax.grad(loss)(params, frames), (params,), (direction,))
        return gradient, slope, curvature

    with plain_gradients():
        gradient, slope, curvature = jax.jit(derived)(params, frames)
    for name, value in by_hand.items():
        np.testing.assert_allclose(value, gradient[name], atol=2e-5, rtol=2e-4, err_msg=name)
    dot = sum(float((by_hand[name] * direction[name]).sum()) for name in params)
    assert float(slope) == pytest.approx(dot, rel=1e-3, abs=1e-4)
    assert all(np.isfinite(value).all() for value in curvature.values())


def test_second_derivatives_are_the_changes_of_the_gradient():
    loss, params, frames = loss_of(MODELS["transformers"])  # which are smooth, unlike ReLU and max pooling
    rng = np.random.default_rng(1)
    direction = {name: jnp.asarray(rng.normal(size=value.shape), jnp.float32) for name, value in params.items()}
    gradient = jax.grad(lambda params: loss(params, frames))
    with plain_gradients():
        curvature = jax.jit(lambda params: jax.jvp(gradient, (params,), (direction,))[1])(params)
    fast = jax.jit(jax.grad(lambda params: loss(params, frames)))
    ahead, behind = (
        fast({name: value + step * direction[name] for name, value in params.items()}) for step in (2e-3, -2e-3)
    )
    difference = sum(float(((ahead[name] - behind[name]) * direction[name]).sum()) for name in params) / 4e-3
    expected = sum(float((curvature[name] * direction[name]).sum()) for name in params)
    assert expected == pytest.approx(difference, rel=0.05, abs=0.05)


def test_forward_mode_along_pixels_needs_plain_gradients():
    loss, params, frames = loss_of(MODELS["transformers"])

    def program():
        def slope(frames):
            return jax.jvp(lambda frames: loss(params, frames), (frames,), (jnp.ones_like(frames),))[1]

        return jax.jit(slope).lower(frames)

    with pytest.raises(TypeError, match="custom_vjp"):
        program()
    with plain_gradients():
        assert program().out_info.shape == ()
    with pytest.raises(TypeError, match="custom_vjp"):
        program()
