"""How far a figure would move on other items, and whether two systems differ by more than that.

Confidence intervals are percentiles of the bootstrap over items (Efron 1979); those of a difference draw the same items
for both systems (Koehn, "Statistical significance tests for machine translation evaluation", 2004). The p-value is that
of approximate randomization (Noreen 1989; Riezler & Maxwell 2005): how often systems whose captions are exchanged at
random, item by item, differ at least as much.

Nothing is scored again: a metric is made of statistics that are summed over items.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

# What a metric is made of: float64 [k, items], and what makes it of sums over items, [k, ...] -> [...].
Resampled = Mapping[str, tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]]

_LEAST = 100  # samples
_AT_ONCE = 1 << 22  # numbers in a table of draws: 32 MB
# Sums in another order differ by this much at most, relative to the figure: no difference.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Interval:
    """Attributes:
    low, high: the ends of the confidence interval.
    """

    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Attributes:
    difference: the first system's figure less the second's.
    low, high: the confidence interval of the difference.
    p_value: probability of a difference as large if the two systems were alike, two-sided.
    """

    difference: float
    low: float
    high: float
    p_value: float


def confidences(
    resampled: Resampled, *, samples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """The interval of each metric; all from the same draws of items.

    Raises:
      ValueError: fewer than two items or 100 samples; a level that is not between 0 and 1; metrics of different items.
    """
    items = _items(resampled, samples, level)
    drawn = _metrics(resampled, _draws(items, samples, seed))
    return {name: Interval(*_ends(values, level)) for name, values in drawn.items()}


def comparisons(
    first: Resampled, second: Resampled, *, samples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Comparison]:
    """The first system against the second on the same items, by each metric that both have.

    Raises:
      ValueError: as `confidences`, or the systems have different numbers of items or no metric in common.
    """
    names = [name for name in first if name in second]
    if not names:
        raise ValueError(f"the systems have no metric in common: {sorted(first)} and {sorted(second)}")
    first, second = ({name: system[name] for name in names} for system in (first, second))
    items = _items(first, samples, level)
    if _items(second, samples, level) != items:
        raise ValueError(f"{items} items of the first system, {_items(second, samples, level)} of the second")

    ours, theirs = (_metrics(system, [np.ones((1, items))]) for system in (first, second))
    drawn = [_metrics(system, _draws(items, samples, seed)) for system in (first, second)]
    exchanged = [_metrics(system, parts) for system, parts in zip(
        (_both(first, second), _both(second, first)), (_exchanges(items, samples, seed) for _ in range(2)), strict=True
    )]  # fmt: skip
    found = {}
    for name in names:
        difference = float(ours[name][0] - theirs[name][0])
        by_chance = np.abs(exchanged[0][name] - exchanged[1][name])
        least = abs(difference) - _ROUNDING * max(1.0, abs(float(ours[name][0])))
        p_value = (1 + int((by_chance >= least).sum())) / (samples + 1)
        found[name] = Comparison(difference, *_ends(drawn[0][name] - drawn[1][name], level), p_value)
    return found


def _items(resampled: Resampled, samples: int, level: float) -> int:
    """How many items there are, after all is checked."""
    counts = {name: statistics.shape[-1] for name, (statistics, _) in resampled.items()}
    if not counts:
        raise ValueError("there is no metric that can be resampled")
    if len(set(counts.values())) > 1:
        raise ValueError(f"the metrics are of different numbers of items: {counts}")
    for name, (statistics, _) in resampled.items():
        if not np.isfinite(statistics).all():
            raise ValueError(f"{name}: statistics that are not finite numbers cannot be resampled")
    items = next(iter(counts.values()))
    if items < 2:
        raise ValueError(f"resampling takes at least two items, and there is {items}")
    if samples < _LEAST:
        raise ValueError(f"resampling takes at least {_LEAST} samples, not {samples}")
    if not 0 < level < 1:
        raise ValueError(f"a confidence level lies between 0 and 1, such as 0.95; not {level}")
    return items


def _tables(items: int, samples: int) -> Iterator[int]:
    """Rows of each table of draws."""
    rows = max(1, _AT_ONCE // items)
    for begin in range(0, samples, rows):
        yield min(rows, samples - begin)


def _draws(items: int, samples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each item is drawn, float64 [rows, items] a table."""
    rng = np.random.default_rng(seed)
    for rows in _tables(items, samples):
        yield np.stack([np.bincount(rng.integers(items, size=items), minlength=items) for _ in range(rows)]).astype(
            float
        )


def _exchanges(items: int, samples: int, seed: int) -> Iterator[np.ndarray]:
    """What of [a system's own statistics, the other's] is taken, float64 [rows, 2 items] a table."""
    rng = np.random.default_rng(seed)
    for rows in _tables(2 * items, samples):
        own = rng.integers(2, size=(rows, items)).astype(float)
        yield np.concatenate([own, 1 - own], axis=1)


def _both(own: Resampled, other: Resampled) -> Resampled:
    return {
        name: (np.concatenate([statistics, other[name][0]], axis=1), aggregate)
        for name, (statistics, aggregate) in own.items()
    }


def _metrics(resampled: Resampled, tables) -> dict[str, np.ndarray]:
    """Each metric of each row of the tables. float64 [samples]."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in resampled}
    for table in tables:
        for name, (statistics, aggregate) in resampled.items():
            parts[name].append(np.asarray(aggregate((table @ statistics.T).T)))
    return {name: np.concatenate(values) for name, values in parts.items()}


def _ends(values: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
