"""How often each kind of error occurs, overall and by slice, and whether two systems differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from capjax.analyze.findings import KINDS, Finding
from capjax.metrics.significance import Comparison, comparisons

Id = int | str


@dataclass(frozen=True)
class Frequency:
    """A share of captions.

    Attributes:
      count, items: captions with an error of a kind, and all captions.
      low, high: Wilson's 95 % confidence interval of the share.
    """

    count: int
    items: int
    low: float
    high: float

    @classmethod
    def of(cls, count: int, items: int) -> "Frequency":
        """Returns a frequency. Raises ValueError without items."""
        interval = stats.binomtest(count, items).proportion_ci(0.95, method="wilson")
        return cls(count, items, float(interval.low), float(interval.high))

    @property
    def share(self) -> float:
        """The share of captions, from 0 to 1."""
        return self.count / self.items


def frequencies(findings: Mapping[Id, Sequence[Finding]]) -> dict[str, Frequency]:
    """Returns {kind: share of the captions that have such an error}, for kinds that could be found."""
    items = len(findings)
    counts = dict.fromkeys(KINDS, 0)
    for own in findings.values():
        for kind in {finding.kind for finding in own}:
            counts[kind] += 1
    return {kind: Frequency.of(count, items) for kind, count in counts.items()}


def by_slice(findings: Mapping[Id, Sequence[Finding]], slices: Mapping[Id, str]) -> dict[str, dict[str, Frequency]]:
    """Returns {slice: {kind: share}}.

    Args:
      slices: {id: name of its slice}; items without one are left out.
    """
    groups: dict[str, dict[Id, Sequence[Finding]]] = {}
    for id, own in findings.items():
        if id in slices:
            groups.setdefault(slices[id], {})[id] = own
    return {name: frequencies(group) for name, group in groups.items()}


def compare(
    first: Mapping[Id, Sequence[Finding]], second: Mapping[Id, Sequence[Finding]], *, seed: int = 0
) -> dict[str, Comparison]:
    """Returns {kind: difference of the shares of two systems on the same items, first minus second, with p-value}.

    Raises:
      ValueError: the systems have different items, or fewer than two.
    """
    if list(first) != list(second):
        raise ValueError("the systems have different items")

    def statistics(findings) -> dict:
        kinds = [{finding.kind for finding in own} for own in findings.values()]
        ones = np.ones(len(kinds))
        has = {kind: np.array([float(kind in own) for own in kinds]) for kind in KINDS}
        return {kind: (np.stack([values, ones]), _share) for kind, values in has.items()}

    return comparisons(statistics(first), statistics(second), seed=seed)


def _share(sums: np.ndarray) -> np.ndarray:
    return sums[0] / sums[1]
