"""SODA's alignments are the best that do not cross."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capjax.metrics.soda import best_alignment, best_pairs, combine, soda_video

matrices = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**31)).map(
    lambda it: np.where(
        np.random.default_rng(it[2]).random(it[:2]) < 0.3, 0, np.random.default_rng(it[2]).random(it[:2]).round(1)
    )
)


def every_alignment(scores):
    """Sums of all sets of pairs that do not cross."""
    n, m = scores.shape
    for size in range(min(n, m) + 1):
        for rows in itertools.combinations(range(n), size):
            for columns in itertools.combinations(range(m), size):
                yield float(sum(scores[i, j] for i, j in zip(rows, columns, strict=True)))


@settings(max_examples=200, deadline=None)
@given(matrices)
def test_the_best_alignment_is_the_best_of_all(scores):
    best = max(every_alignment(scores))
    assert best_alignment(scores) == best_alignment(scores.T) == pytest.approx(best)
    rows, columns = best_pairs(scores)
    assert scores[rows, columns].sum() == pytest.approx(best)
    assert (np.diff(rows) > 0).all() and (np.diff(columns) > 0).all()
    assert (scores[rows, columns] > 0).all()


def test_a_worked_example_of_each_kind():
    """Two events each; the second two pairs overlap best, but their words differ."""
    tiou, text = np.array([[0.8, 0.2], [0.0, 0.5]]), np.array([[0.5, 1.0], [0.0, 0.1]])
    assert soda_video(tiou, None, "d") == pytest.approx((0.65, 0.65, 0.65))
    assert soda_video(tiou, text, "c") == pytest.approx((0.225, 0.225, 0.225))  # 0.4 + 0.05
    assert soda_video(tiou, text, "b") == pytest.approx((0.3, 0.3, 0.3))  # 0.5 + 0.1
    # At 0.3 and 0.5 both pairs, at 0.7 the first, at 0.9 none.
    assert soda_video(tiou, text, "a") == pytest.approx([np.mean([0.3, 0.3, 0.25, 0.0])] * 3)


def test_unequal_numbers_of_events_part_precision_and_recall():
    precision, recall, f = soda_video(np.array([[1.0], [0.0], [0.0], [0.0]]), None, "d")
    assert (precision, recall, f) == (0.25, 1.0, pytest.approx(0.4))
    assert soda_video(np.zeros((0, 2)), None, "d") == (0, 0, 0)


def test_annotation_sets_are_averaged_or_the_best_is_taken():
    first, second = {"a": (1.0, 1.0, 1.0), "b": (0.0, 0.0, 0.0)}, {"a": (0.5, 0.5, 0.5)}
    mean = combine([first, second], "mean")
    assert mean.f == 0.5
    assert mean.videos["a"] == (0.75, 0.75, 0.75)
    assert combine([first, second], "best").f == 0.5
    assert combine([first, second], "best").videos["a"] == (1.0, 1.0, 1.0)


def test_what_is_not_defined_is_named():
    with pytest.raises(ValueError, match="SODA_e is not defined"):
        soda_video(np.ones((1, 1)), None, "e")
    with pytest.raises(ValueError, match="SODA_c needs a text metric"):
        soda_video(np.ones((1, 1)), None, "c")
    with pytest.raises(ValueError, match="'mean' or 'best'"):
        combine([{}], "worst")
