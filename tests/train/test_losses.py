from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from capjax.train.losses import (
    LOSS_TERMS,
    batch_counts,
    cross_entropy,
    doubly_stochastic,
    loss_terms,
    needs_attention,
    total_loss,
)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_equals_torch(smoothing):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(3, 4, 9)).astype(np.float32) * 3, rng.integers(0, 9, (3, 4))
    weights = rng.integers(0, 2, (3, 4)).astype(np.float32)
    loss, nll = cross_entropy(jnp.asarray(logits), jnp.asarray(labels), weights, label_smoothing=smoothing)
    for value, epsilon in ((loss, smoothing), (nll, 0.0)):
        per_token = torch.nn.functional.cross_entropy(
            torch.tensor(logits).reshape(-1, 9), torch.tensor(labels).reshape(-1), reduction="none",
            label_smoothing=epsilon,
        )  # fmt: skip
        assert float(value) == pytest.approx(float((per_token.numpy() * weights.reshape(-1)).sum()), rel=1e-5)


def test_looking_once_at_every_place_costs_nothing():
    attention = jnp.eye(4)[None].repeat(2, 0)
    assert float(doubly_stochastic(attention, jnp.ones((2, 4)), jnp.ones((2, 4), bool))) == 0.0


def test_padding_of_text_and_memory_does_not_count():
    attention = jnp.zeros((1, 3, 4)).at[0, :, 0].set(1.0)
    weights = jnp.asarray([[1.0, 0.0, 0.0]])
    mask = jnp.asarray([[True, True, False, False]])
    # Place 0 is looked at once, place 1 never: the mean of 0 and 1.
    assert float(doubly_stochastic(attention, weights, mask)) == pytest.approx(0.5)


def make_terms(common_config, **weights):
    rng = np.random.default_rng(0)
    output = SimpleNamespace(
        logits=jnp.asarray(rng.normal(size=(2, 3, 9)), jnp.float32), attention=None, events=None, frames=None
    )
    batch = {"target": jnp.ones((2, 4), jnp.int32), "loss_mask": jnp.ones((2, 4), bool)}
    common_config.train.loss_terms = weights
    return loss_terms(output, batch, common_config.train), batch_counts(batch)


def test_the_loss_is_the_weighted_sum_of_its_terms(common_config, monkeypatch):
    monkeypatch.setattr(LOSS_TERMS, "_makers", {})
    LOSS_TERMS.register("logit_norm")(lambda output, batch, config: (jnp.square(output.logits).sum(), "items"))
    plain, metrics = total_loss(*make_terms(common_config))
    assert metrics.keys() == {"nll"} and float(metrics["nll"]) == float(plain)
    loss, metrics = total_loss(*make_terms(common_config, logit_norm=0.5))
    terms, counts = make_terms(common_config, logit_norm=0.5)
    assert counts["items"] == 2 and float(counts["tokens"]) == 6
    assert float(metrics["logit_norm"]) == pytest.approx(float(terms["logit_norm"].sum) / 2)
    assert float(loss) == pytest.approx(float(plain) + 0.5 * float(metrics["logit_norm"]), rel=1e-6)


def test_a_term_asks_for_attention_by_an_attribute(common_config, monkeypatch):
    monkeypatch.setattr(LOSS_TERMS, "_makers", {})

    @LOSS_TERMS.register("coverage")
    def coverage(output, batch, config):
        return output.attention.sum(), "rows"

    common_config.train.loss_terms = {"coverage": 1.0}
    assert not needs_attention(common_config.train)
    coverage.needs_attention = True
    assert needs_attention(common_config.train)


def test_an_unknown_term_is_named(common_config):
    common_config.train.loss_terms = {"coverge": 1.0}
    with pytest.raises(ValueError, match="unknown loss term 'coverge'"):
        needs_attention(common_config.train)


@pytest.mark.parametrize("rows", [(), (3,)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_an_item_of_weight_three_counts_as_three_items(common_config, rows, smoothing):
    common_config.train.label_smoothing = smoothing
    rng, weights, per_item = np.random.default_rng(0), np.array([3, 1, 0, 2]), int(np.prod(rows))
    batch = {
        "target": rng.integers(0, 9, (4, *rows, 5)), "loss_mask": rng.integers(0, 2, (4, *rows, 5)).astype(bool),
    }  # fmt: skip
    logits = rng.normal(size=(4, per_item, 4, 9)).astype(np.float32)

    def sums(batch, logits):
        output = SimpleNamespace(
            logits=jnp.asarray(logits).reshape(-1, 4, 9), attention=None, events=None, frames=None
        )  # fmt: skip
        term = loss_terms(output, {k: jnp.asarray(v) for k, v in batch.items()}, common_config.train)["nll"]
        return float(term.sum), float(term.metric)

    repeated = sums(
        {name: np.repeat(value, weights, 0) for name, value in batch.items()}, np.repeat(logits, weights, 0)
    )
    weighted = batch | {"loss_weight": weights.astype(np.float32)}
    assert sums(weighted, logits) == pytest.approx(repeated, rel=1e-5)
    assert sums(batch | {"loss_weight": np.ones(4, np.float32)}, logits) == sums(batch, logits)
