"""Random dense captions, and slow programs written from the definitions: the oracles of capjax.metrics.dense."""

import itertools
import random
import re

import pytest

from capjax.metrics import ptb
from capjax.metrics.activitynet import Annotation, TimedSentence

pytest.importorskip("pycocoevalcap")
WORDS = ["a", "man", "woman", "runs", "jumps", "the", "dog", "ball", "park", "and", "then", "they", "café", "don't",
         "."]  # fmt: skip
TIOUS = (0.3, 0.5, 0.7, 0.9)
GARBAGE = "garbageinwhichnowordstands"


def sentence(rng) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 8)))


def events(rng, count, duration, whole):
    """Events in whole seconds, so that overlaps are often equal to a threshold and starts to each other, or not."""
    drawn = []
    for _ in range(count):
        start = rng.choice([0.0, rng.uniform(0, duration)])
        end = rng.uniform(start, duration)
        if whole:
            start, end = float(int(start)), float(int(end))
        drawn.append(TimedSentence(start, end, sentence(rng)))
    return drawn


def near(rng, annotated, duration, whole):
    """Predictions, some of them close to an annotated event or repeated."""
    predicted = []
    for event in annotated:
        if rng.random() < 0.7 and event.end >= event.start:
            shift = (lambda: float(rng.randint(-2, 2))) if whole else (lambda: rng.gauss(0, 2))
            start = max(0.0, event.start + shift())
            text = rng.choice([event.sentence, sentence(rng), event.sentence + " " + sentence(rng)])
            predicted.append(TimedSentence(start, max(start, event.end + shift()), text))
    predicted += events(rng, rng.randint(0, 2), duration, whole)
    if predicted and rng.random() < 0.2:
        predicted.append(rng.choice(predicted))
    rng.shuffle(predicted)
    return predicted


def case(seed, *, whole=None):
    """(predictions, annotation sets): some videos in one set alone, some without predictions or with an empty list,
    some annotated events that end before they start."""
    rng = random.Random(seed)
    whole = rng.random() < 0.4 if whole is None else whole
    sets, predictions = [{} for _ in range(rng.randint(1, 3))], {}
    for number in range(rng.randint(1, 4)):
        video, duration = f"v{number}", rng.uniform(10, 60)
        for annotations in rng.sample(sets, rng.randint(1, len(sets))):
            annotated = events(rng, rng.randint(1, 4), duration, whole)
            if rng.random() < 0.1:
                first = annotated[0]
                annotated[0] = TimedSentence(first.end, first.start, first.sentence)
            annotations[video] = Annotation(duration, annotated)
        if rng.random() < 0.9:
            own = next(annotations[video] for annotations in sets if video in annotations)
            predictions[video] = near(rng, own.events, duration, whole) if rng.random() < 0.9 else []
    return predictions, [annotations for annotations in sets if annotations]


def iou(a, b) -> float:
    intersection = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = min(max(a[1], b[1]) - min(a[0], b[0]), a[1] - a[0] + b[1] - b[0])
    return intersection / (union + 1e-8)


def words(text: str) -> str:
    return " ".join(ptb.tokenize("".join(c if ord(c) < 128 else " " for c in text)))


def letters(text: str) -> str:
    return " ".join(re.sub("[^a-zA-Z]", " ", text).lower().split())


def coco(name, pairs) -> tuple[float, list[float]]:
    """(corpus score, score of each) of [(hypothesis, references)] in tokenized text, by pycocoevalcap."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    hypotheses = {i: [hypothesis] for i, (hypothesis, _) in enumerate(pairs)}
    references = {i: group for i, (_, group) in enumerate(pairs)}
    if name.startswith("BLEU"):
        n = int(name[-1]) - 1
        whole, items = Bleu(4).compute_score(references, hypotheses, verbose=0)
        return whole[n], items[n]
    if name == "CIDEr" and not any(text for group in references.values() for text in group):
        return 0.0, [0.0] * len(pairs)  # where pycocoevalcap fails
    whole, items = {"ROUGE-L": Rouge, "CIDEr": Cider}[name]().compute_score(references, hypotheses)
    return float(whole), list(items)


def videos_of(sets):
    return list(dict.fromkeys(video for annotations in sets for video in annotations))


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def harmonic(precision, recall) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def oracle_text(name, predictions, sets, tiou, metric=coco, words=words, garbage=GARBAGE) -> float:
    """densevid_eval's score at a threshold."""
    scores = []
    for video in videos_of(sets):
        pairs = []
        for event in predictions.get(video, ()):
            matches = [
                words(other.sentence) for annotations in sets if video in annotations
                for other in annotations[video].events if iou(event, other) >= tiou
            ]  # fmt: skip
            pairs += [(words(event.sentence), [text]) for text in matches or [words(garbage)]]
        scores.append(metric(name, pairs)[0] if pairs else 0.0)
    return mean(scores)


def oracle_localization(predictions, sets, tiou) -> tuple[float, float]:
    """densevid_eval's precision and recall."""
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
    return mean(precisions), mean(recalls)


def oracle_paragraph(name, predictions, sets, metric=coco) -> float:
    def paragraph(events) -> str:
        return letters(". ".join(event.sentence for event in sorted(events, key=lambda event: event.start)))

    pairs = [
        (paragraph(predictions.get(video, ())), [paragraph(a[video].events) for a in sets if video in a])
        for video in videos_of(sets)
    ]
    return metric(name, pairs)[0]


def best_sum(values) -> float:
    """The best sum over pairs that do not cross: every way is tried."""
    if not values or not values[0]:
        return 0.0
    rows, columns = len(values), len(values[0])
    return max(
        sum(values[i][j] for i, j in zip(chosen, across, strict=True))
        for size in range(min(rows, columns) + 1)
        for chosen in itertools.combinations(range(rows), size)
        for across in itertools.combinations(range(columns), size)
    )


def overlaps(ours, theirs, swapped):
    """SODA_d's pair scores."""
    return [[iou(a, b) for b in theirs] for a in ours]


def overlaps_times(name, metric=coco):
    """SODA_c's, by a text metric. The program scores an annotated sentence against all predicted ones at a time."""

    def values(ours, theirs, swapped):
        predicted, true = [words(event.sentence) for event in ours], [words(event.sentence) for event in theirs]
        if swapped:
            text = [
                metric(name, [(hypothesis, [other]) for other in predicted])[1] if predicted else []
                for hypothesis in true
            ]
            text = [list(row) for row in zip(*text, strict=True)]
        else:
            text = [metric(name, [(hypothesis, [other]) for other in true])[1] for hypothesis in predicted]
        return [[iou(a, b) * text[i][j] for j, b in enumerate(theirs)] for i, a in enumerate(ours)]

    return values


def oracle_soda(predictions, sets, how, values, *, swapped=True) -> list[float]:
    """SODA's precision, recall and F."""
    if how == "merged":
        sets = [{v: Annotation(1.0, [event for a in sets if v in a for event in a[v].events]) for v in videos_of(sets)}]

    def figures(video, annotations):
        ours = sorted(predictions.get(video, ()), key=lambda event: event.start)
        theirs = sorted(annotations[video].events, key=lambda event: event.start)
        total = best_sum(values(ours, theirs, swapped))
        precision, recall = (total / len(ours) if ours else 0.0), total / len(theirs)
        return precision, recall, harmonic(precision, recall)

    if how == "best":
        each = [
            max((figures(video, annotations) for annotations in sets if video in annotations), key=lambda f: f[2])
            for video in videos_of(sets)
        ]
        return [mean(column) for column in zip(*each, strict=True)]
    by_set = [
        [mean(column) for column in zip(*(figures(video, annotations) for video in annotations), strict=True)]
        for annotations in sets
    ]
    return [mean(column) for column in zip(*by_set, strict=True)]


def oracle_temporal(predictions, sets) -> dict[str, float]:
    """Every matching is tried. Only for events without two best matchings: those in broken seconds."""
    annotated, tious, errors, taus = 0, [], [], []
    for annotations in sets:
        for video, (_, theirs) in annotations.items():
            ours = predictions.get(video, [])
            annotated += len(theirs)
            matched = max(matchings(len(ours), len(theirs)), key=lambda m: sum(iou(ours[i], theirs[j]) for i, j in m))
            matched = [(ours[i], theirs[j]) for i, j in matched if iou(ours[i], theirs[j]) > 0]
            tious += [iou(a, b) for a, b in matched]
            errors += [abs(a[end] - b[end]) for a, b in matched for end in (0, 1)]
            taus.append(tau([(a[0], b[0]) for a, b in matched]))
    taus = [value for value in taus if value is not None]
    figures = {"matched events": len(tious) / annotated}
    if tious:
        figures |= {"matched tIoU": mean(tious), "boundary error median (s)": quantile(errors, 0.5)}
        figures["boundary error p90 (s)"] = quantile(errors, 0.9)
    return figures | ({"Kendall tau": mean(taus)} if taus else {})


def matchings(rows: int, columns: int):
    """Every one-to-one matching of the shorter side to the other."""
    if rows <= columns:
        return [list(enumerate(chosen)) for chosen in itertools.permutations(range(columns), rows)]
    return [[(i, j) for j, i in enumerate(chosen)] for chosen in itertools.permutations(range(rows), columns)]


def tau(pairs) -> float | None:
    """Kendall's tau-b: pairs in the same order less those reversed, over what there would be without ties."""
    same = ours = theirs = 0
    for (a, b), (c, d) in itertools.combinations(pairs, 2):
        same += ((a > c) - (a < c)) * ((b > d) - (b < d))
        ours += a != c
        theirs += b != d
    return same / (ours * theirs) ** 0.5 if ours and theirs else None


def quantile(values, share) -> float:
    """With the values between two neighbors on a line."""
    values = sorted(values)
    below = int(share * (len(values) - 1))
    above = min(below + 1, len(values) - 1)
    return values[below] + (share * (len(values) - 1) - below) * (values[above] - values[below])
