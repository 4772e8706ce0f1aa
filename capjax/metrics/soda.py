"""SODA (Fujita et al. 2020, "SODA: Story Oriented Dense Video Captioning Evaluation Framework").

Predicted and annotated events, each ordered by their start, are matched so that no two pairs cross, each event is in
at most one pair, and the sum of a pair score is greatest. With S that sum,

    precision = S / predicted events,  recall = S / annotated events,  F = 2 precision recall / (precision + recall)

    SODA_c   pair score: tIoU times the text metric (METEOR).   SODA_d   pair score: tIoU alone.

Papers publish SODA_c. To give their figures, this module follows the published program:

- The program swaps the arguments of the text metric: the annotated sentence is the hypothesis, the predicted one the
  reference. METEOR weighs recall above precision, so this changes the figure. `soda_swapped=False` of `score_dense`
  scores prediction against annotation.
- Therefore CIDEr's document frequencies are those of a video's predicted sentences (with `soda_swapped=False`, of its
  annotated ones). In a video with a single sentence all n-grams are in every document, and SODA_c by CIDEr is 0.
- Precision, recall and F are those of each video, averaged over videos. (Its first version divided sums over all.)
- With several annotation sets, papers average the figures of each set (`sets="mean"`). The program itself takes for
  each video the set with the best F (`sets="best"`), or, by default, all events of all sets as one (`sets="merged"`).
- The program leaves out videos without an entry in the predictions. Here they are an error unless `score_dense` is
  told to accept them; they then count as 0, so that no system gains by leaving out hard videos.

One fault of the program is not reproduced: a video with so many events that its recursion fails scores 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from capjax.metrics.metric import Metric
from capjax.metrics.pair_scoring import Pairs
from capjax.metrics.videos import SentenceTable, VideoEvents


def best_matching_score(scores: np.ndarray) -> float:
    """Returns the greatest sum of `scores` over pairs (row, column) that do not cross.

    Args:
      scores: float64 [n, m], not negative; rows and columns in the order of time.
    """
    if scores.shape[0] > scores.shape[1]:
        scores = scores.T
    best = np.zeros(scores.shape[1] + 1)
    for row in scores:
        # best[j] is over the rows so far and the first j columns. The running maximum lets a row skip columns.
        best[1:] = np.maximum.accumulate(np.maximum(best[1:], best[:-1] + row))
    return float(best[-1])


def soda_video(tiou: np.ndarray, text: np.ndarray | None = None) -> tuple[float, float, float]:
    """Returns (precision, recall, F) of one video against one annotation set; 0 without predicted events.

    Args:
      tiou: float64 [predicted, annotated], both in the order of their starts.
      text: float64 [predicted, annotated], the text metric of each pair, not negative, for SODA_c; None for SODA_d.
    """
    if not tiou.size:
        return 0.0, 0.0, 0.0
    total = best_matching_score(tiou if text is None else tiou * text)
    precision, recall = total / tiou.shape[0], total / tiou.shape[1]
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@dataclass(frozen=True)
class Soda:
    """SODA figures of a set of videos.

    Attributes:
      precision, recall, f: means over videos (and annotation sets).
      videos: {id: (precision, recall, F)}; if sets are averaged, means over the sets that have the video.
    """

    precision: float
    recall: float
    f: float
    videos: dict[str, tuple[float, float, float]]


def combine(by_set: Sequence[Mapping[str, tuple[float, float, float]]], how: str = "mean") -> Soda:
    """Combines the figures of several annotation sets.

    Args:
      by_set: {id: (precision, recall, F)} of each set.
      how: "mean", the mean over the sets of their means over videos; or "best", for each video the set with the best F.

    Raises:
      ValueError: `how` is something else.
    """
    videos: dict[str, list] = {}
    for figures in by_set:
        for id, figure in figures.items():
            videos.setdefault(id, []).append(figure)
    if how == "mean":
        corpus = np.mean([np.mean(list(figures.values()), axis=0) for figures in by_set if figures], axis=0)
        each = {
            id: tuple(sum(values) / len(values) for values in zip(*figures, strict=True))
            for id, figures in videos.items()
        }
    elif how == "best":
        # Of equal figures max takes the first, as the published program does.
        each = {id: max(figures, key=lambda figure: figure[2]) for id, figures in videos.items()}
        corpus = np.mean(list(each.values()), axis=0)
    else:
        raise ValueError(f"annotation sets are combined by 'mean' or 'best' (or merged before), not {how!r}")
    precision, recall, f = map(float, corpus)
    return Soda(precision, recall, f, each)


def score_videos(
    videos: Sequence[VideoEvents], sets: int, how: str = "mean", text_scores: "PairScorer | None" = None
) -> Soda:
    """Scores all videos by SODA_c with a text metric, or by SODA_d without one.

    Args:
      sets: number of annotation sets.
      how: how they are combined: "mean", "best" or "merged".
      text_scores: the text metric of pairs of events; see `PairScorer`.
    """
    if how == "merged":
        videos, how, sets = [video.merged() for video in videos], "mean", 1
    text = text_scores(videos) if text_scores else None
    by_set: list[dict] = [{} for _ in range(sets)]
    for v, video in enumerate(videos):
        for number, events, tiou in video.annotated:
            ordered = np.ix_(video.predicted.order, events.order)
            by_set[number][video.id] = soda_video(tiou[ordered], text[v, number][ordered] if text else None)
    return combine(by_set, how)


@dataclass(frozen=True)
class PairScorer:
    """A text metric of every pair of a predicted and an annotated event of a video.

    Attributes:
      metric: the metric, and `row`, the row of its `pair_scores`.
      table: all sentences, which videos refer to by number.
      swapped: whether the annotated sentences are the metric's hypotheses, as in the published program.
    """

    metric: Metric
    row: int
    table: SentenceTable
    swapped: bool = True

    def __call__(self, videos: Sequence[VideoEvents]) -> dict[tuple[int, int], np.ndarray]:
        """Returns {(index of the video, annotation set): float64 [predicted, annotated]}.

        Pairs that do not overlap have 0 (their tIoU is 0, so the text does not count), unless the metric depends on
        the other pairs of the set.
        """
        blocks, rows, columns, hypotheses, references, sizes = [], [], [], [], [], []
        for v, video in enumerate(videos):
            for number, events, tiou in video.annotated:
                # In the order of the hypotheses: the pairs of a hypothesis are a set and stand together.
                scored = np.ones(tiou.shape) if self.metric.depends_on_set else tiou
                row, column = np.nonzero(scored.T)[::-1] if self.swapped else np.nonzero(scored)
                predicted, annotated = video.predicted.sentences[row], events.sentences[column]
                hypothesis, reference = (annotated, predicted) if self.swapped else (predicted, annotated)
                blocks.append((v, number, tiou.shape))
                rows.append(row)
                columns.append(column)
                hypotheses.append(hypothesis)
                references.append(reference)
                if tiou.size:
                    sizes += [tiou.shape[0]] * tiou.shape[1] if self.swapped else [tiou.shape[1]] * tiou.shape[0]
        hypothesis, reference = np.concatenate(hypotheses), np.concatenate(references)
        if not len(hypothesis):
            values = np.zeros(0)
        else:
            # Without dependence on the set, one set holds all pairs.
            sizes = sizes if self.metric.depends_on_set else [len(hypothesis)]
            owner = np.repeat(np.arange(len(sizes)), sizes)
            pairs = Pairs(self.table.tokens, hypothesis, reference, owner, len(sizes))
            values = self.metric.pair_scores(pairs)[self.row]
        result = {}
        ends = np.cumsum([len(row) for row in rows])[:-1]
        for (v, number, shape), row, column, scores in zip(blocks, rows, columns, np.split(values, ends), strict=True):
            result[v, number] = np.zeros(shape)
            result[v, number][row, column] = scores
        return result
