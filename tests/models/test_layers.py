"""The shared layers against torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from capjax.models.layers import LayerNorm, Linear, Mlp, dropout, gelu, product, sinusoid
from capjax.models.pure_model import make_key, params_of
from tests.helpers.drawn_models import draw_model, noise

D, HIDDEN = 16, 24


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


def test_gelu_and_its_gradient_are_torchs():
    x = np.linspace(-8, 8, 1001, dtype=np.float32)
    given = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.gelu(given)
    expected.sum().backward()
    np.testing.assert_allclose(gelu(jnp.asarray(x)), expected.detach(), atol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda x: gelu(x).sum())(jnp.asarray(x)), given.grad, atol=1e-6)


def test_a_product_is_that_of_matrices_however_many_axes_it_has():
    x, kernel = jnp.asarray(noise(2, 3, 4)), jnp.asarray(noise(4, 5))
    np.testing.assert_allclose(product(x, kernel), np.asarray(x) @ np.asarray(kernel), atol=1e-6)
    got = jax.grad(lambda x, kernel: jnp.square(product(x, kernel)).sum(), (0, 1))(x, kernel)
    expected = jax.grad(lambda x, kernel: jnp.square(x @ kernel).sum(), (0, 1))(x, kernel)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
