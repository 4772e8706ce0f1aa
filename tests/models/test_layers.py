"""The shared layers against torch, and stacked layers against a plain loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from capjax.models.layers import (
    REMAT,
    LayerNorm,
    Linear,
    Mlp,
    by_platform,
    dropout,
    gelu,
    product,
    scan,
    sinusoid,
    stack,
    unstack,
)
from capjax.models.pure_model import make_key, params_of
from tests.helpers.drawn_models import draw_model

D, HIDDEN, LAYERS = 16, 24, 3


def noise(*shape, seed=0, scale=1.0):
    return np.random.default_rng(seed).normal(size=shape, scale=scale).astype(np.float32)


def to_torch(linear: Linear) -> torch.nn.Linear:
    out = torch.nn.Linear(*linear.kernel.shape, bias=linear.bias is not None)
    with torch.no_grad():
        out.weight.copy_(torch.tensor(np.array(linear.kernel[...]).T))
        if linear.bias is not None:
            out.bias.copy_(torch.tensor(np.array(linear.bias[...])))
    return out


@pytest.fixture(scope="module")
def mlp():
    return draw_model(lambda key: Mlp(D, hidden=HIDDEN, rngs=nnx.Rngs(key)))


def test_layer_norm_is_torchs():
    norm = draw_model(lambda key: LayerNorm(D))
    x = noise(2, 3, D, scale=4.0) + 7.0
    expected = torch.nn.functional.layer_norm(
        torch.tensor(x), (D,), torch.tensor(np.array(norm.scale[...])), torch.tensor(np.array(norm.bias[...])), 1e-6
    )
    np.testing.assert_allclose(norm(jnp.asarray(x)), expected, atol=1e-5)


def test_layer_norm_keeps_its_digits_where_the_mean_is_large():
    x = noise(4, D).astype(np.float64)
    shifted = (x + 2**13).astype(np.float32)
    exact = shifted.astype(np.float64)
    exact = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(LayerNorm(D)(jnp.asarray(shifted)), exact, atol=2e-3)


def test_layer_norm_of_bfloat16_is_computed_in_float32():
    x = jnp.asarray(noise(4, D) * 100 + 50).astype(jnp.bfloat16)
    out = LayerNorm(D, dtype=jnp.bfloat16)(x)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_array_equal(out, LayerNorm(D)(x.astype(jnp.float32)).astype(jnp.bfloat16))


@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_torchs(bias):
    linear = draw_model(lambda key: Linear(D, HIDDEN, bias=bias, rngs=nnx.Rngs(key)))
    x = noise(3, D)
    np.testing.assert_allclose(linear(jnp.asarray(x)), to_torch(linear)(torch.tensor(x)).detach(), atol=1e-5)


def test_mlp_and_its_gradient_are_torchs(mlp):
    x = noise(2, 3, D)
    given = torch.tensor(x, requires_grad=True)
    hidden = torch.nn.functional.gelu(to_torch(mlp.up)(given))
    expected = to_torch(mlp.down)(hidden)
    expected.square().sum().backward()
    np.testing.assert_allclose(mlp(jnp.asarray(x)), expected.detach(), atol=1e-5)
    gradient = jax.grad(lambda x: jnp.square(mlp(x)).sum())(jnp.asarray(x))
    np.testing.assert_allclose(gradient, given.grad, atol=1e-4)


def test_bfloat16_layers_keep_float32_parameters():
    half = draw_model(lambda key: Mlp(D, hidden=HIDDEN, dtype=jnp.bfloat16, rngs=nnx.Rngs(key)))
    whole = draw_model(lambda key: Mlp(D, hidden=HIDDEN, rngs=nnx.Rngs(key)))
    assert all(value.dtype == jnp.float32 for value in params_of(half).values())
    x = jnp.asarray(noise(4, D))
    assert half(x).dtype == jnp.bfloat16
    np.testing.assert_allclose(half(x).astype(jnp.float32), whole(x), atol=0.05)


def test_without_a_key_or_a_rate_dropout_is_the_identity(mlp):
    x = jnp.asarray(noise(5, D))
    np.testing.assert_array_equal(dropout(x, 0.5, None), x)
    np.testing.assert_array_equal(dropout(x, 0.0, make_key(0)), x)
    np.testing.assert_array_equal(mlp(x, rate=0.5), mlp(x))


@pytest.mark.parametrize("rate", [0.1, 0.75])
def test_dropout_zeroes_its_share_and_scales_the_rest(rate):
    out = np.array(dropout(jnp.ones((199, 201)), rate, make_key(1)))
    assert (out == 0).mean() == pytest.approx(rate, abs=0.01)
    np.testing.assert_allclose(out[out != 0], 1 / (1 - rate), rtol=1e-4)
    # Neighbors are dropped independently of each other.
    dropped = (out == 0).ravel()
    assert (dropped[1:] & dropped[:-1]).mean() == pytest.approx(rate**2, abs=0.01)
    assert dropout(jnp.ones((3, 5), jnp.bfloat16), rate, make_key(1)).dtype == jnp.bfloat16


def test_the_same_key_drops_the_same_and_another_key_other_entries():
    x = jnp.ones((200, 200))
    first, second, other = (np.array(dropout(x, 0.5, make_key(seed))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != other).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("d", [8, 7])
def test_sinusoids_are_those_of_the_paper(d):
    times = np.array([[0.0, 1.0], [2.5, 100.0]], np.float32)
    out = np.array(sinusoid(jnp.asarray(times), d))
    assert out.shape == (2, 2, d)
    pairs = (d + 1) // 2
    for i in range(pairs):
        angle = times / 10_000 ** (2 * i / d)
        np.testing.assert_allclose(out[..., i], np.sin(angle), atol=1e-4)
        if pairs + i < d:
            np.testing.assert_allclose(out[..., pairs + i], np.cos(angle), atol=1e-4)


class _Layer(nnx.Module):
    """A residual layer with dropout, which shows the order of layers and keys."""

    def __init__(self, rngs):
        self.linear = Linear(D, D, axes=("embed", "mlp"), rngs=rngs)

    def __call__(self, x, key):
        return x + dropout(jnp.tanh(self.linear(x)), 0.5, key)


def _call(layer, x, key):
    x = layer(x, key)
    return x, x.sum()


@pytest.fixture(scope="module")
def layers():
    class Stacked(nnx.Module):
        def __init__(self, rngs):
            self.blocks = stack(_Layer, LAYERS, rngs)

    return draw_model(lambda key: Stacked(nnx.Rngs(key))).blocks


@pytest.mark.parametrize("key", [None, 3])
@pytest.mark.parametrize("remat", REMAT)
def test_scanned_layers_equal_a_loop(layers, key, remat):
    key = None if key is None else jax.random.key(key)
    x = jnp.asarray(noise(4, D))
    out, sums = scan(layers, LAYERS, x, _call, key=key, remat=remat)
    keys = [None] * LAYERS if key is None else jax.random.split(key, LAYERS)
    kernels, biases = np.array(layers.linear.kernel[...]), np.array(layers.linear.bias[...])
    for i in range(LAYERS):
        x = x + dropout(jnp.tanh(x @ kernels[i] + biases[i]), 0.5, keys[i])
        np.testing.assert_allclose(sums[i], x.sum(), atol=1e-4)
    np.testing.assert_allclose(out, x, atol=1e-5)


def test_unstacked_layers_are_those_of_the_stack(layers):
    one_by_one = unstack(layers, LAYERS)
    assert len(one_by_one) == LAYERS
    for i, layer in enumerate(one_by_one):
        np.testing.assert_array_equal(layer.linear.kernel[...], layers.linear.kernel[...][i])


def test_recomputing_layers_leaves_the_gradient(layers):
    graphdef, state = nnx.split(layers)

    def loss(state, remat):
        return jnp.square(scan(nnx.merge(graphdef, state), LAYERS, jnp.ones((2, D)), _call, remat=remat)[0]).sum()

    kept = jax.grad(loss)(state, "none")
    for remat in ("light", "full"):
        recomputed = jax.grad(loss)(state, remat)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), kept, recomputed)


def test_an_unknown_way_of_recomputing_is_an_error(layers):
    with pytest.raises(ValueError, match="remat 'all': expected one of none, light, full"):
        scan(layers, LAYERS, jnp.ones((2, D)), _call, remat="all")


def test_each_layer_of_a_stack_starts_with_its_own_draw_of_the_usual_size():
    # The keys of training: under vmap, XLA's generator draws for all keys at once.
    kernel = stack(lambda rngs: Linear(64, 64, axes=("embed", "mlp"), rngs=rngs), LAYERS, nnx.Rngs(make_key(0))).kernel
    values = np.array(kernel[...])
    assert kernel.get_metadata()["out_sharding"] == ("layers", "embed", "mlp")
    assert values.shape == (LAYERS, 64, 64)
    for i in range(LAYERS):
        assert values[i].std() == pytest.approx((2 / 128) ** 0.5, rel=0.05), "Glorot: variance 2 / (d_in + d_out)"
        correlation = np.corrcoef(values[i].ravel(), values[i - 1].ravel())[0, 1]
        assert abs(correlation) < 0.06


def test_gelu_and_its_gradient_are_torchs():
    x = np.linspace(-8, 8, 1001, dtype=np.float32)
    given = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.gelu(given)
    expected.sum().backward()
    np.testing.assert_allclose(gelu(jnp.asarray(x)), expected.detach(), atol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda x: gelu(x).sum())(jnp.asarray(x)), given.grad, atol=1e-6)


def test_a_function_by_platform_has_the_gradient_of_the_way_that_is_taken():
    function = by_platform(lambda x, y: (x * y).sum(), lambda x, y: (x - y).sum())
    x, y = jnp.asarray(noise(3)), jnp.asarray(noise(3, seed=1))
    value, gradients = jax.jit(jax.value_and_grad(function, (0, 1)))(x, y)
    np.testing.assert_allclose(value, (x * y).sum(), rtol=1e-6)
    np.testing.assert_allclose(gradients, (y, x), rtol=1e-6)
    elsewhere = jax.export.export(jax.jit(jax.grad(function)), platforms=["tpu"])(x, y).mlir_module()
    assert "stablehlo.multiply" not in elsewhere


def test_a_product_is_that_of_matrices_however_many_axes_it_has():
    x, kernel = jnp.asarray(noise(2, 3, 4)), jnp.asarray(noise(4, 5))
    np.testing.assert_allclose(product(x, kernel), np.asarray(x) @ np.asarray(kernel), atol=1e-6)
    got = jax.grad(lambda x, kernel: jnp.square(product(x, kernel)).sum(), (0, 1))(x, kernel)
    expected = jax.grad(lambda x, kernel: jnp.square(x @ kernel).sum(), (0, 1))(x, kernel)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
