"""Scores of dense video captioning: events found in time, each with its sentence.

`score_dense` gives what papers publish, and what they do not say:

    METEOR, CIDEr, BLEU-n, ROUGE-L at each tIoU    Krishna et al. 2017, "Dense-Captioning Events in Videos"
    Precision, Recall, F1 at each tIoU             the same; whether events are found, whatever is said of them
    SODA_c, SODA_d                                 Fujita et al. 2020; see capjax.metrics.soda
    paragraph METEOR, CIDEr, ...                   all sentences of a video as one text
    matched tIoU, boundary error, Kendall tau      see capjax.metrics.temporal

**Text at a tIoU threshold**, as the challenge's program (densevid_eval, 2018 to 2021) computes it:

- Each predicted event makes a pair with every annotated event, of all annotation sets, whose tIoU with it is at least
  the threshold. A predicted event without such a pair makes one with garbage, which scores 0.
- The pairs of a video are a corpus: the metric's corpus score of them is the video's. For METEOR and BLEU this is no
  mean over pairs (counts are summed first), and CIDEr's document frequencies are those of the video's own pairs.
- A video without predictions has 0. The score is the mean over videos; without "@" in its name, over thresholds too.
- The program of 2021 draws its garbage at random: 10 to 20 letters, one word that is in no caption. Here it is always
  the same such word, so that a score is the same twice, and the same as for any draw. `GARBAGE` has the older
  program's too, which METEOR counts as several words, and with which METEOR is lower (papers call the two METEOR2018
  and METEOR2021).
- (The program of 2017, which no paper since uses, held an event against all its matches at once.)

**Localization**: an event is found where the tIoU is *above* the threshold (the program has >= for text and > here).
Precision is the share of predicted events that find one, recall the share of annotated events that are found, for each
video the best over annotation sets, each for itself, then the mean over videos. F1 is of the mean precision and recall,
as in papers; the program prints none.

**Paragraphs** (para-evaluate.py, Park et al. 2019): sentences of a video in order of their starts (the program has them
in the submission's order, which papers sort first). The paragraphs of all annotation sets are the references of one
item, and the metric's corpus score is over all videos. The program splits these into runs of the letters a to z,
dropping all else, where it splits events' sentences by Penn Treebank's rules.

English sentences are stripped of all but ASCII first, as the program does. In other languages, or with a `tokenize` of
your own, nothing is stripped, and paragraphs are split as events' sentences are.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from capjax.metrics import dense_warnings, ptb, soda
from capjax.metrics.activitynet import Annotation, Event
from capjax.metrics.names import SODA_METRICS, TEMPORAL_FIGURES, TIOUS, soda_name
from capjax.metrics.pair_scoring import METRICS, Metric, Pairs, corpus_scores, metrics_of, over_sets
from capjax.metrics.signature import signature
from capjax.metrics.temporal import align, summarize
from capjax.metrics.tokenize import Tokenizer, is_english, tokenizer_for, tokenizer_name
from capjax.metrics.videos import Texts, choose, ids_of, prepare

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
    signatures: {"dense": how all this was computed}.
    counts: `items` (videos scored), `events` (predicted in them), `missing` and `extra` videos.
    warnings: what to know before a figure is believed.
    """

    corpus: dict[str, float]
    videos: dict[str, dict[str, float]]
    absent: dict[str, str]
    signatures: dict[str, str]
    counts: dict[str, int]
    warnings: list[str]

    def rows(self) -> Iterator[dict]:
        """A row for each video: its id, then its figures."""
        return ({"id": id, **figures} for id, figures in self.videos.items())


def published_words(text: str) -> list[str]:
    """Penn Treebank words of the ASCII in `text`, as the program splits the sentence of an event."""
    return ptb.tokenize(_NOT_ASCII.sub(" ", text))


def published_paragraph_words(text: str) -> list[str]:
    """Runs of ASCII letters, lower-cased, as the program splits a paragraph."""
    return _LETTERS.findall(_NOT_ASCII.sub(" ", text).lower())


def score_dense(
    predictions: Mapping[str, Sequence[Event]],
    references: Sequence[Mapping[str, Annotation]],
    *,
    tious: Sequence[float] = TIOUS,
    metrics: Mapping[str, Metric] | Iterable[str] = METRICS,
    lang: str = "en",
    tokenize: Tokenizer | None = None,
    missing: str = "error",
    extra: str = "error",
    soda_metric: str | None = None,
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
      metrics: families such as ["meteor", "cider"] (see `pairs.metrics_of`), or {name: metric} with metrics of your
        own (see capjax.metrics.pair_scoring). METEOR is not among the default.
      lang: which language the sentences are in; it decides how they are tokenized.
      tokenize: text -> words, in place of the language's own.
      missing: of annotated videos without an entry in the predictions: "error"; "zero", they count as 0 (and an event
        without a word is scored, else it is an error); or "drop", they are left out.
      extra: of predicted videos without annotations: "error" or "ignore".
      soda_metric: the metric of single pairs that SODA_c takes, by its name in `metrics`. The figure is called SODA_c
        with METEOR, and SODA_c (name) with another: without METEOR, SODA_c is absent, and ROUGE-L or else CIDEr takes
        its place where none is named.
      soda_sets: how SODA combines annotation sets: "mean", "best" or "merged"; see capjax.metrics.soda.
      soda_swapped: whether SODA_c's metric takes the annotated sentence for the hypothesis, as the program has it.
      max_proposals: of each video the first so many events are scored.
      garbage: what the sentence of an event is held against that finds nothing.

    Raises:
      ValueError: videos that are only predicted, or not predicted; events with bad times or empty sentences; a
        duration that is none; the message names set, video and event. Unknown metrics and options.
      TypeError: an event or sentence of a wrong type.
      ModuleNotFoundError: METEOR was asked for and its data is not installed.
    """
    if max_proposals < 1:
        raise ValueError(f"max_proposals={max_proposals}: expected at least one event of each video")
    if soda_sets not in ("mean", "best", "merged"):
        raise ValueError(f"soda_sets={soda_sets!r}: expected mean, best or merged")
    tious = _check_tious(tious)
    metrics, absent = _check_metrics(metrics, lang, tokenize)
    all_events, sets, counts = choose(predictions, references, missing, extra)
    events = {id: list(found[:max_proposals]) for id, found in all_events.items()}
    split = tokenize or (published_words if is_english(lang) else tokenizer_for(lang))
    split_paragraph = tokenize or (published_paragraph_words if is_english(lang) else tokenizer_for(lang))
    texts = Texts(split)
    videos = prepare(events, sets, texts)
    scores = DenseScores({}, {video.id: {} for video in videos}, absent, {}, counts, [])
    _texts_at_tious(scores, videos, texts, tious, metrics, garbage)
    _localization(scores, videos, tious)
    chosen = _soda(scores, videos, texts, len(sets), metrics, soda_metric, soda_sets, soda_swapped)
    _paragraphs(scores, events, sets, split_paragraph, metrics)
    _temporal(scores, videos)
    if tokenize:
        tokenizer = f"custom:{getattr(tokenize, '__name__', 'unnamed')}"
    else:
        tokenizer = tokenizer_name(lang) + ("-ascii" if is_english(lang) else "")
    scores.signatures["dense"] = signature(
        "dense", videos=len(videos), sets=len(sets), tok=tokenizer, tious=",".join(f"{tiou:g}" for tiou in tious),
        garbage=next((year for year, text in GARBAGE.items() if text == garbage), "custom"),
        soda=",".join([chosen or "none", "swapped" if soda_swapped else "straight", soda_sets]),
        paragraphs="letters" if split_paragraph is published_paragraph_words else "tok",
        meteor="1.5" if "METEOR" in metrics else None, missing=None if missing == "error" else missing,
        cut=max_proposals, annotated=",".join(str(len(annotations)) for annotations in sets),
    )  # fmt: skip
    scores.warnings.extend(dense_warnings.find(all_events, sets, videos, texts, max_proposals, min(tious), metrics))
    return scores


def _check_tious(tious) -> list[float]:
    if isinstance(tious, str) or not isinstance(tious, Iterable):
        raise TypeError(f"tious are thresholds such as [0.3, 0.5], not {tious!r}")
    tious = [float(tiou) for tiou in tious]
    if not tious or not all(0 <= tiou <= 1 for tiou in tious):
        raise ValueError(f"tIoU thresholds lie in 0 .. 1, at least one; found {tious}")
    if len({f"{tiou:g}" for tiou in tious}) < len(tious):
        raise ValueError(f"the same tIoU threshold stands twice in {tious}")
    return tious


def _check_metrics(metrics, lang: str, tokenize) -> tuple[dict[str, Metric], dict[str, str]]:
    """({name: metric}, {name: why it is absent})."""
    if isinstance(metrics, str):
        raise TypeError(f"metrics are a list of names, [{metrics!r}], or {{name: function}}")
    if not isinstance(metrics, Mapping):
        metrics = metrics_of(metrics)
    if wrong := [name for name, metric in metrics.items() if not callable(metric)]:
        raise TypeError(f"metric {wrong[0]!r} is no function of hypotheses and references: {metrics[wrong[0]]!r}")
    absent = {}
    if "METEOR" in metrics and not is_english(lang):
        absent["METEOR"] = "METEOR 1.5 has its synonyms and paraphrases for English only here"
    return {name: metric for name, metric in metrics.items() if name not in absent}, absent


def _texts_at_tious(scores: DenseScores, videos, texts: Texts, tious, metrics, garbage: str):
    """Metrics over the pairs of each video at each threshold."""
    pairs, set_of = _matched_pairs(videos, texts, tious, texts.number(garbage))
    none = set_of < 0
    for name, metric in metrics.items():
        by_set = over_sets(metric, pairs) if pairs.sets else np.zeros(1)
        by_video = np.where(none, 0.0, by_set[set_of])  # [videos, tious]
        _put(scores, name, tious, by_video.mean(0), by_video, videos)


def _matched_pairs(videos, texts: Texts, tious, garbage: int) -> tuple[Pairs, np.ndarray]:
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


def _soda(scores: DenseScores, videos, texts: Texts, sets: int, metrics, metric: str | None, how: str, swapped: bool):
    """SODA_d, and SODA_c by the metric that is named or else can be had. Returns its name, or None."""
    _put_soda(scores, "SODA_d", soda.score_videos(videos, sets, how))
    if metric is None:
        metric = next((name for name in SODA_METRICS if name in metrics), "METEOR")
    for wanted in ("METEOR", metric):
        if wanted not in metrics:
            scores.absent[soda_name(wanted)] = f"needs {wanted}, which is not among the metrics"
    if metric not in metrics:
        return None
    _put_soda(scores, soda_name(metric), soda.score_videos(videos, sets, how, metrics[metric], texts, swapped))
    return metric


def _put_soda(scores: DenseScores, name: str, found: soda.Soda):
    scores.corpus.update({name: found.f, f"{name} precision": found.precision, f"{name} recall": found.recall})
    for id, (precision, recall, f) in found.videos.items():
        scores.videos[id].update({name: f, f"{name} precision": precision, f"{name} recall": recall})


def _paragraphs(scores: DenseScores, predictions, sets, split: Tokenizer, metrics):
    """Metrics of a video's whole text against each annotation set's."""

    def paragraph(events) -> list[str]:
        return [word for event in sorted(events, key=lambda event: event[0]) for word in split(event[2])]

    ids = ids_of(sets)
    hypotheses = [paragraph(predictions.get(id, ())) for id in ids]
    groups = [[paragraph(annotations[id][1]) for annotations in sets if id in annotations] for id in ids]
    for name, (whole, items) in corpus_scores(metrics, hypotheses, groups).items():
        scores.corpus[f"paragraph {name}"] = float(whole)
        for id, value in zip(ids, np.asarray(items).tolist(), strict=True):
            scores.videos[id][f"paragraph {name}"] = value


def _temporal(scores: DenseScores, videos):
    """Figures of capjax.metrics.temporal, over all annotation sets together."""
    alignments = {
        video.id: [align(video.predicted.times, events.times, tiou) for _, events, tiou in video.annotated]
        for video in videos
    }
    scores.corpus.update(summarize(alignment for each in alignments.values() for alignment in each))
    scores.absent.update({name: why for name, why in TEMPORAL_FIGURES.items() if name not in scores.corpus})
    for id, each in alignments.items():
        scores.videos[id].update(summarize(each))
