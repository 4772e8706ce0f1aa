"""Stacked layers against a plain loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from capjax.models.layers import Linear, dropout
from capjax.models.pure_model import make_key
from capjax.models.stacked import REMAT, scan, stack, unstack
from tests.helpers.drawn_models import draw_model, noise

D, LAYERS = 16, 3


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
