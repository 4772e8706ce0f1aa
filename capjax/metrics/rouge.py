"""ROUGE-L (Lin 2004), the F-measure of the longest common subsequence, as pycocoevalcap computes it."""

from collections.abc import Sequence

import numpy as np

from capjax.metrics.metric import Captions, MeanMetric
from capjax.metrics.ngrams import Tokens

BETA = 1.2


class RougeL(MeanMetric):
    """ROUGE-L of each item, by its best precision and its best recall over the references."""

    family = "rouge"
    names = ("ROUGE-L",)

    def item_scores(self, captions: Captions) -> np.ndarray:
        scores = np.zeros(len(captions.hypotheses))
        for item, (hypothesis, group) in enumerate(zip(captions.hypotheses, captions.references, strict=True)):
            # pycocoevalcap splits at single spaces, so that an empty caption has one empty word.
            hypothesis = hypothesis or [""]
            precision = recall = 0.0
            group = [reference or [""] for reference in group]
            for reference, common in zip(group, lcs_lengths(hypothesis, group), strict=True):
                precision = max(precision, common / len(hypothesis))
                recall = max(recall, common / len(reference))
            if precision and recall:
                scores[item] = (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
        return scores


def lcs_lengths(sentence: Tokens, others: Sequence[Tokens]) -> list[int]:
    """Returns the length of the longest common subsequence of a sentence and each other one.

    A row of the dynamic program is held in the bits of one integer (Hyyro 2004).
    """
    positions: dict[str, int] = {}
    for bit, token in enumerate(sentence):
        positions[token] = positions.get(token, 0) | 1 << bit
    full, positions_of = (1 << len(sentence)) - 1, positions.get
    lengths = []
    for other in others:
        row = full
        for token in other:
            matched = row & positions_of(token, 0)
            if matched:
                row = ((row + matched) | (row - matched)) & full
        lengths.append(len(sentence) - row.bit_count())
    return lengths
