"""Diversity of captions, which scores against references do not show.

For one caption per item: distinct n-grams (Li et al. 2016, "A diversity-promoting objective function"), novel captions
and vocabulary (van Miltenburg et al. 2018, "Measuring the diversity of automatic image descriptions"), repetition of
n-grams within a caption (Welleck et al. 2020, "Neural text generation with unlikelihood training", seq-rep). For
several captions per item, such as samples: Self-CIDEr and mBLEU, how similar they are.
"""

from collections.abc import Sequence

import numpy as np

from capjax.metrics.bleu import Bleu
from capjax.metrics.idf import Idf
from capjax.metrics.metric import Captions
from capjax.metrics.ngrams import Corpus, Tokens, count_ngrams
from capjax.metrics.ragged import group, ranges
from capjax.metrics.tfidf import TfIdf, inverse_document_frequencies

REPEATED = (2, 4)  # n of the n-grams whose repetition is measured
_MAX_COMPARISONS = 2**22


def diversity(
    predictions: Sequence[Tokens],
    *,
    references: Sequence[Sequence[Tokens]] | None = None,
    training: Sequence[Tokens] | None = None,
) -> dict[str, float]:
    """Measures the diversity of captions, one for each item.

    Args:
      predictions: words of each caption.
      references: words of each caption of each item.
      training: words of each caption that the model was trained on.

    Returns:
      `distinct-1`, `distinct-2`: distinct n-grams over all n-grams. `distinct captions`: the same of whole captions.
      `repetition-2`, `repetition-4`: n-grams that occur earlier in their caption, over all n-grams.
      `length`: mean number of words. `vocabulary`: number of distinct words.
      With references, `length ratio`: number of words over that of a mean reference. With training captions or
      references, `vocabulary used`: share of their words that the predictions use (of training captions if given).
      With training captions, `novel captions`: share of predictions that are not among them.

    Raises:
      ValueError: there are no predictions.
    """
    if not predictions:
        raise ValueError("there are no predictions to measure the diversity of")
    corpus = Corpus.of(predictions, [[] for _ in predictions])
    counts = count_ngrams(corpus, max(REPEATED))
    vocabulary = {word for caption in predictions for word in caption}
    captions = {tuple(caption) for caption in predictions}
    figures = {f"distinct-{n}": _share(len(np.unique(counts[n - 1].gram)), counts[n - 1].count.sum()) for n in (1, 2)}
    figures["distinct captions"] = len(captions) / len(predictions)
    for n in REPEATED:
        total = counts[n - 1].count.sum()
        figures[f"repetition-{n}"] = _share(total - len(counts[n - 1].count), total)
    figures["length"] = float(corpus.lengths.mean())
    figures["vocabulary"] = float(len(vocabulary))
    if references is not None:
        lengths = [np.mean([len(caption) for caption in captions]) for captions in references]
        figures["length ratio"] = _share(corpus.lengths.sum(), sum(lengths))
    source = training if training is not None else [c for captions in references or () for c in captions]
    if source:
        words = {word for caption in source for word in caption}
        figures["vocabulary used"] = _share(len(vocabulary & words), len(words))
    if training is not None:
        learned = {tuple(caption) for caption in training}
        figures["novel captions"] = sum(tuple(caption) not in learned for caption in predictions) / len(predictions)
    return figures


def self_cider(sets: Sequence[Sequence[Tokens]], idf: Idf | None = None) -> np.ndarray:
    """Returns Self-CIDEr of each item, float64 [items]: 0 if its captions are alike, 1 if they share nothing.

    Wang & Chan, "Describing like humans: on diversity in image captioning" (2019): the matrix of CIDEr between the m
    captions has eigenvalues l, and the figure is -log_m(max sqrt(l) / sum sqrt(l)). CIDEr is here the cosine of the
    paper (Vedantam et al. 2015), without CIDEr-D's clipping, so that no eigenvalue is negative.

    Args:
      sets: words of each caption of each item, two captions or more.
      idf: document frequencies; by default an item's captions are a document.

    Raises:
      ValueError: an item has fewer than two captions.
    """
    sizes = _sizes(sets)
    items, most = len(sets), int(sizes.max())
    corpus = Corpus.of([[] for _ in sets], sets)
    counts = count_ngrams(corpus)
    row = np.concatenate([np.zeros(items, np.int64), ranges(np.zeros(items, np.int64), sizes)])
    kernel = np.zeros(items * most * most)
    for grams, idf_of_gram in zip(counts, inverse_document_frequencies(corpus, counts, idf), strict=True):
        vectors = TfIdf.of(grams.sentence, grams.gram, grams.count, idf_of_gram[grams.gram], len(corpus.lengths))
        weight = vectors.unit_weights()
        item = corpus.item[vectors.row]
        keys = item * grams.size + vectors.gram
        order = np.argsort(keys, kind="stable")
        _, first, count = group(keys[order])
        left = order[np.repeat(np.arange(len(order)), np.repeat(count, count))]
        right = order[ranges(np.repeat(first, count), np.repeat(count, count))]
        cell = (item[left] * most + row[vectors.row[left]]) * most + row[vectors.row[right]]
        kernel += np.bincount(cell, weight[left] * weight[right], minlength=len(kernel)) / len(counts)
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(kernel.reshape(items, most, most)), 0.0))
    total = roots.sum(1)
    share = np.divide(roots.max(1), total, out=np.ones(items), where=total > 0)
    return -np.log(share) / np.log(sizes)


def mbleu(sets: Sequence[Sequence[Tokens]]) -> np.ndarray:
    """Returns mBLEU-1 to mBLEU-4, float64 [4]: BLEU of every caption against the others of its item.

    High values mean similar captions. Shetty et al., "Speaking the same language: matching machine to human captions
    by adversarial training" (2017).

    Raises:
      ValueError: an item has fewer than two captions.
    """
    _sizes(sets)
    captions = [caption for captions in sets for caption in captions]
    other_captions = [[*captions[:i], *captions[i + 1 :]] for captions in sets for i in range(len(captions))]
    return Bleu().corpus_scores(Captions(captions, other_captions))[0]


def _sizes(sets) -> np.ndarray:
    """Returns the number of captions of each item."""
    sizes = np.fromiter(map(len, sets), np.int64, len(sets))
    if not len(sizes) or sizes.min() < 2:
        fault = f"item {int(sizes.argmin())} of {len(sizes)} has {sizes.min()}" if len(sizes) else "there are no items"
        raise ValueError(f"captions of an item are compared with each other: expected two or more of each; {fault}")
    if (comparisons := len(sizes) * int(sizes.max()) ** 2) > _MAX_COMPARISONS:
        raise ValueError(
            f"captions of an item are compared with each other: {len(sizes):,} items of up to {sizes.max():,} captions "
            f"are {comparisons:,} comparisons; at most {_MAX_COMPARISONS:,} fit into memory. Give fewer captions"
        )
    return sizes


def _share(part, whole) -> float:
    return float(part / whole) if whole else 0.0
