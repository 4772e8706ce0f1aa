"""Confidence intervals of scores and significance of the difference between two systems.

Confidence intervals are percentiles of the bootstrap over items (Efron 1979); the interval of a difference draws the
same items for both systems (Koehn, "Statistical significance tests for machine translation evaluation", 2004). p-values
are from approximate randomization (Noreen 1989; Riezler & Maxwell 2005): the share of random exchanges of captions
between the systems, item by item, after which they differ at least as much.

Nothing is scored again: scores follow from statistics that add up over items (see capjax.metrics.metric).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

# {metric: (statistics float64 [k, items], function of their sums, [k, ...] -> [...])}
Resampled = Mapping[str, tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]]

MIN_SAMPLES = 100
_TABLE_SIZE = 1 << 22  # numbers in a table of draws: 32 MB
# A smaller difference, relative to the score, may come from the order of additions and does not count.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Attributes:
      low, high: its ends.
    """

    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """The difference between two systems by one metric.

    Attributes:
      difference: score of the first system minus score of the second.
      low, high: confidence interval of the difference.
      p_value: two-sided probability of a difference at least as large between equal systems.
    """

    difference: float
    low: float
    high: float
    p_value: float


def confidences(
    resampled: Resampled, *, samples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """Returns the confidence interval of each metric, all from the same draws of items.

    Args:
      samples: number of draws.
      level: confidence level.

    Raises:
      ValueError: there are fewer than two items or 100 samples, the level is not between 0 and 1, or the metrics have
        different numbers of items.
    """
    items = _items(resampled, samples, level)
    drawn = _metrics(resampled, _draws(items, samples, seed))
    return {name: Interval(*_ends(values, level)) for name, values in drawn.items()}


def comparisons(
    first: Resampled, second: Resampled, *, samples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Comparison]:
    """Compares two systems on the same items by each metric that both have.

    Raises:
      ValueError: as `confidences`; or the systems have different numbers of items or no metric in common.
    """
    names = [name for name in first if name in second]
    if not names:
        raise ValueError(f"the systems have no metric in common: {sorted(first)} and {sorted(second)}")
    first, second = ({name: system[name] for name in names} for system in (first, second))
    items = _items(first, samples, level)
    if _items(second, samples, level) != items:
        raise ValueError(f"{items} items of the first system, {_items(second, samples, level)} of the second")

    first_scores, second_scores = (_metrics(system, [np.ones((1, items))]) for system in (first, second))
    drawn = [_metrics(system, _draws(items, samples, seed)) for system in (first, second)]
    exchanged = [
        _metrics(system, _exchanges(items, samples, seed))
        for system in (_concatenate(first, second), _concatenate(second, first))
    ]
    compared = {}
    for name in names:
        difference = float(first_scores[name][0] - second_scores[name][0])
        by_chance = np.abs(exchanged[0][name] - exchanged[1][name])
        threshold = abs(difference) - _ROUNDING * max(1.0, abs(float(first_scores[name][0])))
        p_value = (1 + int((by_chance >= threshold).sum())) / (samples + 1)
        compared[name] = Comparison(difference, *_ends(drawn[0][name] - drawn[1][name], level), p_value)
    return compared


def _items(resampled: Resampled, samples: int, level: float) -> int:
    """Validates the arguments and returns the number of items."""
    counts = {name: statistics.shape[-1] for name, (statistics, _) in resampled.items()}
    if not counts:
        raise ValueError("none of the metrics can be resampled")
    if len(set(counts.values())) > 1:
        raise ValueError(f"the metrics have different numbers of items: {counts}")
    for name, (statistics, _) in resampled.items():
        if not np.isfinite(statistics).all():
            raise ValueError(f"{name}: expected finite statistics to resample, found infinite ones or NaN")
    items = next(iter(counts.values()))
    if items < 2:
        raise ValueError(f"resampling takes two items or more, found {items}")
    if samples < MIN_SAMPLES:
        raise ValueError(f"resampling takes {MIN_SAMPLES} samples or more, found {samples}")
    if not 0 < level < 1:
        raise ValueError(f"expected a confidence level between 0 and 1, such as 0.95, found {level}")
    return items


def _tables(items: int, samples: int) -> Iterator[int]:
    """Yields the number of rows of each table of draws."""
    rows = max(1, _TABLE_SIZE // items)
    for begin in range(0, samples, rows):
        yield min(rows, samples - begin)


def _draws(items: int, samples: int, seed: int) -> Iterator[np.ndarray]:
    """Yields tables of how often each item is drawn, float64 [rows, items]."""
    rng = np.random.default_rng(seed)
    for rows in _tables(items, samples):
        yield np.stack([np.bincount(rng.integers(items, size=items), minlength=items) for _ in range(rows)]).astype(
            float
        )


def _exchanges(items: int, samples: int, seed: int) -> Iterator[np.ndarray]:
    """Yields tables of the share, 0 or 1, of [own statistics, the other system's], float64 [rows, 2 * items]."""
    rng = np.random.default_rng(seed)
    for rows in _tables(2 * items, samples):
        own = rng.integers(2, size=(rows, items)).astype(float)
        yield np.concatenate([own, 1 - own], axis=1)


def _concatenate(own: Resampled, other: Resampled) -> Resampled:
    return {
        name: (np.concatenate([statistics, other[name][0]], axis=1), aggregate)
        for name, (statistics, aggregate) in own.items()
    }


def _metrics(resampled: Resampled, tables) -> dict[str, np.ndarray]:
    """Returns each metric of each row of the tables, float64 [samples]."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in resampled}
    for table in tables:
        for name, (statistics, aggregate) in resampled.items():
            parts[name].append(np.asarray(aggregate((table @ statistics.T).T)))
    return {name: np.concatenate(values) for name, values in parts.items()}


def _ends(values: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
