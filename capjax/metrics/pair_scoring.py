"""Text metrics over many small sets of (hypothesis, reference) pairs, such as the matched events of each video.

A metric is any function of tokenized sentences

    metric(hypotheses: list[list[str]], groups: list[list[list[str]]]) -> (corpus score, float64 [items])

and is called once for each set. Where more is known of it, the sets share work:

- `Additive`: its corpus score is a function of sums over items (BLEU, METEOR: counts; ROUGE-L: a mean). Each distinct
  pair is measured once, however many sets it is in.
- `Cider`: the inverse document frequencies are those of the set, in which each pair counts as a document, even where
  two have the same reference. So n-grams are found once, but weights and norms are of each set. A set of one pair
  scores 0, since all its n-grams are in every document.

A metric whose score of an item depends on the other items, as CIDEr's does, has a function `in_sets(pairs: Pairs) ->
float64 [pairs]` beside: SODA takes the scores of single pairs.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np

from capjax.metrics import bleu, meteor
from capjax.metrics.cider import SIGMA, cider
from capjax.metrics.ngrams import Corpus, Grams, Tokens, grams, match
from capjax.metrics.ragged import ranges
from capjax.metrics.rouge import rouge_l

Groups = Sequence[Sequence[Tokens]]
Metric = Callable[[Sequence[Tokens], Groups], tuple[float, np.ndarray]]
Statistics = Callable[[Sequence[Tokens], Groups], np.ndarray]

_ORDER = 4  # longest n-gram of BLEU and CIDEr
_CHUNK = 200_000  # pairs weighed at once by Cider: about 200 MB


@dataclass(frozen=True)
class Pairs:
    """Pairs of sentences in sets.

    Attributes:
      sentences: distinct tokenized sentences.
      hypothesis, reference: int64 [pairs], which sentence each is.
      owner: int64 [pairs], ascending: the set each pair is of; sets: how many sets, each with a pair at least.
    """

    sentences: Sequence[Tokens]
    hypothesis: np.ndarray
    reference: np.ndarray
    owner: np.ndarray
    sets: int
    _sums: dict = field(default_factory=dict, repr=False)

    def sums(self, statistics: Statistics) -> np.ndarray:
        """Sums over each set's pairs of `statistics`: float64 [sets, k]. Each distinct pair is measured once."""
        if statistics not in self._sums:
            pairs, which = np.unique(self.hypothesis * len(self.sentences) + self.reference, return_inverse=True)
            hypotheses, references = np.divmod(pairs, len(self.sentences))
            if hasattr(statistics, "of_pairs"):
                each = statistics.of_pairs(self, hypotheses, references)[which]
            else:
                texts, groups = self.texts(hypotheses), [[text] for text in self.texts(references)]
                each = statistics(texts, groups)[which]
            columns = [np.bincount(self.owner, column, minlength=self.sets) for column in each.T]
            self._sums[statistics] = np.stack(columns, axis=1)
        return self._sums[statistics]

    def texts(self, numbers: np.ndarray) -> list[Tokens]:
        return [self.sentences[i] for i in numbers.tolist()]

    @cached_property
    def lengths(self) -> np.ndarray:
        """Words of each sentence, int64 [sentences]."""
        return self._corpus.lengths

    @cached_property
    def counts(self) -> list[Grams]:
        """The n-grams of all sentences, n = 1 .. 4."""
        return grams(self._corpus, _ORDER)

    @cached_property
    def _corpus(self) -> Corpus:
        return Corpus.of(self.sentences, [[] for _ in self.sentences])


def expand(entries: Grams, sentences: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """n-grams of the sentences with these numbers: (index into `sentences`, n-gram, count), in this order."""
    start, stop = np.searchsorted(entries.sentence, [sentences, sentences + 1])
    owner = np.repeat(np.arange(len(sentences)), stop - start)
    at = ranges(start, stop - start)
    return owner, entries.gram[at], entries.count[at]


@dataclass(frozen=True)
class Additive:
    """A metric whose corpus score depends on sums over items alone.

    Attributes:
      statistics: (hypotheses, groups) -> float64 [items, k]. Metrics with the same function share its result.
      score: sums of statistics over the items of each of n sets, [n, k] -> scores float64 [n].
    """

    statistics: Statistics
    score: Callable[[np.ndarray], np.ndarray]

    def __call__(self, hypotheses: Sequence[Tokens], groups: Groups) -> tuple[float, np.ndarray]:
        return self.of(self.statistics(hypotheses, groups))

    def of(self, statistics: np.ndarray) -> tuple[float, np.ndarray]:
        """(corpus score, per-item scores float64 [items]) from statistics of each item."""
        return float(self.score(statistics.sum(0, keepdims=True))[0]), self.score(statistics)

    def over_sets(self, pairs: Pairs) -> np.ndarray:
        return self.score(pairs.sums(self.statistics))


class Cider:
    """CIDEr-D with the document frequencies of the items it is given, or of each set."""

    def __call__(self, hypotheses: Sequence[Tokens], groups: Groups) -> tuple[float, np.ndarray]:
        corpus = Corpus.of(hypotheses, groups)
        return self.of_counts(corpus, grams(corpus, _ORDER))

    def of_counts(self, corpus: Corpus, counts: list[Grams]) -> tuple[float, np.ndarray]:
        return cider(corpus, counts)

    def in_sets(self, pairs: Pairs) -> np.ndarray:
        """Score of each pair among those of its set: float64 [pairs]."""
        first = np.searchsorted(pairs.owner, np.arange(pairs.sets + 1))
        total, start = np.zeros(len(pairs.owner)), 0
        while start < pairs.sets:
            # As many whole sets as fit, and at least one.
            stop = max(start + 1, int(np.searchsorted(first, first[start] + _CHUNK, side="right")) - 1)
            chunk = slice(first[start], first[stop])
            for entries in pairs.counts:
                total[chunk] += _cosines(pairs, chunk, entries)
            start = stop
        length = np.maximum(pairs.lengths - 1, 0).astype(np.float64)  # in bigrams, as pycocoevalcap has it
        penalty = np.exp(-np.square(length[pairs.hypothesis] - length[pairs.reference]) / (2 * SIGMA**2))
        return 10.0 * total * penalty / _ORDER

    def over_sets(self, pairs: Pairs) -> np.ndarray:
        return np.bincount(pairs.owner, self.in_sets(pairs), minlength=pairs.sets) / np.bincount(pairs.owner)


def over_sets(metric: Metric, pairs: Pairs) -> np.ndarray:
    """The metric's corpus score of each set: float64 [sets]."""
    if hasattr(metric, "over_sets"):
        return metric.over_sets(pairs)
    bounds = np.searchsorted(pairs.owner, np.arange(pairs.sets + 1)).tolist()
    hypotheses, groups = pairs.texts(pairs.hypothesis), [[text] for text in pairs.texts(pairs.reference)]
    scores = [metric(hypotheses[a:b], groups[a:b])[0] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
    return np.array(scores, np.float64)


def corpus_scores(
    metrics: Mapping[str, Metric], hypotheses: Sequence[Tokens], groups: Groups
) -> dict[str, tuple[float, np.ndarray]]:
    """{name: (corpus score, float64 [items])} by every metric. What metrics share is computed once."""
    shared = {}

    def counted(measure):
        """measure(hypotheses, groups), by the n-grams of all metrics where it takes them."""
        if not hasattr(measure, "of_counts"):
            return measure(hypotheses, groups)
        if "counts" not in shared:
            corpus = Corpus.of(hypotheses, groups)
            shared["counts"] = corpus, grams(corpus, _ORDER)
        return measure.of_counts(*shared["counts"])

    scores = {}
    for name, metric in metrics.items():
        if isinstance(metric, Additive):
            if metric.statistics not in shared:
                shared[metric.statistics] = counted(metric.statistics)
            scores[name] = metric.of(shared[metric.statistics])
        else:
            scores[name] = counted(metric)
    return scores


class _BleuStatistics:
    """Those of capjax.metrics.bleu, float64 [items, 10]."""

    def __call__(self, hypotheses: Sequence[Tokens], groups: Groups) -> np.ndarray:
        corpus = Corpus.of(hypotheses, groups)
        return self.of_counts(corpus, grams(corpus, _ORDER))

    def of_counts(self, corpus: Corpus, counts: list[Grams]) -> np.ndarray:
        return bleu.statistics(corpus, counts).T

    def of_pairs(self, pairs: Pairs, hypothesis: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """The same with one reference each, given by their numbers among the sentences of `pairs`."""
        correct = []
        for entries in pairs.counts:
            pair, gram, count = expand(entries, hypothesis)
            found, at = match(reference[pair] * entries.size + gram, entries.sentence * entries.size + entries.gram)
            clipped = np.minimum(count[found], entries.count[at[found]])
            correct.append(np.bincount(pair[found], clipped, minlength=len(hypothesis)))
        words = pairs.lengths[hypothesis]
        possible = [np.maximum(words - n, 0) for n in range(_ORDER)]
        return np.stack([*correct, *possible, words, pairs.lengths[reference]], axis=1).astype(np.float64)


def _bleu(n: int, sums: np.ndarray) -> np.ndarray:
    return bleu.aggregate(sums.T)[n - 1]


def _rouge_statistics(hypotheses: Sequence[Tokens], groups: Groups) -> np.ndarray:
    scores = rouge_l(hypotheses, groups)[1]
    return np.stack([scores, np.ones(len(scores))], axis=1)


def _ratio(sums: np.ndarray) -> np.ndarray:
    return sums[:, 0] / sums[:, 1]


_BLEU_STATISTICS = _BleuStatistics()


def _meteor_statistics(hypotheses: Sequence[Tokens], groups: Groups) -> np.ndarray:
    return meteor.statistics(hypotheses, groups).T


def _meteor(sums: np.ndarray) -> np.ndarray:
    return meteor.aggregate(sums.T)


# The metrics of the published scorers, by family; those of METRICS need no data of their own.
FAMILIES: dict[str, dict[str, Metric]] = {
    "bleu": {f"BLEU-{n}": Additive(_BLEU_STATISTICS, partial(_bleu, n)) for n in range(1, _ORDER + 1)},
    "rouge": {"ROUGE-L": Additive(_rouge_statistics, _ratio)},
    "cider": {"CIDEr": Cider()},
    "meteor": {"METEOR": Additive(_meteor_statistics, _meteor)},
}
METRICS: dict[str, Metric] = {**FAMILIES["bleu"], **FAMILIES["rouge"], **FAMILIES["cider"]}


def metrics_of(families: Iterable[str]) -> dict[str, Metric]:
    """{name: metric} of families; METEOR first, as papers have it.

    Raises:
      ValueError: a family is not computed for pairs of events.
    """
    families = list(families)
    if unknown := [name for name in families if name not in FAMILIES]:
        raise ValueError(f"dense captions are not scored by {unknown[0]!r}; choose from {', '.join(FAMILIES)}")
    ordered = sorted(families, key=lambda name: name != "meteor")
    return {name: metric for family in ordered for name, metric in FAMILIES[family].items()}


def _cosines(pairs: Pairs, chunk: slice, entries: Grams) -> np.ndarray:
    """Clipped cosine similarity of the pairs in `chunk` (whole sets), for one n, with the weights of their sets."""
    owner = pairs.owner[chunk] - pairs.owner[chunk.start]
    log_size = np.log(np.bincount(owner).astype(np.float64))[owner]

    pair, gram, count = expand(entries, pairs.reference[chunk])
    key = owner[pair] * entries.size + gram
    table, which, frequency = np.unique(key, return_inverse=True, return_counts=True)
    log_frequency = np.log(frequency.astype(np.float64))
    reference = count * (log_size[pair] - log_frequency[which])
    reference_norm = np.sqrt(np.bincount(pair, reference**2, minlength=len(owner)))
    reference_key = pair * entries.size + gram

    pair, gram, count = expand(entries, pairs.hypothesis[chunk])
    known, at = match(owner[pair] * entries.size + gram, table)
    idf = log_size[pair]
    idf[known] -= log_frequency[at[known]]
    weight = count * idf
    norm = np.sqrt(np.bincount(pair, weight**2, minlength=len(owner)))
    shared, at = match(pair * entries.size + gram, reference_key)
    overlap = np.minimum(weight[shared], reference[at[shared]]) * reference[at[shared]]
    dot = np.bincount(pair[shared], overlap, minlength=len(owner))
    norms = norm * reference_norm
    return np.divide(dot, norms, out=np.zeros(len(dot)), where=norms > 0)
