import jax
import jax.numpy as jnp
import numpy as np
import pytest

from capjax.decode.sampling import keep_top_k, keep_top_p, sample
from capjax.decode.search import greedy_search

EOS, PAD, V = 1, 0, 8
OPTIONS = {"max_len": 5, "eos_id": EOS, "pad_id": PAD}


def step_of(logits):
    def step_fn(tokens, index, state):
        return jnp.broadcast_to(logits, (*tokens.shape, V)), state

    return step_fn


def draw(logits, count, seed=0, **options):
    return sample(
        step_of(jnp.asarray(logits)), jnp.zeros((1, count)), jnp.array([[2]]), jax.random.key(seed), samples=count,
        **{**OPTIONS, **options},
    )  # fmt: skip


def test_samples_follow_the_softmax():
    logits = np.random.default_rng(0).normal(size=V).astype(np.float32)
    first = np.asarray(draw(logits, 20_000).tokens)[0, :, 0]
    expected = np.exp(logits) / np.exp(logits).sum() * len(first)
    observed = np.bincount(first, minlength=V)
    # 99.9 % quantile of chi-square with 7 degrees of freedom
    assert ((observed - expected) ** 2 / expected).sum() < 24.3


def test_temperature_flattens():
    logits = np.array([-9, -9, 2, 0, 0, 0, 0, 0], np.float32)
    cold, hot = (np.asarray(draw(logits, 4000, temperature=t).tokens)[0, :, 0] for t in (0.5, 4.0))
    assert (cold == 2).mean() > 0.85 > 0.4 > (hot == 2).mean()


def test_temperature_zero_is_greedy():
    logits = np.random.default_rng(1).normal(size=V).astype(np.float32)
    greedy = greedy_search(step_of(jnp.asarray(logits)), jnp.zeros((1, 1)), jnp.array([[2]]), **OPTIONS)
    np.testing.assert_array_equal(draw(logits, 1, temperature=0.0).tokens, greedy.tokens)


def test_the_same_key_gives_the_same_samples_and_another_key_others():
    logits = np.zeros(V, np.float32)
    np.testing.assert_array_equal(draw(logits, 30).tokens, draw(logits, 30).tokens)
    assert (np.asarray(draw(logits, 30).tokens) != np.asarray(draw(logits, 30, seed=1).tokens)).any()


@pytest.mark.parametrize("k", [1, 3, 8, 100])
def test_top_k_only_gives_the_k_likeliest(k):
    logits = np.random.default_rng(2).normal(size=V).astype(np.float32)
    allowed = set(np.argsort(-logits)[:k]) | {PAD}
    assert set(np.unique(draw(logits, 500, top_k=k).tokens)) <= allowed
    assert np.isfinite(keep_top_k(jnp.asarray(logits), k)).sum() == min(k, V)


@pytest.mark.parametrize("p", [0.01, 0.5, 0.9, 1.0])
def test_top_p_keeps_the_smallest_set_that_reaches_p(p):
    logits = np.random.default_rng(3).normal(size=V).astype(np.float32)
    log_probs = np.asarray(jax.nn.log_softmax(logits))
    ranked = np.sort(np.exp(log_probs))[::-1]
    expected = int(np.searchsorted(np.cumsum(ranked), p) + 1)
    assert np.isfinite(keep_top_p(jnp.asarray(log_probs), p)).sum() == min(expected, V)
