"""CIDEr-D (Vedantam et al. 2015), which pycocoevalcap, and with it the literature, publishes under the name CIDEr.

    score = 10 / 4 * sum over n of mean over references r of
            exp(-(l_c - l_r)^2 / (2 sigma^2)) * sum_g min(c_g, r_g) r_g / (|c| |r|)

with tf-idf vectors c, r of the n-grams and sigma = 6. The plain CIDEr of the paper, without clipping and length
penalty, is not published by anyone; its name is given here to the same figure as CIDEr-D.
"""

import numpy as np

from capjax.metrics.metric import Captions, MeanMetric
from capjax.metrics.ngrams import MAX_ORDER, NgramCounts
from capjax.metrics.pair_scoring import Pairs
from capjax.metrics.ragged import match
from capjax.metrics.tfidf import TfIdf, clipped_cosines, inverse_document_frequencies, length_penalty

_MAX_PAIRS = 200_000  # weighed at once: about 200 MB


class Cider(MeanMetric):
    """CIDEr-D, by the document frequencies of `Captions.idf`, else of the references of the set.

    With the frequencies of its own references a single item scores 0: each of its n-grams is in every document. In a
    set of pairs every pair counts as a document, even if two have the same reference.
    """

    family = "cider"
    names = ("CIDEr", "CIDEr-D")
    depends_on_set = True

    def signature_fields(self, captions: Captions) -> dict[str, object]:
        idf = captions.idf
        return {"idf": f"{idf.source}({idf.documents})" if idf else "references"}

    def item_scores(self, captions: Captions) -> np.ndarray:
        corpus, counts = captions.corpus, captions.counts
        items, sentences = corpus.items, len(corpus.lengths)
        hypothesis = corpus.item[items:]
        length = _length_in_bigrams(corpus.lengths)
        penalty = length_penalty(length[hypothesis] - length[items:])
        total = np.zeros(sentences - items)
        for grams, idf in zip(counts, inverse_document_frequencies(corpus, counts, captions.idf), strict=True):
            vectors = TfIdf.of(grams.sentence, grams.gram, grams.count, idf[grams.gram], sentences)
            cosines = clipped_cosines(vectors.rows(0, items), vectors.rows(items, sentences), hypothesis, grams.size)
            total += cosines * penalty
        scores = 10.0 * total / len(counts)
        return np.bincount(hypothesis, scores, minlength=items) / np.bincount(hypothesis, minlength=items)

    def corpus_scores(self, captions: Captions) -> tuple[np.ndarray, np.ndarray]:
        scores = self.item_scores(captions)
        return np.stack([scores.mean()] * len(self.names)), np.stack([scores] * len(self.names))

    def pair_scores(self, pairs: Pairs) -> np.ndarray:
        first = np.searchsorted(pairs.owner, np.arange(pairs.sets + 1))
        total, start = np.zeros(len(pairs.owner)), 0
        while start < pairs.sets:
            # As many whole sets as fit, and at least one.
            stop = max(start + 1, int(np.searchsorted(first, first[start] + _MAX_PAIRS, side="right")) - 1)
            chunk = slice(first[start], first[stop])
            for counts in pairs.counts:
                total[chunk] += _cosines_in_sets(pairs, chunk, counts)
            start = stop
        length = _length_in_bigrams(pairs.lengths)
        penalty = length_penalty(length[pairs.hypothesis] - length[pairs.reference])
        return np.stack([10.0 * total * penalty / MAX_ORDER] * len(self.names))

    def set_scores(self, pairs: Pairs) -> np.ndarray:
        sums = np.bincount(pairs.owner, self.pair_scores(pairs)[0], minlength=pairs.sets)
        return np.stack([sums / np.bincount(pairs.owner)] * len(self.names))


def _length_in_bigrams(lengths: np.ndarray) -> np.ndarray:
    """Returns lengths as pycocoevalcap measures them for the length penalty."""
    return np.maximum(lengths - 1, 0).astype(np.float64)


def _cosines_in_sets(pairs: Pairs, chunk: slice, counts: NgramCounts) -> np.ndarray:
    """Returns the clipped cosine of each pair in `chunk` (whole sets) for one n, by the frequencies of its set."""
    owner = pairs.owner[chunk] - pairs.owner[chunk.start]
    log_documents = np.log(np.bincount(owner).astype(np.float64))[owner]

    pair, gram, count = counts.of_sentences(pairs.reference[chunk])
    table, which, frequency = np.unique(owner[pair] * counts.size + gram, return_inverse=True, return_counts=True)
    log_frequency = np.log(frequency.astype(np.float64))
    references = TfIdf.of(pair, gram, count, log_documents[pair] - log_frequency[which], len(owner))

    pair, gram, count = counts.of_sentences(pairs.hypothesis[chunk])
    is_known, position = match(owner[pair] * counts.size + gram, table)
    idf = log_documents[pair]
    idf[is_known] -= log_frequency[position[is_known]]
    hypotheses = TfIdf.of(pair, gram, count, idf, len(owner))
    return clipped_cosines(hypotheses, references, np.arange(len(owner)), counts.size)
