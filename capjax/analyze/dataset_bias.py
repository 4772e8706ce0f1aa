"""Bias in a set of captions: terms that are over-represented, and terms that occur together far more or less often than
if they were independent.

Tests are exact, and their p-values are corrected by Holm's method, which bounds the probability of even one false
alarm. Since many items make small differences significant, a bias also has a least size.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from capjax.analyze.terms import Id, Term, count_items

ALPHA = 0.01
# Terms of fewer items say nothing; those of nearly all items are what the set is about.
_MIN_ITEMS, _MAX_SHARE = 10, 0.98
_MAX_TERMS = 400
# Over-represented: this many times the median of its family, and above a gap of this ratio in the sorted frequencies,
# since frequencies of words are uneven but fall off smoothly.
_MIN_RATIO = 1.5
_MIN_FAMILY = 4
# Counterparts, of which neither should be much more frequent.
_COUNTERPARTS = [(("people", "man"), ("people", "woman")), (("people", "boy"), ("people", "girl"))]
_COUNTERPART_RATIO, _LANGUAGE_RATIO = 1.5, 2.0
# Odds ratios from which on terms are associated: together, and apart.
_TOGETHER, _APART = 2.0, 0.25
# Pairs of families whose terms are compared.
_FAMILIES = [
    ("object", "object"), ("object", "action"), ("object", "people"), ("action", "people"), ("color", "people"),
    ("color", "object"), ("color", "action"), ("size", "object"), ("size", "people"), ("material", "object"),
    ("language", "object"), ("language", "action"), ("language", "people"), ("action", "action"),
]  # fmt: skip


@dataclass(frozen=True)
class Bias:
    """A bias of a set of captions.

    Attributes:
      kind: `over-represented`, `together` or `apart`.
      terms: one term, or two.
      items: number of items that have it, or both.
      expected: that number if it were as frequent as the median of its family, or if both were independent.
      ratio: its frequency over that; of a pair, the odds ratio.
      p_value: corrected for all tests of its kind.
    """

    kind: str
    terms: tuple[Term, ...]
    items: int
    expected: float
    ratio: float
    p_value: float

    @property
    def name(self) -> str:
        """The terms in words: `dog`, `woman + kitchen`."""
        return " + ".join(name for _, name in self.terms)


def find_bias(terms: Mapping[Id, set[Term]]) -> list[Bias]:
    """Returns the biases of a set of items, the strongest of each kind first.

    Args:
      terms: {id: what its captions or labels name}.
    """
    if len(terms) < _MIN_ITEMS:
        return []
    counts = count_items(terms)
    return [*_over_represented(counts, len(terms)), *_associations(terms, counts)]


def find_language_bias(captions: Mapping[str, int]) -> list[Bias]:
    """Returns the languages that have far more captions than the median of the others.

    Args:
      captions: {language: number of captions}.
    """
    total = sum(captions.values())
    biases = []
    for lang, count in captions.items():
        other_counts = [other for name, other in captions.items() if name != lang]
        expected = float(np.median(other_counts)) if other_counts else 0.0
        if count >= _MIN_ITEMS and other_counts and count >= _LANGUAGE_RATIO * expected:
            p_value = stats.binomtest(count, total, min(1.0, expected / total), alternative="greater").pvalue
            if p_value * len(captions) <= ALPHA:
                term = ("language", lang)
                biases.append(
                    Bias("over-represented", (term,), count, expected, count / max(expected, 1), float(p_value))
                )
    return biases


def holm(p_values: np.ndarray) -> np.ndarray:
    """Returns p-values corrected by Holm (1979), "A simple sequentially rejective multiple test procedure"."""
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    corrected = np.minimum(1.0, np.maximum.accumulate(p_values[order] * factors)) if len(p_values) else p_values
    result = np.empty(len(p_values))
    result[order] = corrected
    return result


def _over_represented(counts: Mapping[Term, int], items: int) -> list[Bias]:
    """Terms that stand out of their family, and counterparts of which one prevails."""
    candidates: list[tuple[Term, float, float, float]] = []  # term, expected items, ratio, p-value
    tests = 0
    for family in sorted({family for family, _ in counts} - {"people"}):
        own = sorted(((count, term) for term, count in counts.items() if term[0] == family), reverse=True)
        if len(own) < _MIN_FAMILY:
            continue
        tests += len(own)
        expected = float(np.median([count for count, _ in own]))
        for count, term in own[: _above_gap([count for count, _ in own])]:
            if count >= max(_MIN_ITEMS, _MIN_RATIO * expected) and count <= _MAX_SHARE * items:
                p_value = stats.binomtest(count, items, min(1.0, expected / items), alternative="greater").pvalue
                candidates.append((term, expected, count / expected, float(p_value)))
    for pair in _COUNTERPARTS:
        first, second = sorted(pair, key=lambda term: -counts.get(term, 0))
        more, less = counts.get(first, 0), counts.get(second, 0)
        if more + less >= _MIN_ITEMS:
            tests += 1
            if more >= _COUNTERPART_RATIO * less:
                p_value = stats.binomtest(more, more + less, 0.5).pvalue
                candidates.append((first, (more + less) / 2, more / max(less, 1), float(p_value)))
    p_values = holm(np.array([p for *_, p in candidates] + [1.0] * (tests - len(candidates))))
    biases = [
        Bias("over-represented", (term,), counts[term], expected, ratio, float(p))
        for (term, expected, ratio, _), p in zip(candidates, p_values, strict=False)
        if p <= ALPHA
    ]
    return sorted(biases, key=lambda bias: -bias.ratio)


def _above_gap(counts: list[int]) -> int:
    """Returns how many of the counts, which fall, lie above the last gap in their upper third."""
    third = max(1, len(counts) // 3)
    return max((n for n in range(1, third + 1) if counts[n - 1] >= _MIN_RATIO * counts[n]), default=0)


def _associations(terms: Mapping[Id, set[Term]], counts: Mapping[Term, int]) -> list[Bias]:
    items = len(terms)
    kept = [t for t, count in counts.items() if _MIN_ITEMS <= count <= _MAX_SHARE * items]
    kept = sorted(sorted(kept), key=lambda term: -counts[term])[:_MAX_TERMS]
    has = np.zeros((len(kept), items), np.float32)
    number = {term: row for row, term in enumerate(kept)}
    for column, own in enumerate(terms.values()):
        for term in own:
            if term in number:
                has[number[term], column] = 1
    together = (has @ has.T).astype(np.int64)
    pairs = np.array([(a, b) for a, b in combinations(range(len(kept)), 2) if _compared(kept[a], kept[b])], np.int64)
    if not len(pairs):
        return []
    first, second = pairs.T
    size = np.diag(together)
    both, a, b = together[first, second], size[first], size[second]
    more = stats.hypergeom.sf(both - 1, items, a, b)
    fewer = stats.hypergeom.cdf(both, items, a, b)
    p_values = holm(np.minimum(1.0, 2 * np.minimum(more, fewer)))
    odds = (both + 0.5) * (items - a - b + both + 0.5) / ((a - both + 0.5) * (b - both + 0.5))
    significant = np.flatnonzero((p_values <= ALPHA) & ((odds >= _TOGETHER) | (odds <= _APART)))
    biases = [
        Bias(
            "together" if odds[i] > 1 else "apart", (kept[first[i]], kept[second[i]]), int(both[i]),
            float(a[i] * b[i] / items), float(odds[i]), float(p_values[i]),
        )
        for i in significant
    ]  # fmt: skip
    return list(_direct(biases, has, number))


def _compared(first: Term, second: Term) -> bool:
    return (first[0], second[0]) in _FAMILIES or (second[0], first[0]) in _FAMILIES


def _direct(biases: list[Bias], has: np.ndarray, number: Mapping[Term, int]) -> Iterator[Bias]:
    """Yields the associations that do not follow from stronger ones.

    Of terms A and C that both go with B, those without an association among the items with and among those without B
    are left out. Terms that are apart only because one of them goes with an alternative to the other, of its family,
    are left out too, and so are alternatives themselves: who says woman seldom says man.
    """
    accepted: list[Bias] = []
    for bias in sorted(biases, key=lambda bias: -abs(math.log(bias.ratio))):
        if bias.kind == "together" and not _explained(bias, accepted, has, number):
            accepted.append(bias)
    yield from accepted
    linked = [set(bias.terms) for bias in accepted]
    for bias in sorted(biases, key=lambda bias: bias.ratio):
        first, second = bias.terms
        if bias.kind == "together" or first[0] == second[0]:
            continue
        if not any(_replaces(link, first, second) or _replaces(link, second, first) for link in linked):
            yield bias


def _replaces(link: set[Term], kept: Term, alternative: Term) -> bool:
    """Whether a pair is of `kept` and of another term of the family of `alternative`."""
    return kept in link and any(term != kept and term[0] == alternative[0] for term in link)


def _explained(bias: Bias, accepted: list[Bias], has: np.ndarray, number: Mapping[Term, int]) -> bool:
    first, second = bias.terms
    partners = {
        term: {other for link in accepted if term in link.terms for other in link.terms if other != term}
        for term in bias.terms
    }
    for middle in partners[first] & partners[second]:
        ratio, p_value = stratified_odds(has[number[first]], has[number[second]], has[number[middle]])
        if ratio < _TOGETHER or p_value > 0.01:
            return True
    return False


def stratified_odds(first: np.ndarray, second: np.ndarray, by: np.ndarray) -> tuple[float, float]:
    """Returns the odds ratio of two terms within the strata of a third, and its p-value.

    Mantel & Haenszel, "Statistical aspects of the analysis of data from retrospective studies of disease" (1959).

    Args:
      first, second, by: [items], 1 where an item has the term.
    """
    numerator = denominator = observed = expected = variance = 0.0
    for stratum in (by > 0, by <= 0):
        a_has, b_has = first[stratum] > 0, second[stratum] > 0
        n = len(a_has)
        if n < 2:
            continue
        both, a, b = int((a_has & b_has).sum()), int(a_has.sum()), int(b_has.sum())
        numerator += both * (n - a - b + both) / n
        denominator += (a - both) * (b - both) / n
        observed += both
        expected += a * b / n
        variance += a * b * (n - a) * (n - b) / (n * n * (n - 1))
    ratio = numerator / denominator if denominator else math.inf if numerator else 1.0
    if not variance:
        return ratio, 1.0
    return ratio, float(stats.chi2.sf(max(abs(observed - expected) - 0.5, 0.0) ** 2 / variance, 1))
