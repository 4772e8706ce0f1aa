"""Dense captioning scores equal plain, slow programs of their definitions."""

import random

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from capjax.metrics import dense, meteor
from capjax.metrics.activitynet import Annotation, Event
from capjax.metrics.dense import GARBAGE, score_dense
from capjax.metrics.pairs import METRICS, metrics_of

WORDS = ["a", "man", "woman", "runs", "jumps", "the", "dog", "ball", "park", "and", "then", "they", "talk"]
TIOUS = (0.3, 0.5, 0.7, 0.9)


def sentence(rng) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 8)))


def events(rng, count, duration):
    found = []
    for _ in range(count):
        start = rng.choice([0.0, rng.uniform(0, duration)])
        found.append(Event(start, rng.uniform(start, duration), sentence(rng)))
    return found


def near(rng, annotated, duration):
    """Predictions some of which are almost an annotated event."""
    found = []
    for event in annotated:
        if rng.random() < 0.7:
            start = max(0.0, event.start + rng.gauss(0, 2))
            found.append(
                Event(start, max(start, event.end + rng.gauss(0, 2)), rng.choice([event.sentence, sentence(rng)]))
            )
    return found + events(rng, rng.randint(0, 2), duration)


def case(seed):
    """(predictions, annotation sets): some videos in one set alone, some without predictions."""
    rng = random.Random(seed)
    sets, predictions = [{} for _ in range(rng.randint(1, 3))], {}
    for number in range(rng.randint(1, 4)):
        duration = rng.uniform(10, 60)
        for annotations in rng.sample(sets, rng.randint(1, len(sets))):
            annotations[f"v{number}"] = Annotation(duration, events(rng, rng.randint(1, 5), duration))
        if rng.random() < 0.9:
            own = next(annotations[f"v{number}"] for annotations in sets if f"v{number}" in annotations)
            predictions[f"v{number}"] = near(rng, own.events, duration)
    return predictions, [annotations for annotations in sets if annotations]


def iou(a, b) -> float:
    intersection = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = min(max(a[1], b[1]) - min(a[0], b[0]), a[1] - a[0] + b[1] - b[0])
    return intersection / (union + 1e-8)


def coco(name, pairs) -> float:
    """The corpus score of (hypothesis, references), by pycocoevalcap."""
    hypotheses = {i: [hypothesis] for i, (hypothesis, _) in enumerate(pairs)}
    references = {i: group for i, (_, group) in enumerate(pairs)}
    if name.startswith("BLEU"):
        return Bleu(4).compute_score(references, hypotheses, verbose=0)[0][int(name[-1]) - 1]
    return float({"ROUGE-L": Rouge, "CIDEr": Cider}[name]().compute_score(references, hypotheses)[0])


def videos_of(sets):
    return list(dict.fromkeys(video for annotations in sets for video in annotations))


def plain_text(name, predictions, sets, tiou) -> float:
    scores = []
    for video in videos_of(sets):
        pairs = []
        for event in predictions.get(video, ()):
            found = [
                other for annotations in sets if video in annotations for other in annotations[video].events
                if iou(event, other) >= tiou
            ]  # fmt: skip
            pairs += [(event.sentence, [other.sentence]) for other in found] or [(event.sentence, [GARBAGE["2021"]])]
        scores.append(coco(name, pairs) if pairs else 0.0)
    return float(np.mean(scores))


def plain_localization(predictions, sets, tiou) -> tuple[float, float]:
    precisions, recalls = [], []
    for video in videos_of(sets):
        precision = recall = 0.0
        for annotations in sets:
            if video in annotations and predictions.get(video):
                annotated = annotations[video].events
                hits = [[iou(event, other) > tiou for other in annotated] for event in predictions[video]]
                precision = max(precision, sum(map(any, hits)) / len(hits))
                recall = max(recall, sum(map(any, zip(*hits, strict=True))) / len(annotated))
        precisions.append(precision)
        recalls.append(recall)
    return float(np.mean(precisions)), float(np.mean(recalls))


def plain_soda(values) -> float:
    """The best sum over pairs that do not cross: every way is tried."""
    if not values or not values[0]:
        return 0.0
    rows, columns = len(values), len(values[0])
    return max(
        [0.0]
        + [values[i][j] + plain_soda([row[j + 1 :] for row in values[i + 1 :]])
           for i in range(rows) for j in range(columns)]
    )  # fmt: skip


def plain_soda_d(predictions, sets):
    """F of each video and set, averaged over videos, then sets."""
    by_set = []
    for annotations in sets:
        each = []
        for video, (_, annotated) in annotations.items():
            ours = sorted(predictions.get(video, ()), key=lambda event: event.start)
            theirs = sorted(annotated, key=lambda event: event.start)
            total = plain_soda([[iou(a, b) for b in theirs] for a in ours])
            precision, recall = (total / len(ours) if ours else 0.0), total / len(theirs)
            each.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
        by_set.append(np.mean(each))
    return float(np.mean(by_set))


@pytest.mark.parametrize("seed", range(40))
def test_every_figure_is_that_of_a_plain_program(seed):
    predictions, sets = case(seed)
    found = score_dense(predictions, sets, missing="zero").corpus
    for tiou in TIOUS:
        for name in ("BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr"):
            expected = plain_text(name, predictions, sets, tiou)
            assert found[f"{name}@{tiou:g}"] == pytest.approx(expected, abs=1e-9), (name, tiou)
        precision, recall = plain_localization(predictions, sets, tiou)
        assert (found[f"Precision@{tiou:g}"], found[f"Recall@{tiou:g}"]) == pytest.approx((precision, recall))
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        assert found[f"F1@{tiou:g}"] == pytest.approx(f1)
    assert found["SODA_d"] == pytest.approx(plain_soda_d(predictions, sets), abs=1e-9)
    for name in METRICS:
        assert found[name] == pytest.approx(np.mean([found[f"{name}@{tiou:g}"] for tiou in TIOUS]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40, 400))
def test_every_figure_is_that_of_a_plain_program_in_hundreds_of_cases(seed):
    test_every_figure_is_that_of_a_plain_program(seed)


@pytest.mark.parametrize("seed", range(20))
def test_paragraphs_are_all_sentences_of_a_video_in_time(seed):
    predictions, sets = case(seed)

    def paragraph(found) -> str:
        return " ".join(event.sentence for event in sorted(found, key=lambda event: event.start))

    pairs = [
        (paragraph(predictions.get(video, ())), [paragraph(a[video].events) for a in sets if video in a])
        for video in videos_of(sets)
    ]
    found = score_dense(predictions, sets, missing="zero").corpus
    for name in ("BLEU-4", "ROUGE-L", "CIDEr"):
        assert found[f"paragraph {name}"] == pytest.approx(coco(name, pairs), abs=1e-9), name


@pytest.fixture(scope="module")
def with_meteor():
    pytest.importorskip("pycocoevalcap")
    return metrics_of(["meteor", "bleu"])


def meteor_of(hypothesis: str, reference: str) -> float:
    return float(meteor.aggregate(meteor.statistics([hypothesis.split()], [[reference.split()]]))[0])


@pytest.mark.parametrize("seed", range(6))
def test_meteor_of_a_video_is_that_of_its_pairs_together(with_meteor, seed):
    """Whether a metric is known to be made of sums, or is any function of sentences, is of no consequence."""
    predictions, sets = case(seed)

    def plain(hypotheses, groups):
        statistics = meteor.statistics(hypotheses, groups)
        return float(meteor.aggregate(statistics.sum(1))), meteor.aggregate(statistics)

    found = score_dense(predictions, sets, missing="zero", metrics=with_meteor)
    other = score_dense(predictions, sets, missing="zero", metrics={"METEOR": plain})
    for name, value in other.corpus.items():
        assert found.corpus[name] == pytest.approx(value), name


@pytest.mark.parametrize("swapped", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_soda_c_is_the_best_alignment_by_tiou_times_meteor(with_meteor, seed, swapped):
    predictions, sets = case(seed)
    by_set = []
    for annotations in sets:
        each = []
        for video, (_, annotated) in annotations.items():
            ours = sorted(predictions.get(video, ()), key=lambda event: event.start)
            theirs = sorted(annotated, key=lambda event: event.start)
            values = [
                [iou(a, b) * (meteor_of(b[2], a[2]) if swapped else meteor_of(a[2], b[2])) for b in theirs]
                for a in ours
            ]
            total = plain_soda(values)
            precision, recall = (total / len(ours) if ours else 0.0), total / len(theirs)
            each.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
        by_set.append(np.mean(each))
    found = score_dense(predictions, sets, missing="zero", metrics=with_meteor, soda_swapped=swapped)
    assert found.corpus["SODA_c"] == pytest.approx(np.mean(by_set), abs=1e-9)


def one_video(*found) -> dict:
    return {"v": [Event(*event) for event in found]}


PARK = [{"v": Annotation(20.0, one_video((0, 10, "a man runs"), (10, 20, "the dog jumps"))["v"])}]


def test_a_perfect_prediction_has_the_best_of_every_figure():
    found = score_dense({"v": PARK[0]["v"].events}, PARK).corpus
    for name in ("Precision", "Recall", "F1", "BLEU-1", "ROUGE-L", "SODA_d", "matched tIoU", "Kendall tau"):
        assert found[name] == pytest.approx(1, abs=1e-8), name
    assert found["boundary error median (s)"] == found["boundary error p90 (s)"] == 0


def test_soda_c_without_meteor_is_absent_and_not_zero():
    found = score_dense({"v": PARK[0]["v"].events}, PARK)
    assert "SODA_c" not in found.corpus
    assert "METEOR" in found.absent["SODA_c"]
    assert "SODA_c (ROUGE-L)" in score_dense({"v": PARK[0]["v"].events}, PARK, soda_metric="ROUGE-L").corpus


def test_a_lone_video_is_scored_as_each_video_by_itself():
    predictions, sets = case(3)
    found = score_dense(predictions, sets, missing="zero")
    for video, figures in found.videos.items():
        alone = score_dense(
            {video: predictions.get(video, [])}, [{video: a[video]} for a in sets if video in a], missing="zero"
        )
        for name in ("BLEU-4", "CIDEr@0.5", "Precision@0.7", "Recall", "SODA_d"):
            assert figures[name] == pytest.approx(alone.corpus[name]), name


@pytest.mark.parametrize(
    ("predictions", "references", "arguments", "error", "message"),
    [
        ({}, PARK, {}, ValueError, "no predictions for 'v'.*missing='zero'"),
        ({"v": [], "w": []}, PARK, {}, ValueError, "no annotations for the predicted videos 'w'"),
        (one_video((5, 2, "a man")), PARK, {}, ValueError, "video 'v', event 0: ends at 2.0 s, before it starts"),
        (one_video((0, float("nan"), "a man")), PARK, {}, ValueError, "event 0: nan is no time"),
        (one_video((-1, 2, "a man")), PARK, {}, ValueError, "negative time"),
        (one_video((0, 2, " ")), PARK, {}, ValueError, "event 0: the sentence is empty"),
        (one_video((0, 2, 3)), PARK, {}, TypeError, "a sentence is a string, not 3"),
        ({"v": "a man"}, PARK, {}, TypeError, "expected a list of events"),
        ({"v": [[1, 2]]}, PARK, {}, TypeError, r"expected \(start, end, sentence\)"),
        ({"v": []}, [], {}, ValueError, "a list of annotation sets"),
        ({"v": []}, PARK[0], {}, ValueError, "a list of annotation sets"),
        ({"v": []}, [{"v": (20.0, [])}], {}, ValueError, "annotation set 0: video 'v' has no events"),
        ({"v": []}, PARK, {"tious": [3]}, ValueError, "thresholds lie in 0 .. 1"),
        ({"v": []}, PARK, {"tious": []}, ValueError, "at least one"),
        ({"v": []}, PARK, {"missing": "skip"}, ValueError, "missing='skip': expected error, zero or drop"),
        ({"v": []}, PARK, {"metrics": {"X": 3}}, TypeError, "metric 'X' is no function"),
    ],
)
def test_what_does_not_fit_is_named(predictions, references, arguments, error, message):
    with pytest.raises(error, match=message):
        score_dense(predictions, references, **arguments)


def test_a_family_that_is_not_for_pairs_is_named():
    with pytest.raises(ValueError, match="dense captions are not scored by 'chrf'; choose from bleu"):
        metrics_of(["chrf"])


def test_no_predictions_at_all_score_zero_and_what_needs_some_is_absent():
    found = score_dense({}, PARK, missing="zero")
    assert found.corpus["BLEU-4"] == found.corpus["Precision"] == found.corpus["SODA_d"] == 0
    assert found.corpus["matched events"] == 0
    assert {"matched tIoU", "Kendall tau", "boundary error p90 (s)"} <= found.absent.keys()


def test_words_are_those_of_the_published_programs():
    assert dense.published_words("Café: A man's dog.") == ["caf", "a", "man", "'s", "dog"]
    assert dense.published_paragraph_words("A man's 2 dogs.") == ["a", "man", "s", "dogs"]
