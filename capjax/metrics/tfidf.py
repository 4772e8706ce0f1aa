"""tf-idf vectors of n-grams and the cosines between them, for CIDEr, Self-CIDEr and consensus reranking."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from capjax.metrics.idf import Idf
from capjax.metrics.ngrams import Corpus, NgramCounts, ngram_texts
from capjax.metrics.ragged import distinct, match

SIGMA = 6.0  # of CIDEr-D's length penalty, in words


@dataclass(frozen=True)
class TfIdf:
    """Sparse tf-idf vectors, one for each row (a sentence), of n-grams of one length.

    Attributes:
      row, gram: int64 [entries], ordered by row.
      weight: float64 [entries], the n-gram's count times its inverse document frequency.
      norm: float64 [rows], the Euclidean length of each vector.
    """

    row: np.ndarray
    gram: np.ndarray
    weight: np.ndarray
    norm: np.ndarray

    @classmethod
    def of(cls, row: np.ndarray, gram: np.ndarray, count: np.ndarray, idf: np.ndarray, rows: int) -> "TfIdf":
        """Weighs n-grams by count times `idf`; `row`, `gram`, `count` and `idf` are [entries]."""
        weight = count * idf
        return cls(row, gram, weight, np.sqrt(np.bincount(row, weight**2, minlength=rows)))

    def rows(self, begin: int, end: int) -> "TfIdf":
        """Returns the vectors of the rows begin .. end - 1, as rows 0 .. end - begin - 1."""
        entries = slice(*np.searchsorted(self.row, [begin, end]))
        return TfIdf(self.row[entries] - begin, self.gram[entries], self.weight[entries], self.norm[begin:end])

    def unit_weights(self) -> np.ndarray:
        """Returns the weights of the vectors scaled to length 1, float64 [entries]; a zero vector stays zero."""
        norm = self.norm[self.row]
        return np.divide(self.weight, norm, out=np.zeros(len(norm)), where=norm > 0)


def clipped_cosines(hypotheses: TfIdf, references: TfIdf, hypothesis: np.ndarray, size: int) -> np.ndarray:
    """Returns CIDEr-D's similarity sum_g min(h_g, r_g) r_g / (|h| |r|) of each reference r, float64 [references].

    Args:
      hypotheses: vectors with the n-grams of each row in ascending order.
      hypothesis: int64 [references], the row of the hypothesis h of each reference.
      size: number of n-grams; every n-gram is below it.
    """
    is_shared, position = match(
        hypothesis[references.row] * size + references.gram, hypotheses.row * size + hypotheses.gram
    )
    weight = references.weight[is_shared]
    overlap = np.minimum(hypotheses.weight[position[is_shared]], weight) * weight
    dot = np.bincount(references.row[is_shared], overlap, minlength=len(references.norm))
    norms = hypotheses.norm[hypothesis] * references.norm
    return np.divide(dot, norms, out=np.zeros(len(dot)), where=norms > 0)


def length_penalty(difference: np.ndarray) -> np.ndarray:
    """Returns CIDEr-D's Gaussian factor exp(-difference^2 / (2 sigma^2)) of a difference in length."""
    return np.exp(-np.square(difference) / (2 * SIGMA**2))


def inverse_document_frequencies(
    corpus: Corpus, counts: list[NgramCounts], idf: Idf | None = None
) -> Iterator[np.ndarray]:
    """Yields for each n the log of documents over document frequency of each n-gram, float64 [size].

    Args:
      idf: document frequencies; without it, those of the references of `corpus`, where an item is a document.
    """
    texts = ngram_texts(corpus, counts) if idf else [[]] * len(counts)
    for grams, names in zip(counts, texts, strict=True):
        if idf is None:
            documents, frequency = corpus.items, _document_frequency(corpus, grams)
        else:
            documents = idf.documents
            frequency = np.zeros(grams.size)
            frequency[: len(names)] = [idf.frequency.get(name, 0) for name in names]
        yield np.log(float(documents)) - np.log(np.maximum(frequency, 1.0))


def _document_frequency(corpus: Corpus, counts: NgramCounts) -> np.ndarray:
    """Returns the number of items whose references have each n-gram, int64 [size]."""
    is_reference = counts.sentence >= corpus.items
    keys = corpus.item[counts.sentence[is_reference]] * counts.size + counts.gram[is_reference]
    return np.bincount(distinct(keys) % counts.size, minlength=counts.size)
