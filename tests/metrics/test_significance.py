"""Intervals and p-values are those of the bootstrap and of randomization, computed from statistics alone."""

import itertools

import numpy as np
import pytest

from capjax.metrics import score
from capjax.metrics.significance import comparisons, confidences


def mean(sums):
    return sums[0] / sums[1]


def system(values):
    values = np.asarray(values, float)
    return {"mean": (np.stack([values, np.ones(len(values))]), mean)}


def resampled(scores):
    return {name: (m.statistics, m.aggregate) for name, m in scores.measures.items() if m.statistics is not None}


def captions(rng, count):
    words = ["a", "man", "dog", "runs", "on", "the", "beach", "with", "red", "ball", "and", "two", "cats", "sleep"]
    return {i: " ".join(rng.choice(words, rng.integers(2, 9))) for i in range(count)}


def test_the_interval_of_a_mean_is_that_of_normal_theory():
    values = np.random.default_rng(0).normal(3, 2, 4000)
    result = confidences(system(values), samples=2000)["mean"]
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert result.low == pytest.approx(values.mean() - half, abs=half / 10)
    assert result.high == pytest.approx(values.mean() + half, abs=half / 10)


def test_a_higher_level_is_wider_and_a_seed_repeats():
    one = system(np.random.default_rng(1).random(50))
    wide, narrow = (confidences(one, level=level, seed=3)["mean"] for level in (0.99, 0.8))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert confidences(one, seed=3) == confidences(one, seed=3) != confidences(one, seed=4)


@pytest.mark.parametrize("rows", [1, 7, 1 << 22])
def test_how_many_draws_are_made_at_once_is_of_no_consequence(monkeypatch, rows):
    one, other = system(np.arange(9.0)), system(np.arange(9.0)[::-1] ** 1.1)
    whole = confidences(one), comparisons(one, other)
    monkeypatch.setattr("capjax.metrics.significance._TABLE_SIZE", rows * 18)
    assert (confidences(one), comparisons(one, other)) == whole


def test_bleu_of_a_draw_is_bleu_of_the_items_drawn():
    """The statistics, not the items' scores, are resampled: corpus BLEU is no mean."""
    rng = np.random.default_rng(0)
    predictions, references = captions(rng, 30), {i: [c] for i, c in captions(rng, 30).items()}
    drawn = []
    for _ in range(200):
        picked = rng.integers(30, size=30)
        again = score(
            {k: predictions[i] for k, i in enumerate(picked)}, {k: references[i] for k, i in enumerate(picked)},
            metrics=["bleu"],
        )  # fmt: skip
        drawn.append(again.corpus["BLEU-1"])
    result = confidences(resampled(score(predictions, references, metrics=["bleu"])))["BLEU-1"]
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert result.low == pytest.approx(low, abs=0.03)
    assert result.high == pytest.approx(high, abs=0.03)


def test_a_system_against_itself_differs_by_nothing():
    rng = np.random.default_rng(0)
    scores = score(captions(rng, 20), {i: [c] for i, c in captions(rng, 20).items()})
    for result in comparisons(resampled(scores), resampled(scores)).values():
        assert (result.difference, result.low, result.high, result.p_value) == (0, 0, 0, 1)


def test_a_difference_on_every_item_is_significant_and_noise_is_not():
    rng = np.random.default_rng(0)
    values, noise = rng.random(200), rng.normal(0, 0.1, 200)
    clear = comparisons(system(values + 0.1), system(values))["mean"]
    assert clear.difference == pytest.approx(0.1)
    assert clear.low > 0
    assert clear.p_value == 1 / 1001
    unclear = comparisons(system(values + noise - noise.mean()), system(values))["mean"]
    assert unclear.p_value > 0.5
    assert unclear.low < 0 < unclear.high


def test_the_p_value_is_that_of_all_exchanges():
    """With few items every exchange can be tried: the exact randomization test."""
    first, second = np.array([3, 1, 4, 1, 5, 9, 2, 6.0]), np.array([2, 0, 5, 0, 3, 7, 1, 8.0])
    differences = [
        abs(np.where(swap, second, first).mean() - np.where(swap, first, second).mean())
        for swap in itertools.product([False, True], repeat=8)
    ]
    exact = np.mean(np.array(differences) >= abs(first.mean() - second.mean()) - 1e-12)
    result = comparisons(system(first), system(second), samples=20_000)["mean"].p_value
    assert result == pytest.approx(exact, abs=0.012)


def test_swapping_the_systems_turns_the_difference_around():
    one, other = system(np.arange(20.0)), system(np.arange(20.0) ** 1.2)
    forward, backward = comparisons(one, other)["mean"], comparisons(other, one)["mean"]
    assert forward.difference == -backward.difference
    assert (forward.low, forward.high) == pytest.approx((-backward.high, -backward.low))
    assert forward.p_value == backward.p_value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 10}, "100 samples or more, found 10"),
        ({"level": 95}, "between 0 and 1, such as 0.95, found 95"),
    ],
)
def test_bad_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        confidences(system([1.0, 2.0]), **arguments)


def test_bad_statistics_are_named():
    with pytest.raises(ValueError, match="two items or more, found 1"):
        confidences(system([1.0]))
    with pytest.raises(ValueError, match="mean: expected finite"):
        confidences(system([1.0, np.nan]))
    with pytest.raises(ValueError, match="none of the metrics can be resampled"):
        confidences({})
    with pytest.raises(ValueError, match="3 items of the first system, 2 of the second"):
        comparisons(system([1.0, 2, 3]), system([1.0, 2]))
    with pytest.raises(ValueError, match="no metric in common"):
        comparisons(system([1.0, 2]), {})
