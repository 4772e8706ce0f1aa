"""How well predicted events lie in time: tIoU, matched events, errors of their boundaries, their order."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


def tiou_matrix(predicted: np.ndarray, annotated: np.ndarray) -> np.ndarray:
    """Temporal intersection over union of every two events: float64 [n, m], in 0 .. 1.

    As the published scorers compute it (Krishna et al. 2017, Fujita et al. 2020): 1e-8 s is added to the union. So an
    event against itself has slightly less than 1, and two events that last no time have 0. An event whose end lies
    before its start has 0 with all others.

    Args:
      predicted: float64 [n, 2], starts and ends in seconds; annotated: float64 [m, 2].
    """
    start, end = (np.asarray(predicted, np.float64).reshape(-1, 2)[:, i, None] for i in (0, 1))
    other_start, other_end = np.asarray(annotated, np.float64).reshape(-1, 2).T
    intersection = np.maximum(np.minimum(end, other_end) - np.maximum(start, other_start), 0)
    hull = np.maximum(end, other_end) - np.minimum(start, other_start)
    union = np.minimum(hull, other_end - other_start + end - start)
    return np.divide(intersection, union + 1e-8, out=np.zeros_like(intersection), where=intersection > 0)


def match_events(tiou: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the one-to-one matching with the greatest sum of tIoU: two int64 [matched], rows ascending.

    Only events that overlap are matched: as many pairs or fewer than the shorter side has events.
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
    """Kendall's tau-b (1945) of two rankings [n]: 1 in the same order, -1 reversed. None where all of one are equal.

    None too with fewer than two values: nothing has an order there.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if len(a) < 2:
        return None
    above = np.triu_indices(len(a), 1)
    order, other = (np.sign(x[:, None] - x)[above] for x in (a, b))
    norm = np.sqrt(float(np.abs(order).sum()) * float(np.abs(other).sum()))
    return float(order @ other) / norm if norm else None


@dataclass(frozen=True)
class Alignment:
    """Matched events of one video and one annotation set.

    Attributes:
      tiou: float64 [matched].
      errors: float64 [2 * matched], seconds between predicted and annotated starts, then ends.
      tau: Kendall's tau-b of the starts of matched events, or None where there are not two to order.
      annotated: how many events the annotation has.
    """

    tiou: np.ndarray
    errors: np.ndarray
    tau: float | None
    annotated: int


def align(predicted: np.ndarray, annotated: np.ndarray, tiou: np.ndarray) -> Alignment:
    """Matches events of one video by `match_events`.

    Args:
      predicted: float64 [n, 2] seconds; annotated: float64 [m, 2]; tiou: float64 [n, m], their `tiou_matrix`.
    """
    rows, columns = match_events(tiou)
    ours, theirs = predicted[rows], annotated[columns]
    errors = np.abs(ours - theirs).T.ravel()
    return Alignment(tiou[rows, columns], errors, kendall_tau(ours[:, 0], theirs[:, 0]), len(annotated))


def summarize(alignments: Iterable[Alignment]) -> dict[str, float]:
    """The figures of TEMPORAL_FIGURES over all matched events together; what is not defined is left out.

    "matched events" is the share of annotated events that some predicted event is matched to: the others speak of
    these alone, and so a system that predicts only what it is sure of does well in them. "matched tIoU" is the mean
    over matched events; boundary errors are the median and 90th percentile over starts and ends together (linear
    interpolation), in seconds; "Kendall tau" is the mean over alignments that have one.
    """
    alignments = list(alignments)
    figures = {}
    if annotated := sum(a.annotated for a in alignments):
        figures["matched events"] = sum(len(a.tiou) for a in alignments) / annotated
    errors = np.sort(np.concatenate([a.errors for a in alignments])) if alignments else np.zeros(0)
    if len(errors):
        figures["matched tIoU"] = float(np.concatenate([a.tiou for a in alignments]).mean())
        figures["boundary error median (s)"] = _quantile(errors, 0.5)
        figures["boundary error p90 (s)"] = _quantile(errors, 0.9)
    if taus := [a.tau for a in alignments if a.tau is not None]:
        figures["Kendall tau"] = float(np.mean(taus))
    return figures


def _quantile(ordered: np.ndarray, share: float) -> float:
    """np.quantile of ascending values: for the few of a video it takes a tenth of the time."""
    place = share * (len(ordered) - 1)
    below = int(place)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    return float(low + (high - low) * (place - below))
