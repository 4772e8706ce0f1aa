"""CIDEr-D (Vedantam et al. 2015), which pycocoevalcap, and so everyone, publishes under the name CIDEr.

    score = 10 / 4 * sum over n of mean over references r of
            exp(-(l_c - l_r)^2 / (2 sigma^2)) * sum_g min(c_g, r_g) r_g / (|c| |r|)

with tf-idf vectors c, r of the n-grams and sigma = 6. The plain CIDEr of the paper, without clipping and length
penalty, is published by nobody; its name is given here, as everywhere, to this figure.
"""

import numpy as np

from capjax.metrics.idf import Idf
from capjax.metrics.ngrams import Corpus, Grams, distinct, match, texts

SIGMA = 6.0


def cider(corpus: Corpus, counts: list[Grams], idf: Idf | None = None) -> tuple[float, np.ndarray]:
    """(mean over items, per-item scores float64 [items]).

    Without `idf` the document frequencies are those of the references given. So one item alone scores 0: every n-gram
    of it is in all documents.
    """
    items, references = corpus.items, len(corpus.lengths) - corpus.items
    # pycocoevalcap measures length in bigrams.
    length = np.maximum(corpus.lengths - 1, 0).astype(np.float64)
    item = corpus.item[corpus.items :]
    penalty = np.exp(-np.square(length[item] - length[corpus.items :]) / (2 * SIGMA**2))
    total = np.zeros(references)
    names = texts(corpus, counts) if idf else [None] * len(counts)
    for grams, name in zip(counts, names, strict=True):
        if idf is None:
            documents, frequency = items, _document_frequency(corpus, grams)
        else:
            documents = idf.documents
            frequency = np.zeros(grams.size)
            frequency[: len(name)] = [idf.frequency.get(gram, 0) for gram in name]
        weights = np.log(float(documents)) - np.log(np.maximum(frequency, 1.0))
        total += _cosines(corpus, grams, weights) * penalty
    per_reference = 10.0 * total / len(counts)
    count = np.bincount(item, minlength=corpus.items)
    per_item = np.bincount(item, per_reference, minlength=corpus.items) / count
    return float(per_item.mean()), per_item


def _document_frequency(corpus: Corpus, grams: Grams) -> np.ndarray:
    """In how many items' references each n-gram stands, int64 [size]."""
    of_references = grams.sentence >= corpus.items
    keys = corpus.item[grams.sentence[of_references]] * grams.size + grams.gram[of_references]
    return np.bincount(distinct(keys) % grams.size, minlength=grams.size)


def _cosines(corpus: Corpus, grams: Grams, idf: np.ndarray) -> np.ndarray:
    """Clipped cosine similarity of each reference to its item's prediction, for one n; `idf` is float64 [size]."""
    items, sentences = corpus.items, len(corpus.lengths)
    is_prediction = grams.sentence < items
    keys = corpus.item[grams.sentence] * grams.size + grams.gram
    weight = grams.count * idf[grams.gram]
    norm = np.sqrt(np.bincount(grams.sentence, weight**2, minlength=sentences))
    # Entries are ordered by sentence and n-gram, so the predictions' keys are sorted.
    found, at = match(keys[~is_prediction], keys[is_prediction])
    reference_weight = weight[~is_prediction][found]
    overlap = np.minimum(weight[is_prediction][at[found]], reference_weight) * reference_weight
    which = grams.sentence[~is_prediction][found] - items
    dot = np.bincount(which, overlap, minlength=sentences - items)
    norms = norm[corpus.item[items:]] * norm[items:]
    return np.divide(dot, norms, out=np.zeros(len(dot)), where=norms > 0)
