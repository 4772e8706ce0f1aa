"""Where events lie in time: held against every matching there is, and against scipy."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from capjax.metrics.temporal import kendall_tau, match_events, match_video, summarize, tiou_matrix

times = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)).map(sorted), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(times, times)
def test_tiou_is_the_seconds_in_common_over_the_seconds_of_either(ours, theirs):
    figures = tiou_matrix(np.array(ours), np.array(theirs))
    for (i, a), (j, b) in itertools.product(enumerate(ours), enumerate(theirs)):
        # Whole seconds can be counted.
        first, second = set(range(*a)), set(range(*b))
        expected = len(first & second) / len(first | second) if first and second else 0
        assert figures[i, j] == pytest.approx(expected, abs=1e-7)


@settings(max_examples=100, deadline=None)
@given(times, times)
def test_matched_events_have_the_greatest_sum_of_tiou(ours, theirs):
    tiou = tiou_matrix(np.array(ours), np.array(theirs))
    rows, columns = match_events(tiou)
    few, many = sorted(tiou.shape)
    wide = tiou if tiou.shape[0] == few else tiou.T
    best = max(sum(wide[i, j] for i, j in enumerate(order)) for order in itertools.permutations(range(many), few))
    assert tiou[rows, columns].sum() == pytest.approx(best)
    assert len(set(rows.tolist())) == len(rows) and len(set(columns.tolist())) == len(columns)
    assert (tiou[rows, columns] > 0).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=8))
def test_kendalls_tau_is_scipys(pairs):
    from scipy.stats import kendalltau

    a, b = np.array(pairs).T
    assume(len(set(a.tolist())) > 1 and len(set(b.tolist())) > 1)
    assert kendall_tau(a, b) == pytest.approx(kendalltau(a, b).statistic)


def test_nothing_has_no_order():
    assert kendall_tau(np.array([1.0]), np.array([2.0])) is None
    assert kendall_tau(np.array([1.0, 1.0]), np.array([1.0, 2.0])) is None


def test_boundary_errors_are_of_starts_and_ends_of_matched_events():
    predicted, annotated = np.array([[0.0, 9.0], [10.0, 24.0], [70, 80]]), np.array([[1.0, 10.0], [10.0, 20.0]])
    figures = summarize([match_video(predicted, annotated, tiou_matrix(predicted, annotated))])
    assert figures["matched events"] == 1
    assert figures["matched tIoU"] == pytest.approx((8 / 10 + 10 / 14) / 2)
    errors = [1, 0, 1, 4]
    assert figures["boundary error median (s)"] == np.median(errors)
    assert figures["boundary error p90 (s)"] == pytest.approx(np.percentile(errors, 90))
    assert figures["Kendall tau"] == 1


def test_events_told_in_reverse_have_the_reverse_order():
    predicted = np.array([[10.0, 20.0], [0.0, 12.0]])
    tiou = np.array([[0.5, 0.0], [0.0, 0.5]])
    annotated = np.array([[0.0, 15.0], [5.0, 20.0]])
    assert match_video(predicted, annotated, tiou).tau == -1


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50)).map(sorted), min_size=1, max_size=4), st.floats(0.1, 9))
def test_tiou_is_symmetric_and_the_same_wherever_events_lie(events, shift):
    times = np.array(events)
    tiou = tiou_matrix(times, times)
    np.testing.assert_allclose(tiou_matrix(times + shift, times + shift), tiou, atol=1e-3)
    np.testing.assert_allclose(tiou, tiou.T, atol=1e-9)
    assert (tiou >= 0).all() and (tiou <= 1).all()
    lasting = times[:, 1] - times[:, 0] > 1e-3
    np.testing.assert_allclose(np.diag(tiou)[lasting], 1, atol=1e-4)
    np.testing.assert_allclose(
        tiou_matrix(times * 2, times * 2)[lasting][:, lasting], tiou[lasting][:, lasting], atol=1e-4
    )


def test_events_that_last_no_time_or_end_before_they_start_overlap_nothing():
    odd, whole = np.array([[5.0, 5.0], [9.0, 2.0]]), np.array([[0.0, 10.0], [5.0, 5.0], [9.0, 2.0]])
    assert not tiou_matrix(odd, whole).any() and not tiou_matrix(whole, odd)[:, :1].any()


def test_the_best_matching_is_not_the_greedy_one():
    """The best single pair, 0.6, would leave two others with nothing."""
    tiou = np.array([[0.6, 0.5], [0.5, 0.0]])
    rows, columns = match_events(tiou)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_one_event_and_many_events_are_matched_alike():
    assert [figures.tolist() for figures in match_events(np.array([[0.4]]))] == [[0], [0]]
    assert [figures.tolist() for figures in match_events(np.array([[0.0]]))] == [[], []]
    assert [figures.tolist() for figures in match_events(np.array([[0.1, 0.4]]))] == [[0], [1]]
    assert [figures.tolist() for figures in match_events(np.zeros((0, 3)))] == [[], []]


def test_nothing_predicted_has_a_share_of_matched_events_and_nothing_else():
    empty, annotated = np.zeros((0, 2)), np.array([[0.0, 5.0]])
    assert summarize([match_video(empty, annotated, tiou_matrix(empty, annotated))]) == {"matched events": 0}
    assert summarize([]) == {}


def test_videos_are_taken_together_but_order_is_of_each():
    """Three events of one video in order, two of another reversed: the mean of 1 and -1."""
    first = np.array([[0.0, 10.0], [10.0, 20.0], [20.0, 30.0]])
    second, turned = np.array([[0.0, 12.0], [6.0, 20.0]]), np.array([[7.0, 12.0], [6.0, 20.0]])
    alignments = [
        match_video(first + 1, first, tiou_matrix(first + 1, first)),
        match_video(turned, second, tiou_matrix(turned, second)),
    ]
    figures = summarize(alignments)
    assert [a.tau for a in alignments] == [1, -1] and figures["Kendall tau"] == 0
    assert figures["boundary error median (s)"] == np.median([1] * 6 + [7, 0, 0, 0])
    assert figures["boundary error p90 (s)"] == pytest.approx(np.percentile([1] * 6 + [7, 0, 0, 0], 90))
