"""What scores against references hide: captions that are all alike, learned by heart, or that stammer.

Of one caption an item: shares of distinct n-grams (Li et al. 2016, "A diversity-promoting objective function"), of
novel captions and of the vocabulary (van Miltenburg et al. 2018, "Measuring the diversity of automatic image
descriptions"), of n-grams repeated within a caption (Welleck et al. 2020, "Neural text generation with unlikelihood
training", seq-rep). Of several captions an item, as a sampler makes them: Self-CIDEr and mBLEU, how alike they are.
"""

from collections.abc import Sequence

import numpy as np

from capjax.metrics import bleu
from capjax.metrics.cider import inverse_frequencies
from capjax.metrics.idf import Idf
from capjax.metrics.ngrams import Corpus, Tokens, grams
from capjax.metrics.ragged import group, ranges

REPEATED = (2, 4)  # n of the n-grams whose repetition is told


def diversity(
    predictions: Sequence[Tokens],
    *,
    references: Sequence[Sequence[Tokens]] | None = None,
    training: Sequence[Tokens] | None = None,
) -> dict[str, float]:
    """Figures of one caption for each item.

    Args:
      predictions: words of each; references: of each item's captions; training: of the captions learned from.

    Returns:
      `distinct-1`, `distinct-2`: distinct n-grams over all n-grams; `distinct captions`: over all captions.
      `repetition-2`, `repetition-4`: n-grams of a caption that it has said before, over all n-grams.
      `length`: words; `vocabulary`: distinct words.
      With references `length ratio`: words over those of the references' mean; and, with training captions, else with
      references, `vocabulary used`: share of their words that are ever said. With training captions `novel captions`:
      share that is none of them.

    Raises:
      ValueError: there are no predictions.
    """
    if not predictions:
        raise ValueError("there are no predictions to tell the diversity of")
    corpus = Corpus.of(predictions, [[] for _ in predictions])
    counts = grams(corpus, max(REPEATED))
    said = {word for caption in predictions for word in caption}
    captions = {tuple(caption) for caption in predictions}
    found = {f"distinct-{n}": _share(len(np.unique(counts[n - 1].gram)), counts[n - 1].count.sum()) for n in (1, 2)}
    found["distinct captions"] = len(captions) / len(predictions)
    for n in REPEATED:
        total = counts[n - 1].count.sum()
        found[f"repetition-{n}"] = _share(total - len(counts[n - 1].count), total)
    found["length"] = float(corpus.lengths.mean())
    found["vocabulary"] = float(len(said))
    if references is not None:
        lengths = [np.mean([len(caption) for caption in captions]) for captions in references]
        found["length ratio"] = _share(corpus.lengths.sum(), sum(lengths))
    known = training if training is not None else [c for captions in references or () for c in captions]
    if known:
        words = {word for caption in known for word in caption}
        found["vocabulary used"] = _share(len(said & words), len(words))
    if training is not None:
        learned = {tuple(caption) for caption in training}
        found["novel captions"] = sum(tuple(caption) not in learned for caption in predictions) / len(predictions)
    return found


def self_cider(sets: Sequence[Sequence[Tokens]], idf: Idf | None = None) -> np.ndarray:
    """How different the captions of each item are: 0 where they are alike, 1 where they have nothing in common.

    Wang & Chan, "Describing like humans: on diversity in image captioning" (2019): the matrix of CIDEr between the m
    captions has eigenvalues l; -log_m(max sqrt(l) / sum sqrt(l)). CIDEr is here the cosine of the paper (Vedantam et
    al. 2015), without CIDEr-D's clipping, so that no eigenvalue is negative.

    Args:
      sets: words of each caption of each item, two or more.
      idf: document frequencies; without it an item's captions are a document. float64 [items]

    Raises:
      ValueError: an item has fewer than two captions.
    """
    sizes = _sizes(sets)
    items, most = len(sets), int(sizes.max())
    corpus = Corpus.of([[] for _ in sets], sets)
    counts = grams(corpus)
    row = np.concatenate([np.zeros(items, np.int64), ranges(np.zeros(items, np.int64), sizes)])
    kernel = np.zeros(items * most * most)
    for gram, weights in zip(counts, inverse_frequencies(corpus, counts, idf), strict=True):
        weight = gram.count * weights[gram.gram]
        norm = np.sqrt(np.bincount(gram.sentence, weight**2, minlength=len(corpus.lengths)))
        weight = np.divide(weight, norm[gram.sentence], out=np.zeros(len(weight)), where=norm[gram.sentence] > 0)
        keys = corpus.item[gram.sentence] * gram.size + gram.gram
        order = np.argsort(keys, kind="stable")
        _, first, count = group(keys[order])
        left = order[np.repeat(np.arange(len(order)), np.repeat(count, count))]
        right = order[ranges(np.repeat(first, count), np.repeat(count, count))]
        cell = (corpus.item[gram.sentence[left]] * most + row[gram.sentence[left]]) * most + row[gram.sentence[right]]
        kernel += np.bincount(cell, weight[left] * weight[right], minlength=len(kernel)) / len(counts)
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(kernel.reshape(items, most, most)), 0.0))
    total = roots.sum(1)
    share = np.divide(roots.max(1), total, out=np.ones(items), where=total > 0)
    return -np.log(share) / np.log(sizes)


def mbleu(sets: Sequence[Sequence[Tokens]]) -> np.ndarray:
    """mBLEU-1 to mBLEU-4: BLEU of every caption against the others of its item, float64 [4]; high where they are alike.

    Shetty et al., "Speaking the same language: matching machine to human captions by adversarial training" (2017).

    Raises:
      ValueError: an item has fewer than two captions.
    """
    _sizes(sets)
    captions = [caption for captions in sets for caption in captions]
    others = [[*captions[:i], *captions[i + 1 :]] for captions in sets for i in range(len(captions))]
    corpus = Corpus.of(captions, others)
    return bleu.aggregate(bleu.statistics(corpus, grams(corpus)).sum(1))


def _sizes(sets) -> np.ndarray:
    """How many captions each item has."""
    sizes = np.fromiter(map(len, sets), np.int64, len(sets))
    if not len(sizes) or sizes.min() < 2:
        which = f"item {int(sizes.argmin())} of {len(sizes)} has {sizes.min()}" if len(sizes) else "there are no items"
        raise ValueError(f"captions of an item are compared with each other: expected two or more of each; {which}")
    return sizes


def _share(part, whole) -> float:
    return float(part / whole) if whole else 0.0
