"""Dense captions that are wrong are errors that say where; that are doubtful, warnings."""

import re

import pytest

from capjax.metrics.activitynet import Annotation, TimedSentence
from capjax.metrics.dense import score_dense

NAN = float("nan")
PARK = [{"v": Annotation(20.0, [TimedSentence(0, 10, "a man runs"), TimedSentence(10, 20, "the dog jumps")])}]
GOOD = {"v": [TimedSentence(0, 10, "a man runs"), TimedSentence(11, 20, "the dog jumps")]}


def one(*scores) -> dict:
    return {"v": [TimedSentence(*event) for event in scores]}


def annotated(duration, *scores) -> list[dict]:
    return [PARK[0], {"v": (duration, [TimedSentence(*event) for event in scores])}]


@pytest.mark.parametrize(
    ("predictions", "error", "message"),
    [
        ({}, ValueError, "no predictions for 'v'.*missing='zero'.*missing='drop'"),
        ([], TypeError, "predictions: expected {video: .*found \\[\\]"),
        ({"v": [], "w": []}, ValueError, "no annotations for the predicted videos 'w'"),
        ({"x": [], "w": []}, ValueError, "no predicted video is annotated: .*'x', 'w'; annotations of 'v'"),
        (one((0, 1, "a"), (5, 2, "a man")), ValueError, "video 'v', event 1: ends at 2.0 s, before it starts at 5.0 s"),
        (one((0, NAN, "a man")), ValueError, "predictions: video 'v', event 0: nan is not a time"),
        (one((0, float("inf"), "a man")), ValueError, "event 0: inf is not a time"),
        (one((-1, 2, "a man")), ValueError, "event 0: .*negative time"),
        (one((-3, -2, "a man")), ValueError, "negative time"),
        (one(("0", 2, "a man")), ValueError, "expected a number of seconds, found '0'"),
        (one((None, 2, "a man")), ValueError, "expected a number of seconds, found None"),
        (one((True, 2, "a man")), ValueError, "expected a number of seconds, found True"),
        (one((0, 2, " ")), ValueError, "event 0: the sentence is empty"),
        (one((0, 2, 3)), TypeError, "expected a sentence as a string, found 3"),
        ({"v": "a man"}, TypeError, "expected a list of events, found 'a man'"),
        ({"v": None}, TypeError, "expected a list of events, found None"),
        ({"v": [[1, 2]]}, TypeError, r"expected \(start, end, sentence\), found \[1, 2\]"),
        ({"v": [{"sentence": "a"}]}, TypeError, r"expected \(start, end, sentence\)"),
    ],
)
def test_predictions_that_are_wrong_are_named(predictions, error, message):
    with pytest.raises(error, match=message):
        score_dense(predictions, PARK)


@pytest.mark.parametrize(
    ("references", "error", "message"),
    [
        ([], ValueError, "a list of annotation sets"),
        (PARK[0], ValueError, "a list of annotation sets"),
        ([PARK[0], {}], ValueError, "set 1 is {}"),
        ("val_1.json", ValueError, "a list of annotation sets.*found 'val_1.json'"),
        (["val_1.json"], ValueError, "set 0 is 'val_1.json'"),
        (annotated(20.0), ValueError, "annotation set 1: video 'v' has no events"),
        (annotated(0, (0, 1, "a")), ValueError, "annotation set 1: video 'v': 0 s is not the duration of a video"),
        (annotated(-5.0, (0, 1, "a")), ValueError, "-5.0 s is not the duration"),
        (annotated(NAN, (0, 1, "a")), ValueError, "nan s is not the duration"),
        (annotated("20", (0, 1, "a")), TypeError, "expected a duration in seconds, found '20'"),
        (annotated(20, (NAN, 1, "a")), ValueError, "annotation set 1: video 'v', event 0: nan is not a time"),
        (annotated(20, (0, 1, "a"), (-2, 1, "a")), ValueError, "event 1: .*negative time"),
        (annotated(20, (0, 1, "")), ValueError, "event 0: the sentence is empty"),
        ([{"v": PARK[0]["v"].events}], TypeError, r"expected a duration in seconds"),
        ([{"v": [*PARK[0]["v"].events, TimedSentence(0, 1, "a")]}], TypeError, r"expected \(duration, events\)"),
        ([{"v": (20.0, "a man")}], TypeError, "expected a list of events"),
    ],
)
def test_annotations_that_are_wrong_are_named(references, error, message):
    with pytest.raises(error, match=message):
        score_dense(GOOD, references)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"tious": [3]}, ValueError, "expected one threshold or more from 0 to 1"),
        ({"tious": [NAN]}, ValueError, "expected one threshold or more from 0 to 1"),
        ({"tious": []}, ValueError, "expected one threshold or more"),
        ({"tious": 0.5}, TypeError, "thresholds such as"),
        ({"tious": [0.5, 0.5]}, ValueError, "is repeated"),
        ({"missing": "skip"}, ValueError, "missing='skip': expected error, zero or drop"),
        ({"extra": "drop"}, ValueError, "extra='drop': expected error or ignore"),
        ({"metrics": {"X": 3}}, TypeError, "metric 'X': expected function"),
        ({"metrics": "bleu"}, TypeError, r"expected a list of names, such as \['bleu'\]"),
        ({"metrics": ["bleurt"]}, ValueError, "there is no metric 'bleurt'"),
        ({"soda_sets": "worst"}, ValueError, "expected mean, best or merged"),
        ({"max_proposals": 0}, ValueError, "expected 1 or more"),
    ],
)
def test_options_that_are_wrong_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        score_dense(GOOD, PARK, **arguments)


def test_published_annotations_with_reversed_events_are_scored_and_told_of():
    scores = score_dense(GOOD, annotated(20, (10, 0, "a man runs"), (10, 20, "the dog jumps")))
    assert scores.videos["v"]["matched events"] == 3 / 4
    assert any("1 annotated events have no duration or end before they start" in text for text in scores.warnings)


def test_missing_videos_count_as_nothing_or_are_left_out():
    sets = [{**PARK[0], "w": PARK[0]["v"]}, {"w": PARK[0]["v"]}]
    zero, drop = (score_dense(GOOD, sets, missing=how) for how in ("zero", "drop"))
    alone = score_dense(GOOD, PARK)
    assert drop.corpus == alone.corpus and drop.videos == alone.videos
    for name in ("BLEU-4", "CIDEr@0.3", "Precision", "Recall"):
        assert zero.corpus[name] == pytest.approx(alone.corpus[name] / 2), name
    assert zero.corpus["matched events"] == 2 / 6
    assert zero.counts == {"items": 2, "missing": 1, "extra": 0, "events": 2}
    assert drop.counts == {"items": 1, "missing": 1, "extra": 0, "events": 2}
    assert "|missing:zero|" in zero.signatures["dense"] and "|missing:drop|" in drop.signatures["dense"]
    assert any("1 of 2 videos have no predicted event: they score 0 ('w')" in text for text in zero.warnings)
    with pytest.raises(ValueError, match="no video is left"):
        score_dense({}, PARK, missing="drop")


def test_videos_without_annotations_are_left_out_when_asked():
    # What is wrong in them is then of no interest.
    scores = score_dense({**GOOD, "w": [TimedSentence(5, 2, "")]}, PARK, extra="ignore")
    assert scores.corpus == score_dense(GOOD, PARK).corpus
    assert scores.counts["extra"] == 1 and scores.counts["events"] == 2


def test_no_predictions_at_all_score_zero_and_what_needs_some_is_absent():
    for predictions in ({}, {"v": []}):
        scores = score_dense(predictions, PARK, missing="zero")
        for name in ("BLEU-4", "CIDEr", "Precision", "F1@0.5", "SODA_d", "paragraph ROUGE-L", "matched events"):
            assert scores.corpus[name] == 0, name
        assert {"matched tIoU", "Kendall tau", "boundary error p90 (s)"} <= scores.absent.keys()
        assert not scores.absent.keys() & scores.corpus.keys()
        assert scores.warnings == ["no event is predicted in any video: all scores are 0"]


def test_an_empty_list_of_events_is_a_prediction():
    scores = score_dense({"v": GOOD["v"], "w": []}, [{**PARK[0], "w": PARK[0]["v"]}])
    assert scores.counts["missing"] == 0 and scores.videos["w"]["Recall"] == 0


@pytest.mark.parametrize(
    ("predictions", "warning"),
    [
        (one((0, 0.5, "a man runs"), (0.5, 1.0, "the dog")), "are times shares of the duration"),
        (one((0, 900, "a man runs"), (0, 5, "the dog")), "1 predicted events end after their video does .*'v', 20 s"),
        (one((0, 9, "a man"), (0, 9, "a man"), (0, 9, "a dog")), "1 predicted events repeat the time and sentence"),
        (one((0, 9, "一个男人")), "1 of 1 predicted sentences have no word"),
        (one((0, 9, "ein Mann rennt"), (9, 20, "ein Hund")), "are they in the same language"),
        (one((0, 2, "a man runs")), "no predicted event has a tIoU of 0.3"),
        (one((0, 9, "a man runs")), "CIDEr at tIoU 0.3 is 0 by definition in 1 of 1 videos"),
    ],
)
def test_what_is_doubtful_is_told(predictions, warning):
    scores = score_dense(predictions, PARK).warnings
    assert any(re.search(warning, text) for text in scores), scores


def test_what_is_cut_is_told():
    scores = score_dense(GOOD, PARK, max_proposals=1)
    assert any("1 predicted events were left out: only the first 1 of a video" in text for text in scores.warnings)
    assert scores.counts["events"] == 2


def test_what_is_well_is_not_warned_of():
    assert score_dense(GOOD, PARK).warnings == []
