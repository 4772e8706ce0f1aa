"""A curriculum: changes of the data settings in the course of a run, as stages by step (Bengio et al. 2009).

    config.data.curriculum = (
        (0, {"num_frames": 8, "image_size": 64, "target_len": 16, "hard": 0.2}),
        (2000, {"num_frames": 16, "hard": 0.5}),
        (4000, {}),
    )

A stage starts after the given number of steps and lists the settings that differ from the `data` section. The stage of
a batch follows from the batch's number alone, so that a resumed run continues in the right stage.

`num_frames`, `image_size` and `target_len` replace the settings of the `data` section. `hard` is the fraction of a
batch that is drawn from the harder half of each dataset: 0 draws from the easier half only, 1 from the harder half
only; without it, all records are drawn alike. Every stage starts an epoch of its own: each record of a pool comes once
before any record of that pool comes again.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

from capjax.config.aliases import OLD_STAGE_NAMES


@dataclass(frozen=True)
class CurriculumStage:
    """A stage of the curriculum.

    Attributes:
      number: Index of the stage, from 0.
      first: Number of its first batch.
      changes: The settings that differ, as in the config.
      data: The complete `data` section in this stage.
    """

    number: int
    first: int
    changes: Mapping
    data: SimpleNamespace

    @property
    def hard(self) -> float | None:
        """The fraction of the batch from the harder half; None draws all records alike."""
        return self.changes.get("hard")

    @property
    def buckets(self) -> tuple[int, ...]:
        """Frame counts that batches are padded to, ascending; empty without buckets."""
        return tuple(sorted({min(bucket, self.data.num_frames) for bucket in self.data.buckets}))

    def describe(self) -> dict:
        """Returns the stage as JSON, for the iterator's state."""
        return {"number": self.number, "first": self.first, "changes": dict(self.changes)}

    def __str__(self) -> str:
        changes = ", ".join(f"{name} {value}" for name, value in self.changes.items()) or "as in the data section"
        return f"stage {self.number + 1}, from step {self.first}: {changes}"


def describe_saved(stage: Mapping) -> dict:
    """Returns a stage saved in an iterator's state, with the current names of its settings."""
    return {**stage, "changes": {OLD_STAGE_NAMES.get(name, name): value for name, value in stage["changes"].items()}}


def make_stages(data: SimpleNamespace) -> list[CurriculumStage]:
    """Returns the stages of a valid `data` section; one stage without a curriculum."""
    return [
        CurriculumStage(number, first, changes, SimpleNamespace(**{**vars(data), **changes}))
        for number, (first, changes) in enumerate(data.curriculum or ((0, {}),))
    ]


def stage_at(stages: Sequence[CurriculumStage], number: int) -> CurriculumStage:
    """Returns the stage of batch `number`."""
    return stages[bisect_right([stage.first for stage in stages], number) - 1]


def hardness(sizes: Mapping[str, np.ndarray]) -> Float[np.ndarray, " n"]:
    """Scores how hard each record is, from 0 to 1.

    The score is the mean of a record's ranks by duration, by words per caption and by number of events. Ranks are used
    because these have no common unit; a measure in which all records are equal has no effect.

    Args:
      sizes: See `RecordSource.sizes`.
    """
    ranks = [rankdata(sizes[name]) / len(sizes[name]) for name in ("seconds", "words", "event")]
    return np.mean(ranks, axis=0)


def halves(scores: Float[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " easier"], Int[np.ndarray, " harder"]]:
    """Returns the indices of the easier and the harder half, ascending; the middle record counts as harder."""
    order = np.argsort(scores, kind="stable")
    middle = len(order) // 2
    return np.sort(order[:middle]), np.sort(order[middle:])
