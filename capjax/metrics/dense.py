"""Scores of dense video captioning: events located in time, each with its sentence.

`score_dense` computes the figures that papers publish, and further ones that describe the events themselves:

    METEOR, CIDEr, BLEU-n, ROUGE-L at each tIoU    Krishna et al. 2017, "Dense-Captioning Events in Videos"
    Precision, Recall, F1 at each tIoU             the same; whether events are found, regardless of the sentences
    SODA_c, SODA_d                                 Fujita et al. 2020; see capjax.metrics.soda
    paragraph METEOR, CIDEr, ...                   all sentences of a video as one text
    matched tIoU, boundary error, Kendall tau      see capjax.metrics.temporal

**Text at a tIoU threshold**, as the challenge's program (densevid_eval, 2018 to 2021) computes it:

- Each predicted event makes a pair with every annotated event, of all annotation sets, whose tIoU with it is at least
  the threshold. A predicted event without such a pair makes one with garbage, which scores 0.
- The pairs of a video are a corpus, and the metric's corpus score of them is the video's score. For METEOR and BLEU
  this is not a mean over pairs (counts are summed first), and CIDEr's document frequencies are those of the video's
  own pairs.
- A video without predictions scores 0. The score is the mean over videos; a name without "@" is the mean over
  thresholds as well.
- The program of 2021 draws its garbage at random: 10 to 20 letters, one word that is in no caption. Here it is always
  the same such word, which makes scores reproducible and equal to those of any draw. `GARBAGE` also has that of the
  older program, which METEOR counts as several words, so that METEOR is lower (papers call the two METEOR2018 and
  METEOR2021).
- (The program of 2017, which no later paper uses, scored an event against all its matches at once.)

**Localization**: an event is found if a tIoU is *above* the threshold (the program uses >= for text and > here).
Precision is the share of predicted events that find one, recall the share of annotated events that are found. Of each
video the best precision and the best recall over annotation sets count, and are averaged over videos. F1 is computed
from the mean precision and recall, as in papers; the program prints none.

**Paragraphs** (para-evaluate.py, Park et al. 2019): the sentences of a video in order of their starts (the program
keeps the submission's order, which papers sort first). The paragraphs of all annotation sets are the references of one
item, and the metric's corpus score is over all videos. The program splits paragraphs into runs of the letters a to z
and drops everything else; sentences of events it splits by Penn Treebank's rules.

English sentences are reduced to ASCII first, as the program does. In other languages, or with `tokenize` given, text is
kept as it is, and paragraphs are tokenized like the sentences of events.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from capjax.metrics import ptb, soda
from capjax.metrics.activitynet import Annotation, TimedSentence
from capjax.metrics.dense_warnings import dense_warnings
from capjax.metrics.languages import check_lang, is_english
from capjax.metrics.messages import option
from capjax.metrics.metric import Captions, Metric
from capjax.metrics.names import DEFAULT_FAMILIES, SODA_METRICS, TEMPORAL_FIGURES, TIOUS, soda_name
from capjax.metrics.pair_scoring import Pairs
from capjax.metrics.registry import dense_metrics
from capjax.metrics.signature import Absent, signature
from capjax.metrics.temporal import match_video, summarize
from capjax.metrics.tokenize import Tokenizer, tokenizer_for, tokenizer_name
from capjax.metrics.videos import SentenceTable, VideoEvents, select_videos, to_arrays, video_ids

# The sentence that a predicted event without a match is scored against, by the year of the program.
GARBAGE = {"2018": "abc123!@#", "2021": "qzxjkvwqzxjkvw"}

_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_LETTERS = re.compile("[a-z]+")


@dataclass(frozen=True)
class DenseScores:
    """The scores of dense captions.

    Attributes:
      corpus: {name: value}; shares and metrics are fractions, not multiplied by 100.
      videos: {video: {name: value}}, the figures of each video by itself.
      absent: {name: reason} for figures that are undefined for this input; `corpus` and `videos` lack them.
      signatures: {"dense": how everything was computed}.
      counts: `items` (videos scored), `events` (predicted in them), `missing` and `extra` videos.
      warnings: reasons to distrust a score.
    """

    corpus: dict[str, float]
    videos: dict[str, dict[str, float]]
    absent: dict[str, str]
    signatures: dict[str, str]
    counts: dict[str, int]
    warnings: list[str]

    def rows(self) -> Iterator[dict]:
        """Yields a row for each video: its id, then its figures."""
        return ({"id": id, **figures} for id, figures in self.videos.items())


def published_words(text: str) -> list[str]:
    """Returns the Penn Treebank words of the ASCII in a text, as the program splits the sentence of an event."""
    return ptb.tokenize(_NOT_ASCII.sub(" ", text))


def published_paragraph_words(text: str) -> list[str]:
    """Returns the runs of ASCII letters, in lower case, as the program splits a paragraph."""
    return _LETTERS.findall(_NOT_ASCII.sub(" ", text).lower())


def score_dense(
    predictions: Mapping[str, Sequence[TimedSentence]],
    references: Sequence[Mapping[str, Annotation]],
    *,
    tious: Sequence[float] = TIOUS,
    metrics: Mapping[str, Callable] | Iterable[str] = DEFAULT_FAMILIES,
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
    """Scores predicted events against one or more annotation sets. The head of this module defines the figures.

    Args:
      predictions: events (start, end, sentence) of each video, times in seconds.
      references: annotation sets, each {video: (duration, events)}; a set may lack some videos.
      tious: thresholds of temporal intersection over union.
      metrics: metric families, such as ["meteor", "cider"], or names of their metrics; see
        capjax.metrics.names.DENSE_FAMILIES. Or {name: function}, where function(hypotheses, references) of tokenized
        sentences returns the score of all and float64 [items].
      lang: BCP 47 code of the language of the sentences; it decides how they are tokenized.
      tokenize: text -> words, instead of the language's own tokenizer.
      missing: how to treat annotated videos without an entry in the predictions: "error"; "zero", they count as 0
        (and a predicted event without words is scored, otherwise it is an error); or "drop", they are left out.
      extra: how to treat predicted videos without annotations: "error" or "ignore".
      soda_metric: name of the text metric of SODA_c. The figure is called SODA_c with METEOR and SODA_c (NAME) with
        another. By default METEOR, else ROUGE-L, else CIDEr, whichever is among `metrics`; without METEOR, SODA_c
        itself is absent.
      soda_sets: how SODA combines annotation sets: "mean", "best" or "merged"; see capjax.metrics.soda.
      soda_swapped: whether SODA_c takes the annotated sentence for the metric's hypothesis, as the program does.
      max_proposals: number of events scored of each video, from the first.
      garbage: the sentence that a predicted event without a match is scored against.

    Raises:
      ValueError: videos that are only predicted, or not predicted; events with bad times or empty sentences; a bad
        duration (the message names set, video and event); unknown metrics and options.
      TypeError: an event or sentence of a wrong type.
      ModuleNotFoundError: METEOR was chosen and its data is not installed.
    """
    if max_proposals < 1:
        raise ValueError(f"max_proposals={max_proposals}: expected 1 or more")
    if soda_sets not in ("mean", "best", "merged"):
        raise ValueError(f"{option('soda_sets', soda_sets)}: expected mean, best or merged")
    check_lang(lang)
    tious = _check_tious(tious)
    chosen, absent = _metrics_for(metrics, lang)
    names = [name for metric in chosen for name in metric.dense_names]
    all_events, sets, counts = select_videos(predictions, references, missing, extra)
    events = {id: list(of_video[:max_proposals]) for id, of_video in all_events.items()}
    split = tokenize or (published_words if is_english(lang) else tokenizer_for(lang))
    split_paragraph = tokenize or (published_paragraph_words if is_english(lang) else tokenizer_for(lang))
    table = SentenceTable(split)
    videos = to_arrays(events, sets, table)
    scores = DenseScores({}, {video.id: {} for video in videos}, absent, {}, counts, [])
    _add_text(scores, videos, table, tious, chosen, garbage)
    _add_localization(scores, videos, tious)
    soda_metric = _add_soda(scores, videos, table, len(sets), chosen, soda_metric, soda_sets, soda_swapped)
    _add_paragraphs(scores, events, sets, split_paragraph, chosen)
    _add_temporal(scores, videos)
    if tokenize:
        tokenizer = f"custom:{getattr(tokenize, '__name__', 'unnamed')}"
    else:
        tokenizer = tokenizer_name(lang) + ("-ascii" if is_english(lang) else "")
    scores.signatures["dense"] = signature(
        "dense", videos=len(videos), sets=len(sets), tok=tokenizer, tious=",".join(f"{tiou:g}" for tiou in tious),
        garbage=next((year for year, text in GARBAGE.items() if text == garbage), "custom"),
        soda=",".join([soda_metric or "none", "swapped" if soda_swapped else "straight", soda_sets]),
        paragraphs="letters" if split_paragraph is published_paragraph_words else "tok",
        meteor="1.5" if "METEOR" in names else None, missing=None if missing == "error" else missing,
        cut=max_proposals, annotated=",".join(str(len(annotations)) for annotations in sets),
    )  # fmt: skip
    scores.warnings.extend(dense_warnings(all_events, sets, videos, table, max_proposals, min(tious), names))
    return scores


def _check_tious(tious) -> list[float]:
    if isinstance(tious, str) or not isinstance(tious, Iterable):
        raise TypeError(f"tious: expected thresholds such as [0.3, 0.5], found {tious!r}")
    tious = [float(tiou) for tiou in tious]
    if not tious or not all(0 <= tiou <= 1 for tiou in tious):
        raise ValueError(f"{option('tious')}: expected one threshold or more from 0 to 1, found {tious}")
    if len({f"{tiou:g}" for tiou in tious}) < len(tious):
        raise ValueError(f"{option('tious')}: a threshold is repeated in {tious}")
    return tious


def _metrics_for(metrics, lang: str) -> tuple[list[Metric], dict[str, str]]:
    """Returns the metrics that are computed for a language, and {name: reason} of the others."""
    chosen, absent = [], {}
    for metric in dense_metrics(metrics):
        try:
            metric.check_language(lang)
            chosen.append(metric)
        except Absent as error:
            absent.update(dict.fromkeys(metric.dense_names, str(error)))
    return chosen, absent


def _add_text(scores: DenseScores, videos, table: SentenceTable, tious, metrics: Sequence[Metric], garbage: str):
    """Adds the metrics over the pairs of each video at each threshold."""
    pairs, set_of = _matched_pairs(videos, table, tious, table.number(garbage))
    for metric in metrics:
        by_set = metric.set_scores(pairs) if pairs.sets else np.zeros((len(metric.names), 1))
        for name, values in zip(metric.dense_names, by_set, strict=False):
            by_video = np.where(set_of < 0, 0.0, values[set_of])  # [videos, tious]
            _add_by_tiou(scores, name, tious, by_video.mean(0), by_video, videos)


def _matched_pairs(
    videos: Sequence[VideoEvents], table: SentenceTable, tious, garbage: int
) -> tuple[Pairs, np.ndarray]:
    """Returns all different sets of pairs, and int64 [videos, tious], the set of each video and threshold or -1."""
    set_of = np.full((len(videos), len(tious)), -1, np.int64)
    hypotheses, references, sizes = [], [], []  # type: list[np.ndarray], list[np.ndarray], list[int]
    for v, video in enumerate(videos):
        if not len(video.predicted.times):
            continue
        tiou = np.concatenate([matrix for _, _, matrix in video.annotated], axis=1)
        sentences = np.concatenate([events.sentences for _, events, _ in video.annotated] + [[garbage]])
        set_of_matches = {}  # thresholds with the same matches share a set
        for t, level in enumerate(tious):
            matches = tiou >= level
            key = matches.tobytes()
            if key not in set_of_matches:
                set_of_matches[key] = len(sizes)
                unmatched = ~matches.any(1, keepdims=True)
                row, column = np.nonzero(np.concatenate([matches, unmatched], axis=1))
                hypotheses.append(video.predicted.sentences[row])
                references.append(sentences[column])
                sizes.append(len(row))
            set_of[v, t] = set_of_matches[key]
    owner = np.repeat(np.arange(len(sizes)), np.array(sizes, np.int64))
    empty = [np.zeros(0, np.int64)]
    hypothesis, reference = np.concatenate(hypotheses or empty), np.concatenate(references or empty)
    return Pairs(table.tokens, hypothesis, reference, owner, len(sizes)), set_of


def _add_localization(scores: DenseScores, videos: Sequence[VideoEvents], tious):
    """Adds precision, recall and F1 at each threshold."""
    precision, recall = np.zeros((2, len(videos), len(tious)))
    levels = np.asarray(tious, np.float64)[:, None, None]
    for v, video in enumerate(videos):
        for _, _, tiou in video.annotated:
            if tiou.size:
                matches = tiou > levels
                predicted, annotated = tiou.shape
                precision[v] = np.maximum(precision[v], matches.any(2).sum(1) / predicted)
                recall[v] = np.maximum(recall[v], matches.any(1).sum(1) / annotated)
    for name, values in (("Precision", precision), ("Recall", recall)):
        _add_by_tiou(scores, name, tious, values.mean(0), values, videos)
    for figures in (scores.corpus, *scores.videos.values()):
        for suffix in ("", *(f"@{level:g}" for level in tious)):
            p, r = figures[f"Precision{suffix}"], figures[f"Recall{suffix}"]
            figures[f"F1{suffix}"] = 2 * p * r / (p + r) if p + r else 0.0


def _add_by_tiou(scores: DenseScores, name: str, tious, corpus: np.ndarray, by_video: np.ndarray, videos):
    """Adds values at each threshold, corpus [tious] and by_video [videos, tious], and their means."""
    names = [f"{name}@{level:g}" for level in tious]
    scores.corpus.update(zip(names, corpus.tolist(), strict=True))
    scores.corpus[name] = float(corpus.mean())
    for video, values, mean in zip(videos, by_video.tolist(), by_video.mean(1).tolist(), strict=True):
        scores.videos[video.id].update(zip(names, values, strict=True))
        scores.videos[video.id][name] = mean


def _add_soda(
    scores: DenseScores, videos, table: SentenceTable, sets: int, metrics: Sequence[Metric], name: str | None,
    how: str, swapped: bool,
) -> str | None:  # fmt: skip
    """Adds SODA_d, and SODA_c by the named metric or the first available one. Returns its name, or None."""
    rows = {name: (metric, row) for metric in metrics for row, name in enumerate(metric.dense_names)}
    _add_soda_figures(scores, "SODA_d", soda.score_videos(videos, sets, how))
    if name is None:
        name = next((metric for metric in SODA_METRICS if metric in rows), "METEOR")
    for needed in ("METEOR", name):
        if needed not in rows:
            scores.absent[soda_name(needed)] = f"needs {needed}, which is not among the metrics"
    if name not in rows:
        return None
    text_scores = soda.PairScorer(*rows[name], table, swapped)
    _add_soda_figures(scores, soda_name(name), soda.score_videos(videos, sets, how, text_scores))
    return name


def _add_soda_figures(scores: DenseScores, name: str, figures: soda.Soda):
    scores.corpus.update({name: figures.f, f"{name} precision": figures.precision, f"{name} recall": figures.recall})
    for id, (precision, recall, f) in figures.videos.items():
        scores.videos[id].update({name: f, f"{name} precision": precision, f"{name} recall": recall})


def _add_paragraphs(scores: DenseScores, predictions, sets, split: Tokenizer, metrics: Sequence[Metric]):
    """Adds the metrics of a video's whole text against each annotation set's."""

    def paragraph(events) -> list[str]:
        return [word for event in sorted(events, key=lambda event: event[0]) for word in split(event[2])]

    ids = video_ids(sets)
    hypotheses = [paragraph(predictions.get(id, ())) for id in ids]
    references = [[paragraph(annotations[id][1]) for annotations in sets if id in annotations] for id in ids]
    captions = Captions(hypotheses, references)
    for metric in metrics:
        corpus, items = metric.corpus_scores(captions)
        for name, value, by_video in zip(metric.dense_names, corpus.tolist(), items.tolist(), strict=False):
            scores.corpus[f"paragraph {name}"] = value
            for id, own in zip(ids, by_video, strict=True):
                scores.videos[id][f"paragraph {name}"] = own


def _add_temporal(scores: DenseScores, videos: Sequence[VideoEvents]):
    """Adds the figures of capjax.metrics.temporal, over all annotation sets together."""
    matchings = {
        video.id: [match_video(video.predicted.times, events.times, tiou) for _, events, tiou in video.annotated]
        for video in videos
    }
    scores.corpus.update(summarize(matching for of_video in matchings.values() for matching in of_video))
    scores.absent.update({name: why for name, why in TEMPORAL_FIGURES.items() if name not in scores.corpus})
    for id, of_video in matchings.items():
        scores.videos[id].update(summarize(of_video))
