"""The choice among candidates under a constraint on shares, compared with all choices and the linear relaxation."""

import itertools
import logging

import numpy as np
import pytest
from scipy.optimize import linprog

from capjax.decode import attribute_shares as shares_lib
from capjax.decode.attribute_shares import AttributeShares
from capjax.text.word_groups import WordGroups

ATTRIBUTE, CONTEXT = WordGroups.of([["man"], ["woman"]]), WordGroups.of([["kitchen"], ["street"]])
TEXTS = [
    f"a {who} {where}" for who in ("man", "woman", "person", "man and a woman")
    for where in ("in a kitchen", "on a street", "from the kitchen to the street", "alone")
]  # fmt: skip


def draw(seed: int, items: int, most: int = 4) -> list[list[tuple[str, float]]]:
    rng = np.random.default_rng(seed)
    return [
        sorted(
            ((TEXTS[i], float(score)) for i, score in zip(
                rng.choice(len(TEXTS), rng.integers(1, most + 1), replace=False), rng.normal(-5, 2, most), strict=False
            )), key=lambda candidate: -candidate[1],
        )
        for _ in range(items)
    ]  # fmt: skip


def counts(texts) -> np.ndarray:
    """Number of captions that name a context and one attribute, [contexts, attributes]."""
    result = np.zeros((2, 2), int)
    for text in texts:
        words = text.split()
        named = [who for who in ("man", "woman") if who in words]
        if len(named) == 1:
            for number, place in enumerate(("kitchen", "street")):
                result[number, ("man", "woman").index(named[0])] += place in words
    return result


def excess(texts, constraint: AttributeShares) -> float:
    """By how many captions the shares exceed the margins, summed."""
    total = 0.0
    for own, wanted in zip(counts(texts), constraint.shares, strict=True):
        if not np.isnan(wanted).any():
            n = own.sum()
            total += np.maximum(own - np.minimum(wanted + constraint.margin, 1) * n, 0).sum()
            total += np.maximum(np.maximum(wanted - constraint.margin, 0) * n - own, 0).sum()
    return total


def brute_force(candidates, constraint: AttributeShares) -> tuple[float, float]:
    """(least excess, largest sum of scores with it) of all choices."""
    return min(
        (round(excess([text for text, _ in choice], constraint), 6), -sum(score for _, score in choice))
        for choice in itertools.product(*candidates)
    )


@pytest.mark.parametrize("seed", range(40))
def test_the_choice_is_the_best_of_all_that_satisfy_the_constraint_or_come_nearest(seed):
    rng = np.random.default_rng(100 + seed)
    first = rng.uniform(0, 1, 2)
    shares = np.stack([first, 1 - first], 1)
    if seed % 5 == 0:
        shares[1] = np.nan
    constraint = AttributeShares(ATTRIBUTE, CONTEXT, shares, float(rng.choice([0.0, 0.05, 0.2])))
    candidates = draw(seed, 6)
    chosen = [own[i] for own, i in zip(candidates, constraint.choose(candidates, "en"), strict=True)]
    least, cost = brute_force(candidates, constraint)
    assert excess([text for text, _ in chosen], constraint) == pytest.approx(least, abs=1e-4)
    assert -sum(score for _, score in chosen) == pytest.approx(cost, abs=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_a_large_corpus_comes_near_the_bound_of_the_linear_relaxation(seed):
    candidates = draw(seed, 400)
    constraint = AttributeShares(ATTRIBUTE, CONTEXT, np.array([[0.3, 0.7], [0.8, 0.2]]), 0.01)
    chosen = [own[i] for own, i in zip(candidates, constraint.choose(candidates, "en"), strict=True)]
    for own, wanted in zip(counts(text for text, _ in chosen), constraint.shares, strict=True):
        assert abs(own / own.sum() - wanted).max() <= 0.01 + 1e-9
    scores = np.array([score for own in candidates for _, score in own])
    rows = [constraint._features([own], "en")[0] for own in candidates]
    one_each = np.zeros((400, len(scores)))
    one_each[np.repeat(np.arange(400), list(map(len, candidates))), np.arange(len(scores))] = 1
    relaxed = linprog(-scores, np.concatenate(rows).T, np.zeros(8), one_each, np.ones(400), bounds=(0, 1))
    total = sum(score for _, score in chosen)
    assert total <= -relaxed.fun + 1e-6
    assert total >= -relaxed.fun - 8 * np.ptp(scores), "at most eight items of the relaxation are fractions"


def test_captions_that_satisfy_the_constraint_stay():
    candidates = [[(f"a {who} in a kitchen", -1.0), ("a person", -1.1)] for who in ("man", "woman") * 10]
    assert AttributeShares.equal(ATTRIBUTE, CONTEXT, 0.0).choose(candidates, "en") == [0] * 20


def test_the_captions_that_lose_least_change():
    """Nine men and a woman, of which four are to change; the losses rise with the number."""
    candidates = [[("a man in a kitchen", -1.0), ("a woman in a kitchen", -1.1 - number)] for number in range(9)]
    candidates.append([("a woman in a kitchen", -1.0), ("a man in a kitchen", -1.5)])
    chosen = AttributeShares.equal(ATTRIBUTE, CONTEXT, 0.0).choose(candidates, "en")
    assert chosen == [1] * 4 + [0] * 6


def test_without_contexts_all_captions_count():
    candidates = [[("a man", -1.0), ("a woman", -2.0 - number)] for number in range(4)]
    assert AttributeShares.equal(ATTRIBUTE, WordGroups(()), 0.0).choose(candidates, "en") == [1, 1, 0, 0]


def test_shares_that_no_choice_has_are_approached_with_a_warning(caplog):
    candidates = [[("a man in a kitchen", -1.0)]] * 5 + [[("a man in a kitchen", -1.0), ("a woman in a kitchen", -9.0)]]
    with caplog.at_level(logging.WARNING, "capjax"):
        assert AttributeShares.equal(ATTRIBUTE, CONTEXT, 0.01).choose(candidates, "en") == [0] * 5 + [1]
    assert "the share of 'man' beside 'kitchen' is not within 0.01 of 0.5, for lack of candidates" in caplog.text


def test_without_a_solution_in_time_captions_stay(caplog, monkeypatch):
    monkeypatch.setattr(shares_lib, "_solve", lambda *arguments: None)
    candidates = [[("a man in a kitchen", -1.0), ("a woman in a kitchen", -2.0)]] * 3
    with caplog.at_level(logging.WARNING, "capjax"):
        assert AttributeShares.equal(ATTRIBUTE, CONTEXT, 0.0).choose(candidates, "en") == [0] * 3
    assert "captions stay as they are" in caplog.text


def test_no_captions_are_no_error():
    assert AttributeShares.equal(ATTRIBUTE, CONTEXT, 0.0).choose([], "en") == []
