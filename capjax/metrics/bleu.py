"""BLEU-1 to BLEU-4 (Papineni et al. 2002), with the closest reference length, as pycocoevalcap computes it."""

import numpy as np

from capjax.metrics.ngrams import Corpus, Grams, match

# pycocoevalcap's constants, so that empty and short captions give its very numbers.
_SMALL, _TINY = 1e-9, 1e-15


def bleu(corpus: Corpus, counts: list[Grams]) -> tuple[list[float], list[np.ndarray]]:
    """(corpus scores, per-item scores float64 [items]) for n = 1 .. 4.

    The corpus score is not the mean of the items': counts are summed first.
    """
    sums = statistics(corpus, counts)
    return aggregate(sums.sum(1)).tolist(), list(aggregate(sums))


def statistics(corpus: Corpus, counts: list[Grams]) -> np.ndarray:
    """What BLEU sums over items, float64 [2 * n + 2, items]: for each n the n-grams found in a reference, for each n
    those there are, the words of the prediction, the words of the reference nearest in length."""
    guessed = corpus.lengths[: corpus.items]
    correct = [_clipped(corpus, grams) for grams in counts]
    possible = [np.maximum(guessed - n, 0) for n in range(len(counts))]
    return np.array([*correct, *possible, guessed, _closest_lengths(corpus)], np.float64)


def aggregate(sums: np.ndarray) -> np.ndarray:
    """BLEU-1 to BLEU-n of sums of `statistics`, [2 * n + 2, ...] to [n, ...]: geometric means of the clipped
    precisions up to each n, times the brevity penalty."""
    longest = len(sums) // 2 - 1
    correct, possible, (length, closest) = sums[:longest], sums[longest : 2 * longest], sums[2 * longest :]
    ratio = (length + _TINY) / (closest + _SMALL)
    penalty = np.exp(np.minimum(1 - 1 / ratio, 0.0))
    product = np.cumprod((correct + _TINY) / (possible + _SMALL), axis=0)
    power = 1.0 / np.arange(1, longest + 1).reshape(-1, *[1] * (sums.ndim - 1))
    return product**power * penalty


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
