"""ROUGE-L (Lin 2004), the F-measure of the longest common subsequence, as pycocoevalcap computes it."""

from collections.abc import Sequence

import numpy as np

from capjax.metrics.ngrams import Tokens

BETA = 1.2


def lcs_lengths(a: Tokens, others: Sequence[Tokens]) -> list[int]:
    """Lengths of the longest common subsequences of `a` and each other, a row of the table in the bits of one integer
    (Hyyro 2004)."""
    places: dict[str, int] = {}
    for bit, token in enumerate(a):
        places[token] = places.get(token, 0) | 1 << bit
    full, at = (1 << len(a)) - 1, places.get
    lengths = []
    for other in others:
        row = full
        for token in other:
            here = row & at(token, 0)
            if here:
                row = ((row + here) | (row - here)) & full
        lengths.append(len(a) - row.bit_count())
    return lengths


def rouge_l(predictions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> tuple[float, np.ndarray]:
    """(mean over items, per-item scores float64 [items]): best precision and best recall over the references."""
    scores = np.zeros(len(predictions))
    for item, (prediction, group) in enumerate(zip(predictions, references, strict=True)):
        # pycocoevalcap splits at single spaces, and so has one empty word in an empty caption.
        prediction = prediction or [""]
        precision = recall = 0.0
        group = [reference or [""] for reference in group]
        for reference, common in zip(group, lcs_lengths(prediction, group), strict=True):
            precision = max(precision, common / len(prediction))
            recall = max(recall, common / len(reference))
        if precision and recall:
            scores[item] = (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
    return float(scores.mean()), scores
