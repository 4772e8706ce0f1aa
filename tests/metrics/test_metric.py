"""A metric of one's own has every score that the built-in ones have: of captions, of dense captions, resampled."""

import numpy as np
import pytest

from capjax.metrics import names, registry, score
from capjax.metrics.activitynet import Annotation, TimedSentence
from capjax.metrics.dense import score_dense
from capjax.metrics.metric import Captions, Metric
from capjax.metrics.registry import METRICS, register_metric
from capjax.metrics.significance import confidences
from tests.helpers.dense_cases import case

PREDICTIONS = {1: "a dog runs", 2: "two cats", 3: "a man with a red ball"}
REFERENCES = {1: ["a dog", "the dog runs"], 2: ["two cats sleep"], 3: ["a ball"]}


class FirstWord(Metric):
    """The share of captions whose first word begins a reference."""

    family = "firstword"
    names = ("FirstWord",)

    def statistics(self, captions: Captions) -> np.ndarray:
        hits = [
            any(words[:1] == reference[:1] for reference in group)
            for words, group in zip(captions.hypotheses, captions.references, strict=True)
        ]
        return np.array([hits, np.ones(len(hits))], np.float64)

    def aggregate(self, sums: np.ndarray) -> np.ndarray:
        return (sums[0] / sums[1])[None]


@pytest.fixture
def first_word(monkeypatch):
    for module, table in ((registry, "METRICS"), (names, "FAMILIES"), (names, "DENSE_FAMILIES")):
        for family in [*getattr(module, table)]:  # so that the metric is gone after the test
            monkeypatch.setitem(getattr(module, table), family, getattr(module, table)[family])
    register_metric(FirstWord())
    yield
    for table in (METRICS, names.FAMILIES, names.DENSE_FAMILIES):
        del table["firstword"]


def test_a_registered_metric_scores_captions(first_word):
    scores = score(PREDICTIONS, REFERENCES, metrics=["FirstWord", "rouge"])
    assert scores.corpus["FirstWord"] == 1
    assert scores.items["FirstWord"].tolist() == [1, 1, 1]
    assert scores.signatures["FirstWord"].startswith("FirstWord|items:3|refs:1-2|tok:ptb-3.4.1|capjax:")


def test_a_registered_metric_scores_dense_captions_and_soda(first_word):
    events = [TimedSentence(0, 10, "a man runs"), TimedSentence(10, 20, "then he jumps")]
    annotated = [TimedSentence(0, 10, "a man runs"), TimedSentence(10, 20, "he jumps")]
    corpus = score_dense(
        {"v": events}, [{"v": Annotation(20.0, annotated)}], metrics=["firstword"], soda_metric="FirstWord"
    ).corpus
    assert corpus["FirstWord@0.5"] == pytest.approx(0.5)
    assert corpus["SODA_c (FirstWord)"] == pytest.approx(0.5)
    assert corpus["paragraph FirstWord"] == 1
    assert set(names.dense_figures(["firstword"])) <= set(corpus)


def test_a_registered_metric_is_resampled(first_word):
    predictions = {i: "a dog" if i % 2 else "the dog" for i in range(40)}
    measure = score(predictions, {i: ["a cat"] for i in range(40)}, metrics=["firstword"]).measures["FirstWord"]
    interval = confidences({"FirstWord": (measure.statistics, measure.aggregate)}, samples=200)["FirstWord"]
    assert interval.low < measure.corpus == 0.5 < interval.high


def test_names_are_given_once(first_word):
    class Another(FirstWord):
        """A metric of another class for the same family."""

    with pytest.raises(ValueError, match="there is a metric 'firstword' already: FirstWord"):
        register_metric(Another())

    class Other(FirstWord):
        family = "other"
        names = ("CIDEr",)

    with pytest.raises(ValueError, match="metric 'other': CIDEr is a metric of 'cider' already"):
        register_metric(Other())


def test_the_tables_of_names_and_of_metrics_agree():
    assert list(METRICS) == list(names.FAMILIES)
    for family, metric in METRICS.items():
        assert metric.family == family and metric.names == names.FAMILIES[family]
        assert (family in names.DENSE_FAMILIES) == (not metric.reads_text)
        assert metric.dense_names == names.FAMILIES[family][: len(metric.dense_names)]


@pytest.mark.parametrize("family", ["bleu", "rouge"])
def test_scores_of_sets_are_those_of_their_captions(family):
    """Pairs that are in several sets, and n-grams that are counted once for all, change nothing."""
    from capjax.metrics.pair_scoring import Pairs

    rng = np.random.default_rng(0)
    sentences = [[str(word) for word in rng.integers(5, size=rng.integers(0, 7))] for _ in range(12)]
    sizes = [1, 5, 9, 2]
    owner = np.repeat(np.arange(len(sizes)), sizes)
    hypothesis, reference = rng.integers(len(sentences), size=(2, len(owner)))
    pairs = Pairs(sentences, hypothesis, reference, owner, len(sizes))
    metric = METRICS[family]
    for number in range(len(sizes)):
        rows = np.flatnonzero(owner == number)
        captions = Captions([sentences[h] for h in hypothesis[rows]], [[sentences[r]] for r in reference[rows]])
        corpus, items = metric.corpus_scores(captions)
        np.testing.assert_array_equal(metric.set_scores(pairs)[:, number], corpus)
        np.testing.assert_array_equal(metric.pair_scores(pairs)[:, rows], items)


def test_dense_scores_of_a_function_are_those_of_the_metric(first_word):
    predictions, sets = case(3)

    def function(hypotheses, references):
        statistics = FirstWord().statistics(Captions(hypotheses, references))
        return float(statistics[0].mean()), statistics[0]

    own, registered = (
        score_dense(predictions, sets, metrics=metrics, missing="zero").corpus
        for metrics in ({"FirstWord": function}, ["firstword"])
    )
    figures = [name for name in registered if "FirstWord" in name]
    assert len(figures) > 4 and all(own[name] == pytest.approx(registered[name]) for name in figures)
