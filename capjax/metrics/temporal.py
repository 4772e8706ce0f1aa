"""Events matched in time: tIoU, boundary errors and order of the predicted events."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


def tiou_matrix(predicted: np.ndarray, annotated: np.ndarray) -> np.ndarray:
    """Returns the temporal intersection over union of every two events: float64 [n, m], in 0 .. 1.

    As in the published scorers (Krishna et al. 2017, Fujita et al. 2020), 1e-8 s is added to the union: an event has
    slightly less than 1 with itself, and two events without duration have 0. An event whose end lies before its start
    has 0 with all others.

    Args:
      predicted: float64 [n, 2], starts and ends in seconds.
      annotated: float64 [m, 2].
    """
    start, end = (np.asarray(predicted, np.float64).reshape(-1, 2)[:, i, None] for i in (0, 1))
    other_start, other_end = np.asarray(annotated, np.float64).reshape(-1, 2).T
    intersection = np.maximum(np.minimum(end, other_end) - np.maximum(start, other_start), 0)
    hull = np.maximum(end, other_end) - np.minimum(start, other_start)
    union = np.minimum(hull, other_end - other_start + end - start)
    return np.divide(intersection, union + 1e-8, out=np.zeros_like(intersection), where=intersection > 0)


def match_events(tiou: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the one-to-one matching with the greatest sum of tIoU: rows and columns, int64 [matched], rows ascending.

    Only events that overlap are matched, so that there may be fewer pairs than events on the shorter side.
    """
    tiou = np.asarray(tiou, np.float64)
    if not tiou.any():
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    if tiou.shape == (1, 1):
        return np.zeros(1, np.int64), np.zeros(1, np.int64)
    from scipy.optimize import linear_sum_assignment  # slow to import

    rows, columns = linear_sum_assignment(tiou, maximize=True)
    overlap = tiou[rows, columns] > 0
    return rows[overlap], columns[overlap]


def kendall_tau(a: np.ndarray, b: np.ndarray) -> float | None:
    """Returns Kendall's tau-b (1945) of two rankings [n]: 1 in the same order, -1 reversed.

    None if all values of a ranking are equal, or if there are fewer than two.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if len(a) < 2:
        return None
    above = np.triu_indices(len(a), 1)
    order, other = (np.sign(x[:, None] - x)[above] for x in (a, b))
    norm = np.sqrt(float(np.abs(order).sum()) * float(np.abs(other).sum()))
    return float(order @ other) / norm if norm else None


@dataclass(frozen=True)
class EventMatching:
    """The matched events of one video and one annotation set.

    Attributes:
      tiou: float64 [matched].
      errors: float64 [2 * matched], seconds between predicted and annotated starts, then ends.
      tau: Kendall's tau-b of the starts of matched events, or None if there are not two to order.
      annotated: number of annotated events.
    """

    tiou: np.ndarray
    errors: np.ndarray
    tau: float | None
    annotated: int


def match_video(predicted: np.ndarray, annotated: np.ndarray, tiou: np.ndarray) -> EventMatching:
    """Matches the events of a video by `match_events` and measures the differences.

    Args:
      predicted: float64 [n, 2], seconds.
      annotated: float64 [m, 2], seconds.
      tiou: float64 [n, m], their `tiou_matrix`.
    """
    rows, columns = match_events(tiou)
    matched, truth = predicted[rows], annotated[columns]
    errors = np.abs(matched - truth).T.ravel()
    return EventMatching(tiou[rows, columns], errors, kendall_tau(matched[:, 0], truth[:, 0]), len(annotated))


def summarize(matchings: Iterable[EventMatching]) -> dict[str, float]:
    """Returns the figures of `names.TEMPORAL_FIGURES` over all matched events; undefined ones are left out.

    "matched events" is the share of annotated events that are matched. The other figures describe matched events
    only, and so favor a system that predicts only what it is sure of. "matched tIoU" is the mean over matched events;
    boundary errors are the median and 90th percentile over starts and ends together (linear interpolation), in
    seconds; "Kendall tau" is the mean over the matchings that have one.
    """
    matchings = list(matchings)
    figures = {}
    if annotated := sum(matching.annotated for matching in matchings):
        figures["matched events"] = sum(len(matching.tiou) for matching in matchings) / annotated
    errors = np.sort(np.concatenate([matching.errors for matching in matchings])) if matchings else np.zeros(0)
    if len(errors):
        figures["matched tIoU"] = float(np.concatenate([matching.tiou for matching in matchings]).mean())
        figures["boundary error median (s)"] = _quantile(errors, 0.5)
        figures["boundary error p90 (s)"] = _quantile(errors, 0.9)
    if taus := [matching.tau for matching in matchings if matching.tau is not None]:
        figures["Kendall tau"] = float(np.mean(taus))
    return figures


def _quantile(ordered: np.ndarray, share: float) -> float:
    """Returns np.quantile of ascending values, faster for the few values of a video."""
    position = share * (len(ordered) - 1)
    below = int(position)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    return float(low + (high - low) * (position - below))
