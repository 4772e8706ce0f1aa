"""Dense captioning scores equal slow programs written from their definitions."""

import numpy as np
import pytest

from capjax.metrics import dense, meteor
from capjax.metrics.activitynet import Annotation, TimedSentence, read_annotations
from capjax.metrics.dense import score_dense
from capjax.metrics.metric import Captions
from capjax.metrics.names import TEMPORAL_FIGURES
from capjax.metrics.registry import dense_metrics
from capjax.metrics.rouge import RougeL
from tests.helpers.dense_cases import (
    GARBAGE,
    TIOUS,
    case,
    coco,
    harmonic,
    mean,
    oracle_localization,
    oracle_paragraph,
    oracle_temporal,
    oracle_text,
)
from tests.helpers.java_meteor import conversation, needs_java

NAMES = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr")
PARK = [{"v": Annotation(20.0, [TimedSentence(0, 10, "a man runs"), TimedSentence(10, 20, "the dog jumps")])}]


def scored(predictions, sets, **arguments):
    return score_dense(predictions, sets, missing="zero", garbage=GARBAGE, **arguments)


# Ten cases a test, or the list of tests would be longer than they take.
@pytest.mark.parametrize("first", range(0, 250, 10))
def test_text_and_localization_are_those_of_the_oracle(first):
    for seed in range(first, first + 10):
        predictions, sets = case(seed)
        scores = scored(predictions, sets).corpus
        for tiou in TIOUS:
            for name in NAMES:
                expected = oracle_text(name, predictions, sets, tiou)
                assert scores[f"{name}@{tiou:g}"] == pytest.approx(expected, abs=1e-9), (seed, name, tiou)
            precision, recall = oracle_localization(predictions, sets, tiou)
            assert scores[f"Precision@{tiou:g}"] == pytest.approx(precision), (seed, tiou)
            assert scores[f"Recall@{tiou:g}"] == pytest.approx(recall), (seed, tiou)
            assert scores[f"F1@{tiou:g}"] == pytest.approx(harmonic(precision, recall)), (seed, tiou)
        for name in (*NAMES, "Precision", "Recall"):
            assert scores[name] == pytest.approx(mean(scores[f"{name}@{tiou:g}"] for tiou in TIOUS)), (seed, name)
        assert scores["F1"] == pytest.approx(harmonic(scores["Precision"], scores["Recall"])), seed


@pytest.mark.parametrize("first", range(0, 100, 20))
def test_paragraphs_are_all_sentences_of_a_video_in_time(first):
    for seed in range(first, first + 20):
        predictions, sets = case(seed)
        scores = scored(predictions, sets).corpus
        for name in NAMES:
            expected = oracle_paragraph(name, predictions, sets)
            assert scores[f"paragraph {name}"] == pytest.approx(expected, abs=1e-9), (seed, name)


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_temporal_figures_are_those_of_every_matching(first):
    for seed in range(first, first + 20):
        predictions, sets = case(seed, whole=False)
        scores = scored(predictions, sets)
        expected = oracle_temporal(predictions, sets)
        names = TEMPORAL_FIGURES.keys()
        assert {name: scores.corpus[name] for name in names if name in scores.corpus} == pytest.approx(expected), seed
        assert names - expected.keys() == names & scores.absent.keys(), seed


@needs_java
@pytest.mark.slow  # the Java program reads its tables for ten seconds
def test_everything_with_meteor_is_that_of_the_published_programs_in_java(shared_data):
    """Real annotations of two sets, their tokenizer and METEOR in Java, garbage of the 2018 program."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    whole = read_annotations(shared_data / "activitynet" / "train.json")
    ids = list(whole)[:6]
    others = list(whole.values())[100:]
    first = {id: whole[id] for id in ids}
    second = {id: Annotation(d, [TimedSentence(s * 0.9, e, others[i].events[0].sentence) for s, e, _ in events])
              for i, (id, (d, events)) in enumerate(first.items()) if i != 1}  # fmt: skip
    predictions = {id: [TimedSentence(s + 1, e + 3, " ".join(t.split()[i % 3 :]) + " naïve") for s, e, t in events]
                   for i, (id, (_, events)) in enumerate(first.items()) if i != 2}  # fmt: skip
    garbage = dense.GARBAGE["2018"]
    all_events = [
        *predictions.values(),
        *(annotation.events for each in (first, second) for annotation in each.values()),
    ]
    sentences = [*(event.sentence for events in all_events for event in events), garbage]
    ascii_only = ["".join(c if ord(c) < 128 else " " for c in text) for text in sentences]
    tokens = PTBTokenizer().tokenize({i: [{"caption": text}] for i, text in enumerate(ascii_only)})
    split = {text: tokens[i][0] for i, text in enumerate(sentences)}

    with conversation("Meteor", "-", "-", "-stdio", "-l", "en", "-norm") as say:

        def java(name, pairs):
            statistics = [say(" ||| ".join(["SCORE", *group, hypothesis]))[0] for hypothesis, group in pairs]
            *items, corpus = map(float, say(" ||| ".join(["EVAL", *statistics]), answers=len(pairs) + 1))
            return corpus, items

        scores = score_dense(predictions, [first, second], metrics=["meteor", "cider"], missing="zero", garbage=garbage)
        for name, metric in (("METEOR", java), ("CIDEr", coco)):
            for tiou in TIOUS:
                expected = oracle_text(name, predictions, [first, second], tiou, metric, split.get, garbage)
                assert scores.corpus[f"{name}@{tiou:g}"] == pytest.approx(expected, abs=1e-6), (name, tiou)
            expected = oracle_paragraph(name, predictions, [first, second], metric)
            assert scores.corpus[f"paragraph {name}"] == pytest.approx(expected, abs=1e-6), name


@pytest.mark.parametrize("seed", range(6))
def test_meteor_of_a_video_is_that_of_its_pairs_together(seed):
    """Whether a metric is known to be made of sums, or is any function of sentences, is of no consequence."""
    predictions, sets = case(seed)

    def meteor_function(hypotheses, groups):
        statistics = meteor.statistics(hypotheses, groups)
        return float(meteor.aggregate(statistics.sum(1))), meteor.aggregate(statistics)

    scores = scored(predictions, sets, metrics=["meteor", "bleu"])
    other = scored(predictions, sets, metrics={"METEOR": meteor_function})
    for name, value in other.corpus.items():
        assert scores.corpus[name] == pytest.approx(value), name


def test_a_perfect_prediction_has_the_best_of_every_figure():
    scores = score_dense({"v": PARK[0]["v"].events}, PARK).corpus
    for name in ("Precision", "Recall", "F1", "BLEU-1", "ROUGE-L", "SODA_d", "matched tIoU", "Kendall tau"):
        assert scores[name] == pytest.approx(1, abs=1e-8), name
    assert scores["boundary error median (s)"] == scores["boundary error p90 (s)"] == 0


def test_figures_of_a_worked_example():
    """One event found well and one that finds nothing, worked out by hand."""
    scores = score_dense(
        {"v": [TimedSentence(0, 8, "a man runs"), TimedSentence(50, 60, "a cat")]},
        [{"v": Annotation(60.0, [TimedSentence(0, 10, "a man runs"), TimedSentence(10, 20, "the dog jumps")])}],
        tious=[0.5, 0.9],
    ).corpus
    assert (scores["Precision@0.5"], scores["Recall@0.5"], scores["F1@0.5"]) == (0.5, 0.5, 0.5)
    assert (scores["Precision@0.9"], scores["Recall@0.9"], scores["F1@0.9"]) == (0, 0, 0)
    # A pair of the same words and one of garbage: 1 and 0. At 0.9 there is only garbage.
    assert (scores["ROUGE-L@0.5"], scores["ROUGE-L@0.9"], scores["ROUGE-L"]) == (0.5, 0, 0.25)
    # Three of five words, in two hypotheses of 5 words against 3 and 1.
    assert scores["BLEU-1@0.5"] == pytest.approx(3 / 5)
    assert scores["SODA_d"] == pytest.approx(0.4, abs=1e-8)  # 0.8 over two events, both ways
    assert scores["matched events"] == 0.5
    assert scores["boundary error p90 (s)"] == pytest.approx(1.8)  # of errors 0 and 2


def test_an_event_said_twice_counts_twice():
    once = [TimedSentence(0, 10, "a man runs"), TimedSentence(40, 50, "a cat")]
    annotated = [{"v": Annotation(60.0, [TimedSentence(0, 10, "a man runs")])}]
    scores = [score_dense({"v": events}, annotated).corpus for events in (once, once + once[:1])]
    assert [figures["Precision@0.5"] for figures in scores] == [1 / 2, pytest.approx(2 / 3)]
    assert [figures["ROUGE-L@0.5"] for figures in scores] == [1 / 2, pytest.approx(2 / 3)]
    assert scores[1]["SODA_d precision"] == pytest.approx(1 / 3)  # one annotated event, one pair


def test_an_overlap_of_the_threshold_is_the_programs_hundred_millionth_below_it():
    half = score_dense({"v": [TimedSentence(0, 5, "a man runs")]}, PARK).corpus
    assert half["ROUGE-L@0.5"] == half["Recall@0.5"] == 0 and half["ROUGE-L@0.3"] == 1


def test_at_threshold_zero_everything_is_held_against_everything_and_found_where_it_overlaps():
    scores = score_dense({"v": [TimedSentence(0, 5, "a man runs")]}, PARK, tious=[0]).corpus
    assert scores["ROUGE-L@0"] == 0.5 and scores["Recall@0"] == 0.5


def test_a_video_that_one_set_lacks_is_scored_against_the_others():
    events = {id: [TimedSentence(0, 10, "a man runs")] for id in "vw"}
    both = {id: Annotation(20.0, events[id]) for id in "vw"}
    scores = score_dense(events, [both, {"v": both["v"]}])
    assert scores.corpus["ROUGE-L"] == pytest.approx(1) and scores.corpus["SODA_d"] == pytest.approx(1, abs=1e-8)
    assert scores.videos["w"]["Recall"] == 1
    assert "annotated:2,1|" in scores.signatures["dense"]


@pytest.mark.parametrize("seed", [3, 11, 30])
def test_a_lone_video_is_scored_as_each_video_by_itself(seed):
    predictions, sets = case(seed)
    scores = scored(predictions, sets)
    for video, figures in scores.videos.items():
        own = {video: predictions[video]} if video in predictions else {}
        alone = scored(own, [{video: a[video]} for a in sets if video in a])
        for name in ("BLEU-4", "CIDEr@0.5", "Precision@0.7", "Recall", "SODA_d", "matched events"):
            assert figures[name] == pytest.approx(alone.corpus[name]), name


def test_the_mean_of_videos_is_the_score_and_the_order_of_videos_is_of_no_consequence():
    predictions, sets = case(4)
    scores = scored(predictions, sets)
    for name in (*NAMES, "Precision", "Recall", "BLEU-4@0.3"):
        assert scores.corpus[name] == pytest.approx(mean(figures[name] for figures in scores.videos.values())), name
    turned = scored(dict(reversed(predictions.items())), [dict(reversed(a.items())) for a in reversed(sets)])
    assert turned.corpus == pytest.approx(scores.corpus)


def test_what_finds_nothing_scores_zero_whatever_the_garbage_is():
    predictions, sets = case(7)
    a, b = (score_dense(predictions, sets, missing="zero", garbage=text).corpus for text in ("qqqq", "zzzz"))
    assert a == b
    far = {"v": [TimedSentence(90, 95, "a man runs")]}
    scores = score_dense(far, PARK, metrics=["meteor", "bleu", "rouge", "cider"]).corpus
    for name in ("METEOR", "ROUGE-L", "CIDEr", "SODA_c", "SODA_d", "Precision", "Recall", "F1"):
        assert scores[name] == 0, name
    assert scores["BLEU-1"] < 1e-6  # BLEU's constants leave a trace


def test_only_the_first_proposals_of_a_video_are_scored():
    events = [TimedSentence(10, 20, "the dog jumps"), TimedSentence(0, 10, "a man runs")]
    cut, alone = score_dense({"v": events}, PARK, max_proposals=1), score_dense({"v": events[:1]}, PARK)
    assert cut.corpus == alone.corpus and cut.videos == alone.videos


def test_other_languages_are_split_by_their_own_rules_and_have_no_meteor():
    annotated = [{"v": Annotation(9.0, [TimedSentence(0, 9, "一个男人在跑步")])}]
    predicted = {"v": [TimedSentence(0, 9, "一个男人在跑步")]}
    scores = score_dense(predicted, annotated, lang="zh", metrics=["rouge", "meteor"])
    assert scores.corpus["ROUGE-L"] == scores.corpus["paragraph ROUGE-L"] == 1
    assert "METEOR" not in scores.corpus and "English" in scores.absent["METEOR"] and "SODA_c" in scores.absent
    assert "|tok:icu-" in scores.signatures["dense"]
    assert dense.published_words("一个男人") == [], "the published program sees no word of it"


def test_the_same_figures_with_a_tokenizer_of_ones_own():
    scores = score_dense({"v": PARK[0]["v"].events}, PARK, tokenize=str.split)
    assert scores.corpus["paragraph BLEU-4"] == pytest.approx(1)
    assert "|tok:custom:split|" in scores.signatures["dense"]


def test_rows_have_every_videos_figures():
    predictions, sets = case(3)
    scores = scored(predictions, sets)
    rows = list(scores.rows())
    assert [row["id"] for row in rows] == list(scores.videos)
    assert all(np.isfinite(value) for row in rows for name, value in row.items() if name != "id")
    assert rows[0].keys() - {"id"} == scores.videos[rows[0]["id"]].keys()


def test_words_are_those_of_the_published_programs():
    assert dense.published_words("Café: A man's dog.") == ["caf", "a", "man", "'s", "dog"]
    assert dense.published_paragraph_words("A man's 2 dogs.") == ["a", "man", "s", "dogs"]


def test_metrics_are_named_by_families_or_given_as_functions():
    def rouge(hypotheses, references):
        scores = RougeL().item_scores(Captions(hypotheses, references))
        return float(scores.mean()), scores

    by_family = score_dense({"v": PARK[0]["v"].events}, PARK, metrics=["rouge"]).corpus
    by_function = score_dense({"v": PARK[0]["v"].events}, PARK, metrics={"ROUGE-L": rouge}).corpus
    assert by_family == by_function
    assert [metric.family for metric in dense_metrics(["cider", "meteor"])] == ["meteor", "cider"]
    with pytest.raises(ValueError, match="dense captions are not scored by 'chrf'; choose from bleu"):
        score_dense({"v": PARK[0]["v"].events}, PARK, metrics=["chrf"])
