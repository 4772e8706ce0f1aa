"""BLEU-1 to BLEU-4 (Papineni et al. 2002), with the closest reference length, as pycocoevalcap computes it."""

import numpy as np

from capjax.metrics.metric import Captions, Metric
from capjax.metrics.ngrams import Corpus, NgramCounts
from capjax.metrics.pair_scoring import Pairs
from capjax.metrics.ragged import match

# pycocoevalcap's constants, so that empty and short captions have the same scores.
_SMALL, _TINY = 1e-9, 1e-15


class Bleu(Metric):
    """BLEU-1 to BLEU-4. The score of a set is not the mean over items: counts are summed first."""

    family = "bleu"
    names = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4")

    def signature_fields(self, captions: Captions) -> dict[str, object]:
        return {"length": "closest"}

    def statistics(self, captions: Captions) -> np.ndarray:
        """Returns what BLEU adds up over items, float64 [2 * n + 2, items].

        The rows are, for each n, the n-grams of the hypothesis that a reference has; for each n, its n-grams; its
        words; the words of the reference nearest in length.
        """
        corpus, counts = captions.corpus, captions.counts
        length = corpus.lengths[: corpus.items]
        clipped = [_clipped_counts(corpus, grams) for grams in counts]
        totals = [np.maximum(length - n, 0) for n in range(len(counts))]
        return np.array([*clipped, *totals, length, _closest_lengths(corpus)], np.float64)

    def aggregate(self, sums: np.ndarray) -> np.ndarray:
        """Turns sums of statistics [2 * n + 2, ...] into BLEU-1 to BLEU-n, [n, ...].

        BLEU-n is the geometric mean of the clipped precisions up to n, times the brevity penalty.
        """
        longest = len(sums) // 2 - 1
        clipped, totals, (length, closest) = sums[:longest], sums[longest : 2 * longest], sums[2 * longest :]
        ratio = (length + _TINY) / (closest + _SMALL)
        penalty = np.exp(np.minimum(1 - 1 / ratio, 0.0))
        product = np.cumprod((clipped + _TINY) / (totals + _SMALL), axis=0)
        power = 1.0 / np.arange(1, longest + 1).reshape(-1, *[1] * (sums.ndim - 1))
        return product**power * penalty

    def pair_statistics(self, pairs: Pairs) -> np.ndarray:
        hypothesis, reference, _ = pairs.distinct
        clipped = []
        for counts in pairs.counts:
            pair, gram, count = counts.of_sentences(hypothesis)
            is_shared, position = match(
                reference[pair] * counts.size + gram, counts.sentence * counts.size + counts.gram
            )
            smaller = np.minimum(count[is_shared], counts.count[position[is_shared]])
            clipped.append(np.bincount(pair[is_shared], smaller, minlength=len(hypothesis)))
        length = pairs.lengths[hypothesis]
        totals = [np.maximum(length - n, 0) for n in range(len(pairs.counts))]
        return np.array([*clipped, *totals, length, pairs.lengths[reference]], np.float64)


def _closest_lengths(corpus: Corpus) -> np.ndarray:
    """Returns for each item the reference length nearest to the hypothesis's; of two equally near, the shorter."""
    item, lengths = corpus.item[corpus.items :], corpus.lengths[corpus.items :]
    distance = np.abs(lengths - corpus.lengths[item])
    order = np.lexsort((lengths, distance, item))
    first = np.searchsorted(item[order], np.arange(corpus.items))
    return lengths[order][first]


def _clipped_counts(corpus: Corpus, counts: NgramCounts) -> np.ndarray:
    """Counts for each item the n-grams of the hypothesis, each at most as often as one of the references has it."""
    is_hypothesis = counts.sentence < corpus.items
    keys = corpus.item[counts.sentence] * counts.size + counts.gram
    order = np.lexsort((-counts.count[~is_hypothesis], keys[~is_hypothesis]))
    table, first = np.unique(keys[~is_hypothesis][order], return_index=True)
    largest = counts.count[~is_hypothesis][order][first]
    is_shared, position = match(keys[is_hypothesis], table)
    limit = largest[position] if len(largest) else 0
    clipped = np.where(is_shared, np.minimum(counts.count[is_hypothesis], limit), 0)
    return np.bincount(counts.sentence[is_hypothesis], clipped, minlength=corpus.items)
