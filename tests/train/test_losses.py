import jax.numpy as jnp
import numpy as np
import pytest
import torch

from capjax.train.losses import cross_entropy, doubly_stochastic


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_equals_torch(smoothing):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(3, 4, 9)).astype(np.float32) * 3, rng.integers(0, 9, (3, 4))
    weights = rng.integers(0, 2, (3, 4)).astype(np.float32)
    loss, nll = cross_entropy(jnp.asarray(logits), jnp.asarray(labels), weights, label_smoothing=smoothing)
    for value, epsilon in ((loss, smoothing), (nll, 0.0)):
        per_piece = torch.nn.functional.cross_entropy(
            torch.tensor(logits).reshape(-1, 9), torch.tensor(labels).reshape(-1), reduction="none",
            label_smoothing=epsilon,
        )  # fmt: skip
        assert float(value) == pytest.approx(float((per_piece.numpy() * weights.reshape(-1)).sum()), rel=1e-5)


def test_looking_once_at_every_place_costs_nothing():
    attention = jnp.eye(4)[None].repeat(2, 0)
    assert float(doubly_stochastic(attention, jnp.ones((2, 4)), jnp.ones((2, 4), bool))) == 0.0


def test_padding_of_text_and_memory_does_not_count():
    attention = jnp.zeros((1, 3, 4)).at[0, :, 0].set(1.0)
    weights = jnp.asarray([[1.0, 0.0, 0.0]])
    mask = jnp.asarray([[True, True, False, False]])
    # Place 0 is looked at once, place 1 never: the mean of 0 and 1.
    assert float(doubly_stochastic(attention, weights, mask)) == pytest.approx(0.5)
