"""A curriculum: what changes in the course of a run, as stages by step (Bengio et al. 2009).

    config.data.curriculum = (
        (0, {"num_frames": 8, "image_size": 64, "target_len": 16, "hard": 0.2}),
        (2000, {"num_frames": 16, "hard": 0.5}),
        (4000, {}),
    )

A stage begins when so many steps are done, and says what is other than in the `data` section. The stage of a batch is
a function of the batch's number alone, so that a run that goes on is in the stage where it was.

`frames`, `image_size` and `target_len` are those of the `data` section. `hard` is the share of a batch that is drawn
from the harder half of each dataset, from 0 (only the easier half) to 1 (only the harder); without it all records are
alike. A stage begins an epoch of its own: each record of a pool comes once before any of that pool comes again.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from scipy.stats import rankdata


@dataclass(frozen=True)
class CurriculumStage:
    """Attributes:
    number: from 0.
    first: the number of its first batch.
    changes: what the config says of it.
    data: the `data` section as it is in this stage.
    """

    number: int
    first: int
    changes: Mapping
    data: SimpleNamespace

    @property
    def hard(self) -> float | None:
        """The share of the harder half; None: all records are alike."""
        return self.changes.get("hard")

    @property
    def buckets(self) -> tuple[int, ...]:
        """Frame counts that its batches are padded to, rising; empty where there are no buckets."""
        return tuple(sorted({min(bucket, self.data.num_frames) for bucket in self.data.buckets}))

    def about(self) -> dict:
        """As JSON, for the iterator's state."""
        return {"number": self.number, "first": self.first, "changes": dict(self.changes)}

    def __str__(self) -> str:
        changes = ", ".join(f"{name} {value}" for name, value in self.changes.items()) or "as in the data section"
        return f"stage {self.number + 1}, from step {self.first}: {changes}"


def make_stages(data: SimpleNamespace) -> list[CurriculumStage]:
    """The stages of a `data` section, checked by `capjax.config`; without a curriculum there is one."""
    return [
        CurriculumStage(number, first, changes, SimpleNamespace(**{**vars(data), **changes}))
        for number, (first, changes) in enumerate(data.curriculum or ((0, {}),))
    ]


def stage_at(stages: Sequence[CurriculumStage], number: int) -> CurriculumStage:
    """The stage of batch `number`."""
    return stages[bisect_right([stage.first for stage in stages], number) - 1]


def hardness(sizes: Mapping[str, np.ndarray]) -> np.ndarray:
    """How hard each record is, from 0 to 1: the mean of its ranks among all by seconds, by words of a caption and by
    number of events. Ranks, because these have no common unit; a figure in which all are alike counts for nothing.

    Args:
      sizes: as `RecordSource.sizes` gives them.
    """
    ranks = [rankdata(sizes[name]) / len(sizes[name]) for name in ("seconds", "words", "event")]
    return np.mean(ranks, axis=0)


def halves(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the easier and of the harder half, each rising; of an odd number the harder half has one more."""
    order = np.argsort(scores, kind="stable")
    middle = len(order) // 2
    return np.sort(order[:middle]), np.sort(order[middle:])
