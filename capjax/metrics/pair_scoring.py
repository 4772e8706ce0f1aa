"""Pairs of sentences in many small sets, such as the matched events of each video: the input of dense scoring.

A metric scores each set (`Metric.set_scores`) and each pair (`Metric.pair_scores`). A pair that is in several sets
is measured once. Metrics that depend on the set, as CIDEr does by its document frequencies, weigh each set by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from capjax.metrics.metric import Captions
from capjax.metrics.ngrams import Corpus, NgramCounts, Tokens, count_ngrams


class DistinctPairs(NamedTuple):
    """The distinct pairs among pairs.

    Attributes:
      hypothesis, reference: int64 [distinct], numbers of sentences.
      inverse: int64 [pairs], the distinct pair of each pair.
    """

    hypothesis: np.ndarray
    reference: np.ndarray
    inverse: np.ndarray


@dataclass(frozen=True)
class Pairs:
    """Pairs of a hypothesis and a reference, in sets.

    Attributes:
      sentences: tokenized sentences, all different.
      hypothesis, reference: int64 [pairs], numbers of sentences.
      owner: int64 [pairs], ascending: the set of each pair.
      sets: number of sets, each with one pair or more.
    """

    sentences: Sequence[Tokens]
    hypothesis: np.ndarray
    reference: np.ndarray
    owner: np.ndarray
    sets: int

    @cached_property
    def distinct(self) -> DistinctPairs:
        """The distinct pairs."""
        codes, inverse = np.unique(self.hypothesis * len(self.sentences) + self.reference, return_inverse=True)
        return DistinctPairs(*np.divmod(codes, len(self.sentences)), inverse)

    @cached_property
    def captions(self) -> Captions:
        """The distinct pairs as captions with one reference each."""
        references = [[words] for words in self.words(self.distinct.reference)]
        return Captions(self.words(self.distinct.hypothesis), references)

    def words(self, numbers: np.ndarray) -> list[Tokens]:
        """Returns the sentences with these numbers."""
        return [self.sentences[number] for number in numbers.tolist()]

    @cached_property
    def lengths(self) -> np.ndarray:
        """Words of each sentence, int64 [sentences]."""
        return self._corpus.lengths

    @cached_property
    def counts(self) -> list[NgramCounts]:
        """The n-grams of all sentences, n = 1 .. 4."""
        return count_ngrams(self._corpus)

    @cached_property
    def _corpus(self) -> Corpus:
        return Corpus.of(self.sentences, [[] for _ in self.sentences])
