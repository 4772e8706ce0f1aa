import jax
import jax.numpy as jnp
import pytest

from capjax.models.flops import count_flops


def count(function, *arguments, **how) -> int:
    return count_flops(jax.make_jaxpr(function)(*arguments), **how)


def test_a_matrix_product_has_two_operations_a_multiplication():
    assert count(jnp.dot, jnp.ones((3, 5)), jnp.ones((5, 7))) == 2 * 3 * 5 * 7
    assert count(lambda a, b: jnp.einsum("bhqk,bhnk->bhqn", a, b), jnp.ones((2, 3, 4, 5)), jnp.ones((2, 3, 6, 5))) == (
        2 * 2 * 3 * 4 * 6 * 5
    )


def test_sums_and_activations_do_not_count():
    assert count(lambda x: jnp.tanh(x).sum() + x.mean(), jnp.ones((8, 8))) == 0


@pytest.mark.parametrize(("groups", "channels"), [(1, 6), (3, 2)])
def test_a_convolution_counts_its_taps(groups, channels):
    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
        )

    assert count(convolve, jnp.ones((2, 5, 5, 6)), jnp.ones((3, 3, channels, 9))) == 2 * (2 * 5 * 5 * 9) * (
        9 * channels
    )


def test_the_gradient_of_a_convolution_has_twice_its_operations():
    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((2, 2, 3, 4))

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    forward = count(convolve, x, kernel)
    both = count(jax.value_and_grad(lambda x, kernel: convolve(x, kernel).sum(), (0, 1)), x, kernel)
    assert both == pytest.approx(3 * forward, rel=0.01)


def test_every_trip_of_a_scan_counts_as_when_it_is_unrolled():
    w, x = jnp.ones((4, 8, 8)), jnp.ones((2, 8))

    def scanned(w, x):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0].sum()

    def unrolled(w, x):
        for i in range(4):
            x = jnp.tanh(x @ w[i])
        return x.sum()

    for of in (lambda f: f, lambda f: jax.grad(f, (0, 1))):
        assert count(of(scanned), w, x) == count(of(unrolled), w, x) > 0


def test_what_is_computed_twice_counts_twice():
    w, x = jnp.ones((8, 8)), jnp.ones((2, 8))

    def loss(w, x):
        return jnp.sin(jnp.sin(x @ w) @ w).sum()

    plain, again = (count(jax.value_and_grad(each, (0, 1)), w, x) for each in (loss, jax.checkpoint(loss)))
    assert again == pytest.approx(plain * 8 / 6)


def test_a_loop_of_unknown_length_counts_as_often_as_is_said():
    def until(x):
        return jax.lax.while_loop(lambda x: x.sum() < 100, lambda x: x @ x, x)

    assert count(until, jnp.ones((3, 3)), trips=10) == 10 * 2 * 27


def test_of_branches_the_costliest_counts():
    def either(x):
        return jax.lax.cond(x.sum() > 0, lambda x: x @ x, lambda x: x, x)

    assert count(either, jnp.ones((3, 3))) == 2 * 27
