"""The records of each training batch, decided on indices alone.

In a stage of the curriculum, each pool of records is shuffled by seed and epoch, and the pools are mixed by weight.
This gives an endless sequence of records. Without buckets, a batch is b consecutive positions of the sequence. (Grain's
own shuffle computes one index at a time, which is slow for small pools; numpy shuffles an epoch at once.)

With buckets, a batch holds records of similar length. The sequence is divided into spans of whole batches: an epoch
each, or an equal part of a long epoch. Within a span, the positions are sorted into buckets, which are divided into
batches; the remainder of a bucket moves to the next larger one, so that a span consists of exactly its own positions
in full batches, which are then shuffled. Positions at the end of an epoch that do not fill a batch belong to the next
span. So every record comes as often as without buckets, and any batch can be computed without the ones before it.

b: batch, n: positions or records.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from capjax.data.curriculum import CurriculumStage, halves, hardness, stage_at

# Largest number of positions in a span. Larger spans fill buckets no better, but planning takes more time and memory.
_MAX_SPAN = 2**16


@dataclass(frozen=True)
class RecordPool:
    """The records of one dataset that may be drawn.

    Attributes:
      picks: (source, index) of each record.
      weight: Weight of the dataset in the mixture.
      sizes: Sizes of the records, see `RecordSource.sizes`; empty if no setting needs them.
      frequencies: How often each record is drawn, relative to the others; None: all alike.
    """

    picks: Int[np.ndarray, "n 2"]
    weight: float = 1.0
    sizes: dict[str, np.ndarray] = field(default_factory=dict)
    frequencies: Float[np.ndarray, " n"] | None = None

    def split(self, hard: float | None) -> list[tuple[Int[np.ndarray, " part"], float]]:
        """Returns [(indices into the pool, share)]: the whole pool, or its halves with a share above 0."""
        if hard is None or len(self.picks) < 2:
            return [(np.arange(len(self.picks)), 1.0)]
        easier, harder = halves(hardness(self.sizes))
        return [(half, share) for half, share in ((easier, 1 - hard), (harder, hard)) if share]


@dataclass(frozen=True)
class BatchRows:
    """Rows of a batch.

    Attributes:
      stage: Stage of the curriculum.
      frames: Number of frames that the batch is padded to.
      picks: (source, index) of each row.
    """

    stage: CurriculumStage
    frames: int
    picks: list[tuple[int, int]]


class BatchOrder:
    """The batches of a run.

    Args:
      pools: The datasets of the mixture.
      stages: The stages of the curriculum.
      batch_size: b, over all processes.
    """

    def __init__(self, pools: Sequence[RecordPool], stages: Sequence[CurriculumStage], *, batch_size: int, seed: int):
        self.stages = stages
        self._orders = [_StageOrder(pools, stage, batch_size, seed) for stage in stages]

    def rows(self, number: int, rows: Int[np.ndarray, " n"]) -> BatchRows:
        """Returns the given rows of batch `number`."""
        stage = stage_at(self.stages, number)
        frames, picks = self._orders[stage.number].rows(number - stage.first, rows)
        return BatchRows(stage, frames, list(map(tuple, picks.tolist())))


class _StageOrder:
    """The batches of one stage, counted from its first."""

    def __init__(self, pools: Sequence[RecordPool], stage: CurriculumStage, batch_size: int, seed: int):
        self._pools, self._stage, self._b, self._seed = pools, stage, batch_size, seed
        self._mixture = _Mixture(pools, stage, seed)
        self._buckets = np.asarray(stage.buckets)
        records = sum(len(pool.picks) for pool in pools)
        # A span has epochs / parts positions, rounded down to whole batches: part of an epoch, an epoch, or several
        # epochs if a batch is larger than one.
        self._epochs, self._parts = records * -(-batch_size // records), -(-records // max(_MAX_SPAN, batch_size))
        self._plan = lru_cache(maxsize=2)(self._make_plan)  # the current span, and the next one for prefetching
        self._lock = threading.Lock()

    def rows(self, number: int, rows: Int[np.ndarray, " n"]) -> tuple[int, Int[np.ndarray, "n 2"]]:
        """Returns (frames, picks) of rows of a batch."""
        with self._lock:  # called from several threads, of which one should compute an epoch or a plan
            if not len(self._buckets):
                positions = np.arange(number * self._b, (number + 1) * self._b)[rows]
                return self._stage.data.num_frames, self._picks(*self._mixture(positions))
            span = ((number + 1) * self._b * self._parts - 1) // self._epochs  # the last one that has started
            frames, picks = self._plan(span)[number - self._first_batch(span)]
        return frames, picks[rows]

    def _picks(self, pools: Int[np.ndarray, " n"], indices: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n 2"]:
        """Returns the picks at indices into pools."""
        return np.stack([self._pools[pool].picks[index] for pool, index in zip(pools, indices, strict=True)])

    def _first_batch(self, span: int) -> int:
        """Returns the number of the first batch of a span."""
        return span * self._epochs // (self._parts * self._b)

    def _make_plan(self, span: int) -> list[tuple[int, Int[np.ndarray, "b 2"]]]:
        """Returns (frames, picks) of each batch of a span."""
        first, stop = (self._first_batch(number) * self._b for number in (span, span + 1))
        pools, indices = self._mixture(np.arange(first, stop))
        counts = np.zeros(len(indices), int)
        for number, pool in enumerate(self._pools):
            in_pool = pools == number
            counts[in_pool] = pool.sizes["frames"][indices[in_pool]]
        picks = self._picks(pools, indices)
        batches = [(frames, picks[rows]) for frames, rows in cut_into_batches(counts, self._buckets, self._b)]
        rng = np.random.default_rng([self._seed, self._stage.number, span])
        return [batches[number] for number in rng.permutation(len(batches))]


class _Mixture:
    """The endless sequence of a stage: maps positions in it to (pools, indices into these)."""

    def __init__(self, pools: Sequence[RecordPool], stage: CurriculumStage, seed: int):
        self._pools, weights, self._shuffles = [], [], []
        for number, pool in enumerate(pools):
            for half, (indices, share) in enumerate(pool.split(stage.hard)):
                self._pools.append(number)
                frequencies = None if pool.frequencies is None else pool.frequencies[indices]
                self._shuffles.append(_Shuffle(indices, [seed, stage.number, number, half], frequencies))
                weights.append(pool.weight * share)
        self._proportions = [round(1000 * weight / min(weights)) for weight in weights]

    def __call__(self, positions: Int[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Positions are distributed evenly: any run of positions has the share of each part to within one or two."""
        pools, indices = np.zeros(len(positions), int), np.zeros(len(positions), int)
        # Each part in turn takes its share of the positions that the parts before it left.
        rows, remaining, total = np.arange(len(positions)), positions.astype(np.int64), sum(self._proportions)
        for number, shuffle, proportion in zip(self._pools, self._shuffles, self._proportions, strict=True):
            # How many of the first n positions the parts after this one take.
            later, later_next = (n * (total - proportion) // total for n in (remaining, remaining + 1))
            taken = later == later_next
            pools[rows[taken]] = number
            indices[rows[taken]] = shuffle((remaining - later)[taken])
            rows, remaining, total = rows[~taken], later[~taken], total - proportion
        return pools, indices


class _Shuffle:
    """Repeats indices endlessly, each epoch in another order: maps positions to indices.

    With frequencies, an epoch has as many positions as indices, and an index comes as often as its frequency says,
    rounded up or down.
    """

    def __init__(
        self, indices: Int[np.ndarray, " records"], seed: Sequence[int],
        frequencies: Float[np.ndarray, " records"] | None = None,
    ):  # fmt: skip
        self._indices, self._seed, self._frequencies = indices, seed, frequencies
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)

    def _make_epoch(self, epoch: int) -> Int[np.ndarray, " records"]:
        rng = np.random.default_rng([*self._seed, epoch])
        if self._frequencies is None:
            return rng.permutation(self._indices)
        # Systematic sampling (Madow & Madow 1944), in random order: which records are rounded up changes by epoch.
        order = rng.permutation(len(self._indices))
        ends = np.cumsum(self._frequencies[order])
        points = (np.arange(len(order)) + rng.random()) * (ends[-1] / len(order))
        drawn = order[np.minimum(np.searchsorted(ends, points, side="right"), len(order) - 1)]
        return self._indices[rng.permutation(drawn)]

    def __call__(self, positions: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        epochs, offsets = np.divmod(positions, len(self._indices))
        indices = np.zeros(len(positions), int)
        for epoch in np.unique(epochs):
            in_epoch = epochs == epoch
            indices[in_epoch] = self._epoch(int(epoch))[offsets[in_epoch]]
        return indices


def cut_into_batches(
    counts: Int[np.ndarray, " n"], buckets: Int[np.ndarray, " buckets"], b: int
) -> list[tuple[int, Int[np.ndarray, " {b}"]]]:
    """Divides rows into batches of similar length; the remainder of a bucket moves to the next larger one.

    Args:
      counts: Number of frames of each row; n is a multiple of b. Rows above the last bucket belong to it.
      buckets: Frame counts, ascending.

    Returns:
      (bucket, rows) of each batch.
    """
    level = np.minimum(np.searchsorted(buckets, counts), len(buckets) - 1)
    remainder, batches = np.zeros(0, int), []
    for number, bucket in enumerate(buckets.tolist()):
        rows = np.concatenate([remainder, np.flatnonzero(level == number)])
        whole = len(rows) // b * b
        batches += [(bucket, batch) for batch in rows[:whole].reshape(-1, b)]
        remainder = rows[whole:]
    return batches
