"""SODA (Fujita et al. 2020, "SODA: Story Oriented Dense Video Captioning Evaluation Framework").

Predicted and annotated events, each ordered by their start, are aligned so that no two pairs cross, each event in one
pair at most, and the sum of a pair score is greatest. With S that sum,

    precision = S / predicted events,  recall = S / annotated events,  F = 2 precision recall / (precision + recall)

    SODA_c   pair score: tIoU times the text metric (METEOR).   SODA_d   pair score: tIoU alone.
    SODA_b   aligned by tIoU alone; S is the sum of the text metric over the pairs.
    SODA_a   SODA_b with tIoU below a threshold taken as 0, the mean over thresholds 0.3, 0.5, 0.7, 0.9.

SODA_c is the one that papers publish. What follows of the published program, since its figures do:

- It hands the text metric its arguments the wrong way round: the annotated sentence is the hypothesis, the predicted
  one the reference. METEOR weighs recall above precision, so this changes the figure. `soda_swapped=False` of
  `score_dense` scores prediction against annotation.
- So CIDEr's document frequencies are those of a video's predicted sentences (of its annotated ones, not swapped). In a
  video with a single one all n-grams are in every document, and SODA_c by CIDEr is 0.
- Precision, recall and F are those of each video, averaged over videos. (Its first version divided sums over all.)
- With several annotation sets, papers average the figures of each set (`sets="mean"`). The program itself takes for
  each video the set with the best F (`sets="best"`), or, by default, all events of all sets as one (`sets="merged"`).
- It leaves out videos without an entry in the predictions. Here they have to be asked for (see `score_dense`), and
  count as 0, so that no system gains by leaving out what is hard.

Its SODA_a and SODA_b are not reproduced where its search for the pairs takes an alignment that is not the best, nor
the 0 that it gives to a video with so many events that its recursion ends in an error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from capjax.metrics.pair_scoring import Metric, Pairs
from capjax.metrics.videos import Texts, Video

THRESHOLDS = (0.3, 0.5, 0.7, 0.9)
KINDS = ("a", "b", "c", "d")


def best_alignment(scores: np.ndarray) -> float:
    """Greatest sum of `scores` over pairs (row, column) that do not cross. Scores are not negative.

    Args:
      scores: float64 [n, m], rows and columns in the order of time.
    """
    if scores.shape[0] > scores.shape[1]:
        scores = scores.T
    best = np.zeros(scores.shape[1] + 1)
    for row in scores:
        # best[j]: of the rows so far and the first j columns. A row skips a column by the running maximum.
        best[1:] = np.maximum.accumulate(np.maximum(best[1:], best[:-1] + row))
    return float(best[-1])


def best_pairs(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of an alignment that reaches `best_alignment`: two int64 [pairs], both ascending.

    No pair scores 0. Of alignments with the same sum, the one whose last pair lies first.
    """
    n, m = scores.shape
    best = np.zeros((n + 1, m + 1))
    for i, row in enumerate(scores):
        best[i + 1, 1:] = np.maximum.accumulate(np.maximum(best[i, 1:], best[i, :-1] + row))
    pairs = []
    while n and m:
        if best[n, m] == best[n - 1, m]:
            n -= 1
        elif best[n, m] == best[n, m - 1]:
            m -= 1
        else:
            n, m = n - 1, m - 1
            pairs.append((n, m))
    rows, columns = np.array(pairs[::-1], np.int64).reshape(-1, 2).T
    return rows, columns


def soda_video(tiou: np.ndarray, text: np.ndarray | None, kind: str = "c") -> tuple[float, float, float]:
    """(precision, recall, F) of one video against one annotation set; 0 without predicted events.

    Args:
      tiou: float64 [predicted, annotated], both in the order of their starts.
      text: float64 of the same shape, the text metric of each pair, not negative; not needed for kind "d".
      kind: "a", "b", "c" or "d".

    Raises:
      ValueError: no such kind, or it needs `text`.
    """
    if kind not in KINDS:
        raise ValueError(f"SODA_{kind} is not defined; there are {', '.join(f'SODA_{k}' for k in KINDS)}")
    if text is None and kind != "d":
        raise ValueError(f"SODA_{kind} needs a text metric for each pair of events")
    if not tiou.size:
        return 0.0, 0.0, 0.0
    if kind == "d":
        sums = [best_alignment(tiou)]
    elif kind == "c":
        sums = [best_alignment(tiou * text)]
    else:
        levels = THRESHOLDS if kind == "a" else (0.0,)
        sums = [float(text[best_pairs(np.where(tiou < level, 0, tiou))].sum()) for level in levels]
    figures = [_f_measure(total / tiou.shape[0], total / tiou.shape[1]) for total in sums]
    return tuple(sum(values) / len(values) for values in zip(*figures, strict=True))


@dataclass(frozen=True)
class Soda:
    """Attributes:
    precision, recall, f: means over videos (and annotation sets).
    videos: {id: (precision, recall, F)}, with sets="mean" the means over the sets that have the video.
    """

    precision: float
    recall: float
    f: float
    videos: dict[str, tuple[float, float, float]]


def combine(by_set: Sequence[Mapping[str, tuple[float, float, float]]], how: str = "mean") -> Soda:
    """Figures of each annotation set, {id: (precision, recall, F)}, to one.

    "mean": the mean over the sets of their means over videos. "best": for each video the set with the best F.

    Raises:
      ValueError: no other way is known.
    """
    videos: dict[str, list] = {}
    for figures in by_set:
        for id, figure in figures.items():
            videos.setdefault(id, []).append(figure)
    if how == "mean":
        whole = np.mean([np.mean(list(figures.values()), axis=0) for figures in by_set if figures], axis=0)
        each = {
            id: tuple(sum(values) / len(values) for values in zip(*figures, strict=True))
            for id, figures in videos.items()
        }
    elif how == "best":
        # max takes the first of equals, as the published program does.
        each = {id: max(figures, key=lambda figure: figure[2]) for id, figures in videos.items()}
        whole = np.mean(list(each.values()), axis=0)
    else:
        raise ValueError(f"annotation sets are combined by 'mean' or 'best' (or merged before), not {how!r}")
    return Soda(*map(float, whole), each)


def _f_measure(precision: float, recall: float) -> tuple[float, float, float]:
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0


def score_videos(
    videos: Sequence[Video], sets: int, how: str = "mean", metric: Metric | None = None,
    texts: Texts | None = None, swapped: bool = True,
) -> Soda:  # fmt: skip
    """SODA_c by a text metric, or SODA_d without one, of all videos.

    Args:
      sets: how many annotation sets there are.
      how: they are combined: "mean", "best" or "merged".
      metric: see capjax.metrics.pair_scoring; texts: the sentences that `videos` have numbers of.
      swapped: whether the annotated sentences are the metric's hypotheses, as in the published program.
    """
    if how == "merged":
        videos, how, sets = [video.merged() for video in videos], "mean", 1
    text = _text_scores(videos, texts, metric, swapped) if metric else None
    by_set: list[dict] = [{} for _ in range(sets)]
    for v, video in enumerate(videos):
        for number, events, tiou in video.annotated:
            ordered = np.ix_(video.predicted.order, events.order)
            words = text[v, number][ordered] if text else None
            by_set[number][video.id] = soda_video(tiou[ordered], words, "c" if text else "d")
    return combine(by_set, how)


def _text_scores(videos, texts: Texts, metric: Metric, swapped: bool) -> dict[tuple[int, int], np.ndarray]:
    """{(video number, annotation set): metric of each pair of events, [predicted, annotated]}.

    Where the metric can be taken of a pair by itself, pairs that do not overlap are left at 0: their tIoU is.
    """
    alone = not hasattr(metric, "in_sets")
    blocks, rows, columns, hypotheses, references, sizes = [], [], [], [], [], []
    for v, video in enumerate(videos):
        for number, events, tiou in video.annotated:
            # In the order of the hypotheses, so that pairs with the same one, which are a set, stand together.
            chosen = tiou if alone else np.ones(tiou.shape)
            row, column = np.nonzero(chosen.T)[::-1] if swapped else np.nonzero(chosen)
            predicted, annotated = video.predicted.sentences[row], events.sentences[column]
            hypothesis, reference = (annotated, predicted) if swapped else (predicted, annotated)
            blocks.append((v, number, tiou.shape))
            rows.append(row)
            columns.append(column)
            hypotheses.append(hypothesis)
            references.append(reference)
            if tiou.size:
                sizes += [tiou.shape[0]] * tiou.shape[1] if swapped else [tiou.shape[1]] * tiou.shape[0]
    hypothesis, reference = np.concatenate(hypotheses), np.concatenate(references)
    if not len(hypothesis):
        values = np.zeros(0)
    elif alone:
        distinct, which = np.unique(hypothesis * len(texts.tokens) + reference, return_inverse=True)
        hypothesis, reference = (numbers.tolist() for numbers in np.divmod(distinct, len(texts.tokens)))
        values = metric([texts.tokens[i] for i in hypothesis], [[texts.tokens[i]] for i in reference])[1][which]
    else:
        owner = np.repeat(np.arange(len(sizes)), sizes)
        values = metric.in_sets(Pairs(texts.tokens, hypothesis, reference, owner, len(sizes)))
    result = {}
    ends = np.cumsum([len(row) for row in rows])[:-1]
    for block, row, column, scores in zip(blocks, rows, columns, np.split(values, ends), strict=True):
        v, number, shape = block
        result[v, number] = np.zeros(shape)
        result[v, number][row, column] = scores
    return result
