"""SODA's alignments are the best that do not cross."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capjax.metrics import meteor
from capjax.metrics.activitynet import Annotation, TimedSentence
from capjax.metrics.dense import score_dense
from capjax.metrics.soda import best_matching_score, combine, soda_video
from tests.helpers.dense_cases import case, oracle_soda, overlaps, overlaps_times

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
def test_the_best_matching_is_the_best_of_all(scores):
    best = max(every_alignment(scores))
    assert best_matching_score(scores) == best_matching_score(scores.T) == pytest.approx(best)


def test_a_worked_example_of_each_kind():
    """Two events each; the second two pairs overlap best, but their words differ."""
    tiou, text = np.array([[0.8, 0.2], [0.0, 0.5]]), np.array([[0.5, 1.0], [0.0, 0.1]])
    assert soda_video(tiou) == pytest.approx((0.65, 0.65, 0.65))
    assert soda_video(tiou, text) == pytest.approx((0.225, 0.225, 0.225))  # 0.4 + 0.05


def test_unequal_numbers_of_events_part_precision_and_recall():
    precision, recall, f = soda_video(np.array([[1.0], [0.0], [0.0], [0.0]]))
    assert (precision, recall, f) == (0.25, 1.0, pytest.approx(0.4))
    assert soda_video(np.zeros((0, 2))) == (0, 0, 0)


def test_annotation_sets_are_averaged_or_the_best_is_taken():
    first, second = {"a": (1.0, 1.0, 1.0), "b": (0.0, 0.0, 0.0)}, {"a": (0.5, 0.5, 0.5)}
    mean = combine([first, second], "mean")
    assert mean.f == 0.5
    assert mean.videos["a"] == (0.75, 0.75, 0.75)
    assert combine([first, second], "best").f == 0.5
    assert combine([first, second], "best").videos["a"] == (1.0, 1.0, 1.0)


def test_what_is_not_defined_is_named():
    with pytest.raises(ValueError, match="'mean' or 'best'"):
        combine([{}], "worst")


@pytest.mark.parametrize("how", ["mean", "best", "merged"])
def test_soda_d_of_videos_is_that_of_every_matching(how):
    for seed in range(100):
        predictions, sets = case(seed)
        scores = score_dense(predictions, sets, missing="zero", soda_sets=how).corpus
        expected = oracle_soda(predictions, sets, how, overlaps)
        assert figures(scores, "SODA_d") == pytest.approx(expected, abs=1e-9), seed


@pytest.mark.parametrize("swapped", [True, False])
@pytest.mark.parametrize("name", ["ROUGE-L", "CIDEr", "BLEU-2"])
def test_soda_c_is_the_best_matching_by_tiou_times_text(name, swapped):
    values = overlaps_times(name)
    for seed in range(50):
        predictions, sets = case(seed)
        how = ("mean", "best", "merged")[seed % 3]
        scores = score_dense(
            predictions, sets, missing="zero", soda_metric=name, soda_sets=how, soda_swapped=swapped
        ).corpus
        expected = oracle_soda(predictions, sets, how, values, swapped=swapped)
        assert figures(scores, f"SODA_c ({name})") == pytest.approx(expected, abs=1e-9), (seed, how)


@pytest.mark.parametrize("swapped", [True, False])
def test_soda_c_by_meteor_weighs_its_arguments_as_it_is_told(swapped):
    def meteor_function(_, pairs):
        statistics = meteor.statistics([h.split() for h, _ in pairs], [[r.split() for r in g] for _, g in pairs])
        return 0.0, meteor.aggregate(statistics).tolist()

    for seed in range(8):
        predictions, sets = case(seed)
        scores = score_dense(predictions, sets, missing="zero", metrics=["meteor"], soda_swapped=swapped).corpus
        expected = oracle_soda(predictions, sets, "mean", overlaps_times("METEOR", meteor_function), swapped=swapped)
        assert figures(scores, "SODA_c") == pytest.approx(expected, abs=1e-9), seed


def figures(scores, name) -> list[float]:
    return [scores[f"{name} precision"], scores[f"{name} recall"], scores[name]]


def test_soda_c_without_meteor_is_absent_and_not_zero():
    predictions, sets = case(0)
    scores = score_dense(predictions, sets, missing="zero")
    assert "SODA_c" not in scores.corpus and "METEOR" in scores.absent["SODA_c"]
    assert "SODA_c (ROUGE-L)" in scores.corpus, "another metric takes its place under its own name"
    assert "|soda:ROUGE-L,swapped,mean|" in scores.signatures["dense"]
    only = score_dense(predictions, sets, missing="zero", metrics=["cider"])
    assert "SODA_c (CIDEr)" in only.corpus and "SODA_c (ROUGE-L)" not in only.absent
    none = score_dense(predictions, sets, missing="zero", metrics=["bleu"])
    assert not [name for name in none.corpus if name.startswith("SODA_c")]
    named = score_dense(predictions, sets, missing="zero", metrics=["bleu"], soda_metric="CIDEr")
    assert {"SODA_c", "SODA_c (CIDEr)"} <= named.absent.keys()


def test_soda_counts_events_in_the_order_of_time_and_not_of_the_file():
    annotated = [{"v": Annotation(20.0, [TimedSentence(10, 20, "the dog jumps"), TimedSentence(0, 10, "a man runs")])}]
    events = [TimedSentence(0, 10, "a man runs"), TimedSentence(10, 20, "the dog jumps")]
    scores = [
        score_dense({"v": predicted}, annotated).corpus["SODA_c (ROUGE-L)"] for predicted in (events, events[::-1])
    ]
    assert scores == [pytest.approx(1, abs=1e-8)] * 2


def test_a_story_told_in_the_wrong_order_loses():
    annotated = [{"v": Annotation(20.0, [TimedSentence(0, 19, "a man runs"), TimedSentence(1, 20, "the dog jumps")])}]
    right = {"v": [TimedSentence(0, 19, "a man runs"), TimedSentence(1, 20, "the dog jumps")]}
    wrong = {"v": [TimedSentence(0, 19, "the dog jumps"), TimedSentence(1, 20, "a man runs")]}
    scores = [score_dense(events, annotated).corpus["SODA_c (ROUGE-L)"] for events in (right, wrong)]
    assert scores[0] == pytest.approx(1, abs=1e-8) and scores[1] < 0.6
