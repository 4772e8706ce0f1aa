"""Scores of dense video captioning: events found in time, each with its sentence.

`score_dense` gives what papers publish, and what they do not say:

    METEOR, CIDEr, BLEU-n, ROUGE-L at each tIoU    Krishna et al. 2017, "Dense-Captioning Events in Videos"
    Precision, Recall, F1 at each tIoU             the same; whether events are found, whatever is said of them
    SODA_c, SODA_d                                 Fujita et al. 2020; see capjax.metrics.soda
    paragraph METEOR, CIDEr, ...                   all sentences of a video as one text
    matched tIoU, boundary error, Kendall tau      see capjax.metrics.temporal

**Text at a tIoU threshold**, as the challenge's program (densevid_eval, 2017 to 2021) computes it:

- Each predicted event makes a pair with every annotated event, of all annotation sets, whose tIoU with it is at least
  the threshold. A predicted event without such a pair makes one with garbage, which scores 0.
- The pairs of a video are a corpus: the metric's corpus score of them is the video's. For METEOR and BLEU this is no
  mean over pairs (counts are summed first), and CIDEr's document frequencies are those of the video's own pairs.
- A video without predictions has 0. The score is the mean over videos; without "@" in its name, over thresholds too.
- The program draws its garbage at random: 10 to 20 letters, one word that is in no caption. Here it is always the same
  such word, so that a score is the same twice; `GARBAGE` has the program's older word too, which METEOR counts as
  several, and with which METEOR is lower (papers call the two METEOR2018 and METEOR2021).

**Localization**: an event is found where the tIoU is *above* the threshold (the program has >= for text and > here).
Precision is the share of predicted events that find one, recall the share of annotated events that are found, for each
video the best over annotation sets, each for itself, then the mean over videos. F1 is of the mean precision and recall,
as in papers; the program prints none.

**Paragraphs** (para-evaluate.py, Park et al. 2019): sentences of a video in order of their starts. The paragraphs of
all annotation sets are the references of one item, and the metric's corpus score is over all videos. The program
splits these into runs of the letters a to z, dropping all else, where it splits events' sentences by Penn Treebank's
rules.

Sentences are stripped of all but ASCII first, as the program does. With a `tokenize` of your own nothing is stripped,
and paragraphs are split by it too.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from capjax.metrics import ptb, soda
from capjax.metrics.activitynet import Annotation, Event, check_events
from capjax.metrics.pairs import METRICS, Metric, Pairs, corpus_scores, over_sets
from capjax.metrics.temporal import FIGURES, align, summarize, tiou_matrix
from capjax.metrics.tokenize import Tokenizer

TIOUS = (0.3, 0.5, 0.7, 0.9)
# What a predicted event is held against that finds nothing, by the year of the program.
GARBAGE = {"2018": "abc123!@#", "2021": "qzxjkvwqzxjkvw"}

_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_LETTERS = re.compile("[a-z]+")


@dataclass(frozen=True)
class DenseScores:
    """Attributes:
    corpus: {name: value}; shares and metrics as fractions, not multiplied by 100.
    videos: {video: {name: value}}, the figures of each video by itself.
    absent: {name: why}, figures that are not defined for this input. They stand in neither of the others.
    """

    corpus: dict[str, float]
    videos: dict[str, dict[str, float]]
    absent: dict[str, str]


def published_words(text: str) -> list[str]:
    """Penn Treebank words of the ASCII in `text`, as the program splits the sentence of an event."""
    return ptb.tokenize(_NOT_ASCII.sub(" ", text))


def published_paragraph_words(text: str) -> list[str]:
    """Runs of ASCII letters, lower-cased, as the program splits a paragraph."""
    return _LETTERS.findall(_NOT_ASCII.sub(" ", text).lower())


@dataclass
class _Texts:
    """Sentences by number, each tokenized once."""

    tokenize: Tokenizer
    tokens: list[list[str]] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, text: str) -> int:
        if text not in self.numbers:
            self.numbers[text] = len(self.tokens)
            self.tokens.append(self.tokenize(text))
        return self.numbers[text]


@dataclass(frozen=True)
class _Events:
    """Events of a video: times float64 [n, 2], sentences int64 [n], order int64 [n] by start, ties as given."""

    times: np.ndarray
    sentences: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, events: Sequence[Event], texts: _Texts) -> "_Events":
        times = np.array([event[:2] for event in events], np.float64).reshape(-1, 2)
        sentences = np.array([texts.number(event[2]) for event in events], np.int64)
        return cls(times, sentences, np.argsort(times[:, 0], kind="stable"))


@dataclass(frozen=True)
class _Video:
    """A video's predictions; for each annotation set that has it: set number, events, tIoU [predicted, annotated]."""

    id: str
    predicted: _Events
    annotated: list[tuple[int, _Events, np.ndarray]]


def score_dense(
    predictions: Mapping[str, Sequence[Event]],
    references: Sequence[Mapping[str, Annotation]],
    *,
    tious: Sequence[float] = TIOUS,
    metrics: Mapping[str, Metric] = METRICS,
    tokenize: Tokenizer | None = None,
    missing: str = "error",
    soda_metric: str = "METEOR",
    soda_sets: str = "mean",
    soda_swapped: bool = True,
    max_proposals: int = 1000,
    garbage: str = GARBAGE["2021"],
) -> DenseScores:
    """All scores of predicted events against one or more annotation sets. See the head of this file.

    Args:
      predictions: events (start, end, sentence) of each video, times in seconds.
      references: annotation sets, each {video: (duration, events)}; a video may be missing in some.
      tious: thresholds of temporal intersection over union.
      metrics: {name: metric}, such as `pairs.metrics_of(["meteor", "cider"])`. METEOR is not among the default.
      tokenize: text -> words; by default `published_words`, and `published_paragraph_words` for paragraphs.
      missing: "error", or "zero": a video without predictions, or an event without a word, is scored (0 mostly).
      soda_metric: the metric of single pairs that SODA_c takes; absent if `metrics` has none of this name. The figure
        is called SODA_c with METEOR, and SODA_c (name) with another.
      soda_sets: how SODA combines annotation sets: "mean", "best" or "merged"; see capjax.metrics.soda.
      soda_swapped: whether SODA_c's metric takes the annotated sentence for the hypothesis, as the program has it.
      max_proposals: of each video the first so many events are scored.
      garbage: what the sentence of an event is held against that finds nothing.

    Raises:
      ValueError: videos that are only predicted, or not predicted; events with bad times or empty sentences; the
        message names them.
      TypeError: an event or sentence of a wrong type.
    """
    ids = _check(predictions, references, tious, metrics, missing)
    texts = _Texts(tokenize or published_words)
    videos = _prepare(ids, predictions, references, texts, max_proposals)
    scores = DenseScores({}, {id: {} for id in ids}, {})
    _texts_at_tious(scores, videos, texts, tious, metrics, garbage)
    _localization(scores, videos, tious)
    _soda(scores, videos, texts, len(references), metrics, soda_metric, soda_sets, soda_swapped)
    split = tokenize or published_paragraph_words
    _paragraphs(scores, ids, predictions, references, split, metrics, max_proposals)
    _temporal(scores, videos)
    return scores


def _check(predictions, references, tious, metrics, missing) -> list[str]:
    """The ids of all annotated videos, or an error."""

    def some(ids) -> str:
        return ", ".join(map(repr, ids[:5])) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")

    if missing not in ("error", "zero"):
        raise ValueError(f"missing is 'error' or 'zero', not {missing!r}")
    if not len(tious) or not all(0 <= tiou <= 1 for tiou in tious):
        raise ValueError(f"tIoU thresholds lie in 0 .. 1, at least one; found {list(tious)}")
    if wrong := [name for name, metric in metrics.items() if not callable(metric)]:
        raise TypeError(f"metric {wrong[0]!r} is no function of hypotheses and references: {metrics[wrong[0]]!r}")
    if isinstance(references, Mapping) or not len(references) or not all(references):
        raise ValueError("references are a list of annotation sets, [{video: (duration, events)}, ...], none empty")
    for number, annotations in enumerate(references):
        for id, annotation in annotations.items():
            if isinstance(annotation, str) or not isinstance(annotation, Sequence) or len(annotation) != 2:
                found = repr(annotation)[:80]
                raise TypeError(f"annotation set {number}: video {id!r}: expected (duration, events), found {found}")
            if not len(annotation[1]):
                raise ValueError(f"annotation set {number}: video {id!r} has no events; leave it out")
        events = {id: annotation[1] for id, annotation in annotations.items()}
        check_events(events, f"annotation set {number}", inverted=True)
    ids = list(dict.fromkeys(id for annotations in references for id in annotations))
    annotated = set(ids)
    if extra := [id for id in predictions if id not in annotated]:
        raise ValueError(f"no annotations for the predicted videos {some(extra)}")
    if missing == "error" and (absent := [id for id in ids if id not in predictions]):
        raise ValueError(f"no predictions for {some(absent)}; missing='zero' counts them as 0")
    check_events(predictions, "predictions", empty_sentences=missing == "zero")
    return ids


def _prepare(ids, predictions, references, texts: _Texts, max_proposals: int) -> list[_Video]:
    videos = []
    for id in ids:
        predicted = _Events.of(predictions.get(id, ())[:max_proposals], texts)
        annotated = []
        for number, annotations in enumerate(references):
            if id in annotations:
                events = _Events.of(annotations[id][1], texts)
                annotated.append((number, events, tiou_matrix(predicted.times, events.times)))
        videos.append(_Video(id, predicted, annotated))
    return videos


def _texts_at_tious(scores: DenseScores, videos, texts: _Texts, tious, metrics, garbage: str):
    """Metrics over the pairs of each video at each threshold."""
    pairs, set_of = _matched_pairs(videos, texts, tious, texts.number(garbage))
    none = set_of < 0
    for name, metric in metrics.items():
        by_set = over_sets(metric, pairs) if pairs.sets else np.zeros(1)
        by_video = np.where(none, 0.0, by_set[set_of])  # [videos, tious]
        _put(scores, name, tious, by_video.mean(0), by_video, videos)


def _matched_pairs(videos, texts: _Texts, tious, garbage: int) -> tuple[Pairs, np.ndarray]:
    """All different sets of pairs, and which is each video's at each threshold: int64 [videos, tious], -1 for none."""
    set_of = np.full((len(videos), len(tious)), -1, np.int64)
    hypotheses, references, sizes = [], [], []
    for v, video in enumerate(videos):
        if not len(video.predicted.times):
            continue
        tiou = np.concatenate([matrix for _, _, matrix in video.annotated], axis=1)
        sentences = np.concatenate([events.sentences for _, events, _ in video.annotated] + [[garbage]])
        known = {}
        for t, level in enumerate(tious):
            found = tiou >= level
            key = found.tobytes()
            if key not in known:
                known[key] = len(sizes)
                lone = ~found.any(1, keepdims=True)
                row, column = np.nonzero(np.concatenate([found, lone], axis=1))
                hypotheses.append(video.predicted.sentences[row])
                references.append(sentences[column])
                sizes.append(len(row))
            set_of[v, t] = known[key]
    owner = np.repeat(np.arange(len(sizes)), np.array(sizes, np.int64))
    empty = [np.zeros(0, np.int64)]
    return (
        Pairs(
            texts.tokens, np.concatenate(hypotheses or empty), np.concatenate(references or empty), owner, len(sizes)
        ),
        set_of,
    )


def _localization(scores: DenseScores, videos, tious):
    """Precision, recall and F1 at each threshold."""
    precision, recall = np.zeros((2, len(videos), len(tious)))
    levels = np.asarray(tious, np.float64)[:, None, None]
    for v, video in enumerate(videos):
        for _, _, tiou in video.annotated:
            if tiou.size:
                found = tiou > levels
                predicted, annotated = tiou.shape
                precision[v] = np.maximum(precision[v], found.any(2).sum(1) / predicted)
                recall[v] = np.maximum(recall[v], found.any(1).sum(1) / annotated)
    for name, values in (("Precision", precision), ("Recall", recall)):
        _put(scores, name, tious, values.mean(0), values, videos)
    for figures in (scores.corpus, *scores.videos.values()):
        for at in ("", *(f"@{level:g}" for level in tious)):
            p, r = figures[f"Precision{at}"], figures[f"Recall{at}"]
            figures[f"F1{at}"] = 2 * p * r / (p + r) if p + r else 0.0


def _put(scores: DenseScores, name: str, tious, whole: np.ndarray, by_video: np.ndarray, videos):
    """Stores values at each threshold, whole [tious] and by_video [videos, tious], and their means."""
    names = [f"{name}@{level:g}" for level in tious]
    scores.corpus.update(zip(names, whole.tolist(), strict=True))
    scores.corpus[name] = float(whole.mean())
    for video, values, mean in zip(videos, by_video.tolist(), by_video.mean(1).tolist(), strict=True):
        scores.videos[video.id].update(zip(names, values, strict=True))
        scores.videos[video.id][name] = mean


def _soda(scores: DenseScores, videos, texts: _Texts, sets: int, metrics, metric: str, how: str, swapped: bool):
    """SODA_d, and SODA_c where its text metric is given."""
    if how == "merged":
        videos, how, sets = [_merge(video) for video in videos], "mean", 1
    _put_soda(scores, "SODA_d", _soda_by_set(videos, sets, "d", None), how)
    name = "SODA_c" if metric == "METEOR" else f"SODA_c ({metric})"
    if metric not in metrics:
        scores.absent[name] = f"needs {metric}, which is not among the metrics"
    elif not getattr(metrics[metric], "pairwise", True):
        scores.absent[name] = f"{metric} is not defined for a single pair of sentences"
    else:
        text = _pair_scores(videos, texts, metrics[metric], swapped)
        _put_soda(scores, name, _soda_by_set(videos, sets, "c", text), how)


def _merge(video: _Video) -> _Video:
    """The events of all annotation sets as one set."""
    times = np.concatenate([events.times for _, events, _ in video.annotated])
    sentences = np.concatenate([events.sentences for _, events, _ in video.annotated])
    tiou = np.concatenate([matrix for _, _, matrix in video.annotated], axis=1)
    events = _Events(times, sentences, np.argsort(times[:, 0], kind="stable"))
    return _Video(video.id, video.predicted, [(0, events, tiou)])


def _pair_scores(videos, texts: _Texts, metric: Metric, swapped: bool) -> dict[tuple[int, int], np.ndarray]:
    """{(video number, annotation set): metric of each pair that overlaps, else 0, [predicted, annotated]}."""
    blocks = []
    for v, video in enumerate(videos):
        for number, events, tiou in video.annotated:
            row, column = np.nonzero(tiou)
            blocks.append(
                (v, number, tiou.shape, row, column, video.predicted.sentences[row], events.sentences[column])
            )
    size = len(texts.tokens)
    keys = np.concatenate([predicted * size + annotated for *_, predicted, annotated in blocks])
    distinct, which = np.unique(keys, return_inverse=True)
    predicted, annotated = np.divmod(distinct, size)
    hypothesis, reference = (annotated, predicted) if swapped else (predicted, annotated)
    hypotheses = [texts.tokens[i] for i in hypothesis.tolist()]
    groups = [[texts.tokens[i]] for i in reference.tolist()]
    values = metric(hypotheses, groups)[1][which] if len(distinct) else np.zeros(0)
    result, at = {}, 0
    for v, number, shape, row, column, *_ in blocks:
        result[v, number] = np.zeros(shape)
        result[v, number][row, column] = values[at : at + len(row)]
        at += len(row)
    return result


def _soda_by_set(videos, sets: int, kind: str, text) -> list[dict[str, tuple[float, float, float]]]:
    by_set = [{} for _ in range(sets)]
    for v, video in enumerate(videos):
        for number, events, tiou in video.annotated:
            ordered = np.ix_(video.predicted.order, events.order)
            words = text[v, number][ordered] if text else None
            by_set[number][video.id] = soda.soda_video(tiou[ordered], words, kind)
    return by_set


def _put_soda(scores: DenseScores, name: str, by_set, how: str):
    result = soda.combine(by_set, how)
    whole = {name: result.f, f"{name} precision": result.precision, f"{name} recall": result.recall}
    scores.corpus.update(whole)
    for id, (precision, recall, f) in result.videos.items():
        scores.videos[id].update({name: f, f"{name} precision": precision, f"{name} recall": recall})


def _paragraphs(scores: DenseScores, ids, predictions, references, split: Tokenizer, metrics, max_proposals: int):
    """Metrics of a video's whole text against each annotation set's."""

    def paragraph(events) -> list[str]:
        return [word for event in sorted(events, key=lambda event: event[0]) for word in split(event[2])]

    hypotheses = [paragraph(predictions.get(id, ())[:max_proposals]) for id in ids]
    groups = [[paragraph(annotations[id][1]) for annotations in references if id in annotations] for id in ids]
    for name, (whole, items) in corpus_scores(metrics, hypotheses, groups).items():
        scores.corpus[f"paragraph {name}"] = float(whole)
        for id, value in zip(ids, items.tolist(), strict=True):
            scores.videos[id][f"paragraph {name}"] = value


def _temporal(scores: DenseScores, videos):
    """Figures of capjax.metrics.temporal, over all annotation sets together."""
    alignments = {
        video.id: [align(video.predicted.times, events.times, tiou) for _, events, tiou in video.annotated]
        for video in videos
    }
    scores.corpus.update(summarize(alignment for each in alignments.values() for alignment in each))
    scores.absent.update({name: why for name, why in FIGURES.items() if name not in scores.corpus})
    for id, each in alignments.items():
        scores.videos[id].update(summarize(each))
