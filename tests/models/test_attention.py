"""Attention against torch and against sums written out, and what a mask must hide."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from capjax.models.attention import CrossAttention, SelfAttention, attend, attention_weights
from capjax.models.decoders.recurrent import AdditiveAttention
from tests.helpers.drawn_models import draw_memory, draw_model, noise

B, N, Q, D, HEADS, A = 2, 6, 5, 16, 4, 12


def torch_attention(weight, bias, out) -> torch.nn.MultiheadAttention:
    """weight [d, 3 d] and bias [3 d] of queries, keys and values."""
    attention = torch.nn.MultiheadAttention(D, HEADS, batch_first=True).eval()
    values = (weight.T, bias, out.kernel[...].T, out.bias[...])
    names = (attention.in_proj_weight, attention.in_proj_bias, attention.out_proj.weight, attention.out_proj.bias)
    with torch.no_grad():
        for parameter, value in zip(names, values, strict=True):
            parameter.copy_(torch.tensor(np.array(value)))
    return attention


@pytest.fixture(scope="module")
def own():
    return draw_model(lambda key: SelfAttention(D, HEADS, rngs=nnx.Rngs(key)))


@pytest.fixture(scope="module")
def cross():
    return draw_model(lambda key: CrossAttention(D, HEADS, rngs=nnx.Rngs(key)))


@pytest.fixture(scope="module")
def additive():
    return draw_model(lambda key: AdditiveAttention(D, A, dtype=jnp.float32, rngs=nnx.Rngs(key)))


@pytest.fixture(scope="module")
def memory():
    return draw_memory(B, N, D)


@pytest.mark.parametrize("causal", [False, True])
def test_self_attention_is_torchs(own, causal):
    x = noise(B, Q, D)
    theirs = torch_attention(own.qkv.kernel[...], own.qkv.bias[...], own.out)
    hidden = torch.ones(Q, Q, dtype=torch.bool).triu(1) if causal else None
    expected = theirs(*[torch.tensor(x)] * 3, attn_mask=hidden)[0].detach()
    for return_weights in (False, True):
        out, weights = own(jnp.asarray(x), causal=causal, return_weights=return_weights)
        np.testing.assert_allclose(out, expected, atol=1e-5)
    assert weights.shape == (B, HEADS, Q, Q) and (np.triu(weights, 1) != 0).any() != causal


@pytest.mark.parametrize("return_weights", [False, True])
def test_cross_attention_is_torchs(cross, memory, return_weights):
    x = noise(B, Q, D)
    both = [
        jnp.concatenate([getattr(part, name)[...] for part in (cross.query, cross.key_value)], -1)
        for name in ("kernel", "bias")
    ]
    context, hidden = torch.tensor(np.array(memory.x)), torch.tensor(~np.array(memory.mask))
    expected, weights = torch_attention(*both, cross.out)(torch.tensor(x), context, context, key_padding_mask=hidden)
    out, got = cross(jnp.asarray(x), memory.x, memory.mask, return_weights=return_weights)
    np.testing.assert_allclose(out, expected.detach(), atol=1e-5)
    if return_weights:
        assert got.shape == (B, HEADS, Q, N)
        np.testing.assert_allclose(got.mean(1), weights.detach(), atol=1e-6)
    else:
        assert got is None


def test_one_position_after_another_equals_causal_attention(own):
    beams = 3
    x = noise(B, beams, Q, D)
    expected = own(jnp.asarray(x.reshape(B * beams, Q, D)), causal=True)[0].reshape(x.shape)
    # What lies in the cache and may not be read must not matter: start from rubbish.
    cache = {name: jnp.full((B, HEADS, (Q + 2) * beams, D // HEADS), 1e3) for name in ("key", "value")}
    step = jax.jit(own.step)
    for index in range(Q):
        mask = np.eye(beams, dtype=bool)[:, None] & (np.arange(Q + 2) <= index)[:, None]
        mask = np.broadcast_to(mask.reshape(beams, -1), (B, beams, (Q + 2) * beams))
        out, cache = step(x[:, :, index], cache, index, mask)
        np.testing.assert_allclose(out, expected[:, :, index], atol=1e-5)


def test_a_step_of_cross_attention_is_cross_attention(cross, memory):
    x = jnp.asarray(noise(B, Q, D))
    expected, weights = cross(x, memory.x, memory.mask, return_weights=True)
    out, got = cross.step(x, *cross.prepare(memory.x), memory.mask)
    np.testing.assert_allclose(out, expected, atol=1e-6)
    np.testing.assert_allclose(got, weights, atol=1e-6)


def plain_attention(query, key, value, mask):
    return jnp.einsum("bhqn,bhnk->bhqk", attention_weights(query, key, mask), value)


@pytest.mark.parametrize("mask", [None, "causal", "random"])
def test_gradients_of_attention_are_those_of_its_formula(mask):
    query, key, value = (jnp.asarray(noise(B, HEADS, n, 4, seed=i)) for i, n in enumerate((Q, N, N)))
    dout = jnp.asarray(noise(B, HEADS, Q, 4, seed=3))
    if mask:
        mask = jnp.tri(Q, N, dtype=bool) if mask == "causal" else jnp.asarray(noise(B, 1, Q, N, seed=9) > 0)
    for name, of, expected in zip(
        ("query", "key", "value"),
        jax.vjp(lambda *qkv: attend(*qkv, mask), query, key, value)[1](dout),
        jax.vjp(lambda *qkv: plain_attention(*qkv, mask), query, key, value)[1](dout),
        strict=True,
    ):
        np.testing.assert_allclose(of, expected, atol=2e-6, err_msg=name)


def test_the_bias_of_keys_which_no_output_depends_on_never_moves(own):
    x = noise(B, N, D)
    graphdef, params = nnx.split(own, nnx.Param)

    def total(params):
        return jnp.square(nnx.merge(graphdef, params)(x)[0]).sum()

    gradient = np.asarray(jax.grad(total)(params)["qkv"]["bias"][...])
    query, key, value = np.split(gradient, 3)
    assert (key == 0).all() and (query != 0).all() and (value != 0).all()
    moved = jax.tree.map(jnp.copy, params)
    moved["qkv"]["bias"][...] = moved["qkv"]["bias"][...].at[D : 2 * D].add(1.0)
    np.testing.assert_allclose(total(moved), total(params), rtol=1e-5)


def test_weights_are_float32_and_sum_to_one_over_what_may_be_seen():
    query, key = (jnp.asarray(noise(B, HEADS, n, 4, seed=n) * 20).astype(jnp.bfloat16) for n in (Q, N))
    mask = jnp.asarray(np.random.default_rng(0).random((B, 1, Q, N)) < 0.5).at[..., 0].set(True)
    weights = attention_weights(query, key, mask)
    assert weights.dtype == jnp.float32
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-6)
    assert (np.array(weights)[~np.broadcast_to(mask, weights.shape)] == 0).all()


def _cross(attention, x, memory):
    return attention(x, memory.x, memory.mask)[0]


def _cross_with_weights(attention, x, memory):
    return attention(x, memory.x, memory.mask, return_weights=True)[0]


def _additive(attention, x, memory):
    return attention(x, attention.memory(memory.x), memory)[0]


KINDS = pytest.mark.parametrize(
    ("name", "call"), [("cross", _cross), ("cross", _cross_with_weights), ("additive", _additive)]
)


@KINDS
def test_what_is_masked_has_no_influence_and_no_gradient(name, call, memory, request):
    attention, x = request.getfixturevalue(name), jnp.asarray(noise(B, Q, D))
    hidden = ~memory.mask[..., None]
    other = memory.replace(x=jnp.where(hidden, 50.0, memory.x))
    run = jax.jit(jax.value_and_grad(lambda seen: jnp.square(call(attention, x, memory.replace(x=seen))).sum()))
    (value, gradient), (other_value, _) = run(memory.x), run(other.x)
    assert value == other_value
    hidden = np.broadcast_to(hidden, gradient.shape)
    assert hidden.any() and (np.array(gradient)[hidden] == 0).all() and (np.array(gradient)[~hidden] != 0).all()


@KINDS
def test_where_all_is_masked_outputs_and_gradients_are_finite(name, call, memory, request):
    attention, x = request.getfixturevalue(name), jnp.asarray(noise(B, Q, D))
    nothing = memory.replace(mask=memory.mask.at[0].set(False))
    run = jax.jit(jax.grad(lambda seen: jnp.square(call(attention, x, nothing.replace(x=seen))).sum()))
    assert np.isfinite(run(memory.x)).all()
    out, usual = (np.array(call(attention, x, given)) for given in (nothing, memory))
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out[1], usual[1], atol=1e-6)


def test_additive_attention_is_the_sum_of_the_papers(additive, memory):
    h = noise(B, Q, D)
    out, weights = additive(jnp.asarray(h), additive.memory(memory.x), memory)
    p = jax.tree.map(np.float64, nnx.to_pure_dict(nnx.state(additive)))
    for b in range(B):
        real = np.flatnonzero(memory.mask[b])
        for q in range(Q):
            scores = [
                np.tanh(
                    np.float64(memory.x[b, n]) @ p["memory"]["kernel"] + p["memory"]["bias"]
                    + h[b, q] @ p["state"]["kernel"]
                ) @ p["score"]["kernel"][:, 0]
                for n in real
            ]  # fmt: skip
            alpha = np.exp(scores) / np.exp(scores).sum()
            expected = np.zeros(N)
            expected[real] = alpha
            np.testing.assert_allclose(weights[b, q], expected, atol=1e-6)
            beta = 1 / (1 + np.exp(-(h[b, q] @ p["gate"]["kernel"] + p["gate"]["bias"])))
            np.testing.assert_allclose(out[b, q], beta * (expected @ np.float64(memory.x[b])), atol=1e-5)


def test_attention_of_bfloat16_stays_near_that_of_float32():
    query, key, value = (noise(B, HEADS, n, 4, seed=n) for n in (Q, N, N))
    exact = attend(*map(jnp.asarray, (query, key, value)))
    half = attend(*(jnp.asarray(x).astype(jnp.bfloat16) for x in (query, key, value)))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), exact, atol=0.05)
