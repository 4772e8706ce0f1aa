"""The protocol of a metric, from which all scores follow: of captions, of dense captions, of resampled items.

A metric has statistics of each item that add up over items, and a function that turns sums of them into scores:

    statistics(captions)  -> float64 [k, items]
    aggregate(sums)       [k, ...] -> float64 [names, ...]

The score of a set is the aggregate of its sums, an item's own score the aggregate of its own statistics. Confidence
intervals and comparisons of systems resample the columns of the statistics, and dense captioning adds up those of
the matched events of each video; no text is scored twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from capjax.metrics.idf import Idf
from capjax.metrics.languages import is_english
from capjax.metrics.names import DENSE_FAMILIES
from capjax.metrics.ngrams import Corpus, NgramCounts, Tokens, count_ngrams
from capjax.metrics.signature import Absent, signature, spread

if TYPE_CHECKING:
    from capjax.metrics.pair_scoring import Pairs


@dataclass(frozen=True)
class Captions:
    """Captions to score with their references, tokenized once for all metrics.

    Attributes:
      hypotheses: words of the caption of each item.
      references: words of each reference of each item.
      texts: (captions, references) before tokenization, for metrics that read text.
      lang: BCP 47 code of the language.
      tokenizer: name of the tokenizer, for signatures.
      idf: document frequencies for CIDEr; None for those of the references.
    """

    hypotheses: Sequence[Tokens]
    references: Sequence[Sequence[Tokens]]
    texts: tuple[Sequence[str], Sequence[Sequence[str]]] = ((), ())
    lang: str = "en"
    tokenizer: str = ""
    idf: Idf | None = None

    @cached_property
    def corpus(self) -> Corpus:
        """All sentences as token ids."""
        return Corpus.of(self.hypotheses, self.references)

    @cached_property
    def counts(self) -> list[NgramCounts]:
        """The n-grams of all sentences for n = 1 .. 4."""
        return count_ngrams(self.corpus)

    def signature(self, metric: str, **fields: object) -> str:
        """Returns a metric's signature: the fields that all metrics share, then its own."""
        shared = {"items": len(self.hypotheses), "refs": spread(map(len, self.references)), "tok": self.tokenizer}
        return signature(metric, **(shared | fields))


@dataclass(frozen=True)
class Measure:
    """The scores of a set of captions by one metric.

    Attributes:
      corpus: score of the set.
      items: float64 [items], the score of each item.
      statistics: float64 [k, items] that add up over items, or None if the metric cannot be resampled.
      aggregate: sums of statistics [k, ...] -> scores [...], or None.
      signature: how the score was computed, in one line.
    """

    corpus: float
    items: np.ndarray
    statistics: np.ndarray | None
    aggregate: Callable[[np.ndarray], np.ndarray] | None
    signature: str


class Metric:
    """A family of metrics that are computed together, such as BLEU-1 to BLEU-4.

    A subclass defines `family`, `names`, `statistics` and `aggregate`; the rest has defaults.
    `capjax.metrics.registry.register_metric` makes it available by its family's name.

    Attributes:
      family: the name by which users choose it, in lower case; they may also write the name of one of its scores.
      names: the names of its scores.
      english_only: why it is not computed for other languages; empty if it is.
      reads_text: whether it needs `Captions.texts`. Such a metric does not score dense captions.
      depends_on_set: whether the score of an item depends on the other items of its set.
    """

    family: str
    names: tuple[str, ...]
    english_only = ""
    reads_text = False
    depends_on_set = False

    def statistics(self, captions: Captions) -> np.ndarray:
        """Returns the statistics of each item, float64 [k, items].

        Raises:
          Absent: the metric cannot be computed on this machine.
          ModuleNotFoundError: it needs an extra that is not installed.
        """
        raise NotImplementedError

    def aggregate(self, sums: np.ndarray) -> np.ndarray:
        """Turns sums of statistics [k, ...] into scores float64 [names, ...]."""
        raise NotImplementedError

    def signature_fields(self, captions: Captions) -> dict[str, object]:
        """Returns what the signature says beside the number of items and references and the tokenizer."""
        return {}

    @property
    def dense_names(self) -> tuple[str, ...]:
        """The names of its scores of dense captions."""
        return DENSE_FAMILIES.get(self.family, self.names)

    def check_language(self, lang: str):
        """Raises Absent if the metric is not computed for the language."""
        if self.english_only and not is_english(lang):
            raise Absent(self.english_only)

    def check_installed(self):
        """Raises Absent if a program that the metric runs is missing on this machine."""

    def measure(self, captions: Captions) -> dict[str, Measure]:
        """Scores captions: {name: Measure}. Raises as `statistics` does."""
        statistics = self.statistics(captions)
        corpus, items = self.aggregate(statistics.sum(1)), self.aggregate(statistics)
        fields = self.signature_fields(captions)
        return {
            name: Measure(
                float(corpus[row]), items[row], statistics, partial(self._aggregate_one, row),
                captions.signature(name, **fields),
            )
            for row, name in enumerate(self.names)
        }  # fmt: skip

    def _aggregate_one(self, row: int, sums: np.ndarray) -> np.ndarray:
        return self.aggregate(sums)[row]

    def corpus_scores(self, captions: Captions) -> tuple[np.ndarray, np.ndarray]:
        """Returns the scores of all captions together, float64 [names], and of each item, float64 [names, items].

        Statistics are added up in order, as for sets of pairs: numpy's `sum` may differ in the last bit.
        """
        statistics = self.statistics(captions)
        items = statistics.shape[1]
        return self.aggregate(sum_sets(statistics, np.zeros(items, np.int64), 1))[:, 0], self.aggregate(statistics)

    def pair_statistics(self, pairs: "Pairs") -> np.ndarray:
        """Returns the statistics of each distinct pair of sentences, float64 [k, distinct pairs]."""
        return self.statistics(pairs.captions)

    def pair_scores(self, pairs: "Pairs") -> np.ndarray:
        """Returns the score of each pair, float64 [names, pairs]."""
        return self.aggregate(self.pair_statistics(pairs))[:, pairs.distinct.inverse]

    def set_scores(self, pairs: "Pairs") -> np.ndarray:
        """Returns the scores of each set of pairs, float64 [names, sets]."""
        statistics = self.pair_statistics(pairs)[:, pairs.distinct.inverse]
        return self.aggregate(sum_sets(statistics, pairs.owner, pairs.sets))


class MeanMetric(Metric):
    """A metric whose score of a set is the mean over items. A subclass defines `item_scores`."""

    def item_scores(self, captions: Captions) -> np.ndarray:
        """Returns the score of each item, float64 [items]."""
        raise NotImplementedError

    def statistics(self, captions: Captions) -> np.ndarray:
        scores = self.item_scores(captions)
        return np.stack([scores, np.ones(len(scores))])

    def aggregate(self, sums: np.ndarray) -> np.ndarray:
        return np.stack([sums[0] / sums[1]] * len(self.names))


class FunctionMetric(Metric):
    """A metric given as a function (hypotheses, references) -> (score of all, float64 [items])."""

    def __init__(self, name: str, function: Callable[..., tuple[float, np.ndarray]]):
        self.family, self.names, self._function = "", (name,), function

    def corpus_scores(self, captions: Captions) -> tuple[np.ndarray, np.ndarray]:
        corpus, items = self._function(captions.hypotheses, captions.references)
        return np.array([corpus], np.float64), np.asarray(items, np.float64)[None]

    def pair_scores(self, pairs: "Pairs") -> np.ndarray:
        return self.corpus_scores(pairs.captions)[1][:, pairs.distinct.inverse]

    def set_scores(self, pairs: "Pairs") -> np.ndarray:
        bounds = np.searchsorted(pairs.owner, np.arange(pairs.sets + 1))
        hypotheses, references = pairs.words(pairs.hypothesis), [[words] for words in pairs.words(pairs.reference)]
        spans = [slice(*bounds[i : i + 2]) for i in range(pairs.sets)]
        return np.array([[self._function(hypotheses[span], references[span])[0] for span in spans]], np.float64)


def sum_sets(statistics: np.ndarray, owner: np.ndarray, sets: int) -> np.ndarray:
    """Adds up columns [k, n] by the set that owns each, `owner` int64 [n]. Returns float64 [k, sets]."""
    return np.stack([np.bincount(owner, row, minlength=sets) for row in statistics])
