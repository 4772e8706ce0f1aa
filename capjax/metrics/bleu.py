"""BLEU-1 to BLEU-4 (Papineni et al. 2002), with the closest reference length, as pycocoevalcap computes it."""

import numpy as np

from capjax.metrics.ngrams import Corpus, Grams, match

# pycocoevalcap's constants, so that empty and short captions give its very numbers.
_SMALL, _TINY = 1e-9, 1e-15


def bleu(corpus: Corpus, counts: list[Grams]) -> tuple[list[float], list[np.ndarray]]:
    """(corpus scores, per-item scores float64 [items]) for n = 1 .. 4.

    The corpus score is not the mean of the items': counts are summed first.
    """
    items = corpus.items
    guessed = corpus.lengths[:items]
    closest = _closest_lengths(corpus)
    correct = np.stack([_clipped(corpus, grams) for grams in counts])
    possible = np.stack([np.maximum(guessed - n, 0) for n in range(len(counts))])
    per_item = _scores(correct, possible, guessed, closest)
    whole = _scores(correct.sum(1, keepdims=True), possible.sum(1, keepdims=True), guessed.sum(), closest.sum())
    return [float(score[0]) for score in whole], per_item


def _scores(correct, possible, length, closest) -> list[np.ndarray]:
    """Geometric means of the clipped precisions up to each n, times the brevity penalty. Shapes [n, items]."""
    ratio = (length + _TINY) / (closest + _SMALL)
    penalty = np.where(ratio < 1, np.exp(1 - 1 / ratio), 1.0)
    product, scores = 1.0, []
    for n in range(len(correct)):
        product = product * (correct[n] + _TINY) / (possible[n] + _SMALL)
        scores.append(product ** (1.0 / (n + 1)) * penalty)
    return scores


def _closest_lengths(corpus: Corpus) -> np.ndarray:
    """For each item the reference length nearest to the prediction's, the shorter of two as near."""
    item, lengths = corpus.item[corpus.items :], corpus.lengths[corpus.items :]
    distance = np.abs(lengths - corpus.lengths[item])
    order = np.lexsort((lengths, distance, item))
    first = np.searchsorted(item[order], np.arange(corpus.items))
    return lengths[order][first]


def _clipped(corpus: Corpus, grams: Grams) -> np.ndarray:
    """For each item, n-grams of the prediction that stand in a reference, each at most as often as in one of them."""
    is_prediction = grams.sentence < corpus.items
    keys = corpus.item[grams.sentence] * grams.size + grams.gram
    order = np.lexsort((-grams.count[~is_prediction], keys[~is_prediction]))
    table, first = np.unique(keys[~is_prediction][order], return_index=True)
    most = grams.count[~is_prediction][order][first]
    found, at = match(keys[is_prediction], table)
    clipped = np.where(found, np.minimum(grams.count[is_prediction], most[at] if len(most) else 0), 0)
    return np.bincount(grams.sentence[is_prediction], clipped, minlength=corpus.items)
