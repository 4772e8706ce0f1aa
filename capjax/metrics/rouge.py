"""ROUGE-L (Lin 2004), the F-measure of the longest common subsequence, as pycocoevalcap computes it."""

from collections.abc import Sequence

import numpy as np

from capjax.metrics.ngrams import Tokens

BETA = 1.2


def lcs_length(a: Tokens, b: Tokens) -> int:
    """Length of the longest common subsequence, each row of the table in the bits of one integer (Hyyro 2004)."""
    places: dict[str, int] = {}
    for bit, token in enumerate(a):
        places[token] = places.get(token, 0) | 1 << bit
    full = (1 << len(a)) - 1
    row = full
    for token in b:
        here = row & places.get(token, 0)
        row = ((row + here) | (row - here)) & full
    return len(a) - row.bit_count()


def rouge_l(predictions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> tuple[float, np.ndarray]:
    """(mean over items, per-item scores float64 [items]): best precision and best recall over the references."""
    scores = np.zeros(len(predictions))
    for item, (prediction, group) in enumerate(zip(predictions, references, strict=True)):
        # pycocoevalcap splits at single spaces, and so has one empty word in an empty caption.
        prediction = prediction or [""]
        precision = recall = 0.0
        for reference in group:
            reference = reference or [""]
            common = lcs_length(reference, prediction)
            precision = max(precision, common / len(prediction))
            recall = max(recall, common / len(reference))
        if precision and recall:
            scores[item] = (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
    return float(scores.mean()), scores
