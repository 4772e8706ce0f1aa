"""Choice among candidate captions under a constraint on the whole corpus: the shares of an attribute in each context.

Zhao et al. 2017, "Men also like shopping: reducing gender bias amplification using corpus-level constraints": of the
captions that name a context and one attribute, the share of each attribute lies within a margin of a given share. Zhao
et al. relax the constraints (Lagrange multipliers, found by subgradient steps) and choose item by item. Here the same
problem, the largest sum of scores under these constraints, is solved by the integer programming of SciPy (HiGHS).

items: captions to choose, m: candidates of an item, k: constraints.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp
from scipy.sparse import coo_array, csr_array, eye_array, hstack

from capjax.data.counterfactual import Counterfactuals
from capjax.metrics.languages import is_english
from capjax.text.word_groups import WordGroups

log = logging.getLogger("capjax")

# Seconds for one program; a larger corpus gets the best solution until then. Relative gap to the optimum.
_TIME_LIMIT, _GAP = 60.0, 1e-6
_INFEASIBLE = 2
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class AttributeShares:
    """Shares of an attribute in each context, and the margin that captions may deviate from them.

    Attributes:
      attribute, context: groups of words.
      shares: share of each attribute in each context, from 0 to 1; NaN: not constrained. Without contexts, one row of
        all captions.
      margin: largest deviation.
    """

    attribute: WordGroups
    context: WordGroups
    shares: Float[np.ndarray, "contexts attributes"]
    margin: float

    @classmethod
    def equal(cls, attribute: WordGroups, context: WordGroups, margin: float) -> "AttributeShares":
        """Returns the constraint that all attributes are equally frequent in each context."""
        shape = max(len(context), 1), len(attribute)
        return cls(attribute, context, np.full(shape, 1 / len(attribute)), margin)

    def counterparts(self, text: str, lang: str) -> list[str]:
        """Returns the text with the words of each other attribute, where it can be (see `Counterfactuals`)."""
        group = self.attribute.only([(text, lang)])
        if group is None or not is_english(lang) or len(set(map(len, self.attribute.groups))) > 1:
            return []
        exchanged = [self._counterfactuals.exchange(text, group, a) for a in range(len(self.attribute)) if a != group]
        return [counterpart for counterpart in exchanged if counterpart != text]

    @cached_property
    def _counterfactuals(self) -> Counterfactuals:
        return Counterfactuals(self.attribute, (), 1.0)

    def choose(self, candidates: Sequence[Sequence[tuple[str, float]]], lang: str) -> list[int]:
        """Returns the number of the candidate that is chosen for each item.

        Where no choice satisfies the constraints, the captions come as near to them as possible, and a warning says so.

        Args:
          candidates: (text, score) of each candidate of each item, at least one.
          lang: language of the texts.
        """
        if not candidates:
            return []
        features = self._features(candidates, lang)
        scores = [np.array([score for _, score in own]) for own in candidates]
        chosen = [self._best_by_feature(own, values) for own, values in zip(scores, features, strict=True)]
        items = np.repeat(np.arange(len(chosen)), list(map(len, chosen)))
        numbers = np.concatenate(chosen)
        gains = np.concatenate([own[of_item] - own.max() for own, of_item in zip(scores, chosen, strict=True)])
        matrix = csr_array(np.concatenate([own[of_item] for own, of_item in zip(features, chosen, strict=True)]).T)
        solution = _solve(gains, items, matrix)
        best = np.zeros(len(candidates), int)
        if solution is None:
            log.warning("decode.attribute_shares: no solution within %.0f s; captions stay as they are", _TIME_LIMIT)
            best[:] = [int(own.argmax()) for own in scores]
        else:
            taken = solution > 0.5
            best[items[taken]] = numbers[taken]
        self._report(np.stack([own[number] for own, number in zip(features, best, strict=True)]).sum(0))
        return best.tolist()

    def _features(self, candidates: Sequence[Sequence[tuple[str, float]]], lang: str) -> list[np.ndarray]:
        """Returns for each item what each candidate adds to each constraint, [m, k]; their sums should be 0 or less.

        The share n_a / n of attribute a is at most s + margin where n_a - (s + margin) n <= 0, and at least s - margin
        where (s - margin) n - n_a <= 0.
        """
        one_hot = np.concatenate([np.eye(len(self.attribute)), np.zeros((1, len(self.attribute)))])
        features = []
        for own in candidates:
            values = np.zeros((len(own), *self.shares.shape, 2))
            for number, (text, _) in enumerate(own):
                group = self.attribute.only([(text, lang)])
                if group is None:
                    continue
                for context in self.context.in_text(text, lang) if len(self.context) else (0,):
                    above = one_hot[group] - np.minimum(self.shares[context] + self.margin, 1)
                    below = np.maximum(self.shares[context] - self.margin, 0) - one_hot[group]
                    values[number, context] = np.nan_to_num(np.stack([above, below], -1))
            features.append(values.reshape(len(own), -1))
        return features

    @staticmethod
    def _best_by_feature(scores: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Returns the numbers of the candidates of an item to choose from: the best of those with equal features."""
        order = np.argsort(-scores, kind="stable")
        _, first = np.unique(features[order], axis=0, return_index=True)
        return order[np.sort(first)]

    def _report(self, sums: np.ndarray):
        """Warns of constraints that are not satisfied."""
        exceeded = sums.reshape(*self.shares.shape, 2).max(-1) > _TOLERANCE
        for context, group in np.argwhere(exceeded):
            where = f" beside {self.context.label(context)!r}" if len(self.context) else ""
            log.warning(
                "decode.attribute_shares: the share of %r%s is not within %.3g of %.3g, for lack of candidates; "
                "more beams (decode.num_beams) have more",
                self.attribute.label(group), where, self.margin, self.shares[context, group],
            )  # fmt: skip


def _solve(gains: np.ndarray, items: np.ndarray, matrix: csr_array) -> np.ndarray | None:
    """Returns which candidates are chosen, one of each item, as x of 0 and 1; None without a solution in time.

    It has the largest gains @ x of those for which matrix @ x is 0 or less, or exceeds 0 by the least sum.
    """
    if (matrix @ (best := _first_of_each(gains, items)) <= _TOLERANCE).all():
        return best
    k, n = matrix.shape
    one_each = coo_array((np.ones(n), (items, np.arange(n))))
    result = _milp(-gains, [LinearConstraint(one_each, 1, 1), LinearConstraint(matrix, -np.inf, 0)], n)
    if result.status != _INFEASIBLE:
        return result.x
    # By how much each constraint is exceeded becomes a variable: the least sum first, then the best captions with it.
    with_excess = [
        LinearConstraint(hstack([one_each, csr_array(np.zeros((items[-1] + 1, k)))]), 1, 1),
        LinearConstraint(hstack([matrix, -eye_array(k)]), -np.inf, 0),
    ]
    least = _milp(np.concatenate([np.zeros(n), np.ones(k)]), with_excess, n)
    if least.x is None:
        return None
    total = LinearConstraint(np.concatenate([np.zeros(n), np.ones(k)])[None], -np.inf, least.fun + _TOLERANCE)
    result = _milp(np.concatenate([-gains, np.zeros(k)]), [*with_excess, total], n)
    return (least.x if result.x is None else result.x)[:n]


def _milp(costs: np.ndarray, constraints: Sequence[LinearConstraint], binaries: int) -> OptimizeResult:
    """Minimizes costs @ x, of which the first variables are 0 or 1 and the others 0 or more."""
    is_binary = (np.arange(len(costs)) < binaries).astype(int)
    return milp(
        costs, integrality=is_binary, bounds=Bounds(0, np.where(is_binary == 1, 1, np.inf)), constraints=constraints,
        options={"time_limit": _TIME_LIMIT, "mip_rel_gap": _GAP},
    )  # fmt: skip


def _first_of_each(gains: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Returns the choice of the best candidate of each item, which comes first."""
    return (np.diff(items, prepend=-1) > 0).astype(float)
