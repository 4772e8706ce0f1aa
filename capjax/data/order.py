"""Which records make up the n-th batch, decided on indices alone.

In a stage, each pool of records is shuffled by seed and epoch, and the pools are mixed by weight: an endless order of
places. Without buckets the batches are its runs of b places. (Grain's own shuffle takes 50 microseconds a record, and
8000 where there are three; numpy shuffles an epoch at once.)

With buckets, a batch holds records of like length. The order is cut into windows of whole batches, an epoch each, or an
equal part of a long one; in a window the places are sorted into buckets and these cut into batches. What is left of a
bucket goes up into the next larger one, so that a window has exactly its own places, in batches of full size; the
batches are then shuffled. The places of an epoch's end that make up no whole batch are in the next window. So every
record comes as often as without buckets, and any batch can be made without those before it.

b: batch.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from capjax.data.curriculum import CurriculumStage, halves, hardness, stage_at

# Places in a window, at most. Beyond it buckets fill no better, and a plan takes more time and room.
_WINDOW = 2**16


@dataclass(frozen=True)
class RecordPool:
    """The records of one dataset that may be drawn.

    Attributes:
      picks: int [n, 2], (source, index).
      weight: of the dataset in the mixture.
      sizes: of each, as `RecordSource.sizes`; None where the dataset has none and nothing asks for them.
    """

    picks: np.ndarray
    weight: float = 1.0
    sizes: dict[str, np.ndarray] | None = None

    def split(self, hard: float | None) -> list[tuple[np.ndarray, float]]:
        """[(places in the pool, share)]: all, or the two halves, without one that has no share."""
        if hard is None or len(self.picks) < 2:
            return [(np.arange(len(self.picks)), 1.0)]
        easier, harder = halves(hardness(self.sizes))
        return [(half, share) for half, share in ((easier, 1 - hard), (harder, hard)) if share]


@dataclass(frozen=True)
class BatchRows:
    """Rows of a batch: the batch's stage, how many frames it is padded to, and (source, index) of each row."""

    stage: CurriculumStage
    frames: int
    picks: list[tuple[int, int]]


class BatchOrder:
    """The batches of a run.

    Args:
      pools: of the datasets of the mixture.
      stages: of the curriculum.
      batch_size: b, over all processes.
    """

    def __init__(self, pools: Sequence[RecordPool], stages: Sequence[CurriculumStage], *, batch_size: int, seed: int):
        self.stages = stages
        self._orders = [_StageOrder(pools, stage, batch_size, seed) for stage in stages]

    def rows(self, number: int, wanted: np.ndarray) -> BatchRows:
        """The rows `wanted`, int [n], of batch `number`."""
        stage = stage_at(self.stages, number)
        frames, picks = self._orders[stage.number].rows(number - stage.first, wanted)
        return BatchRows(stage, frames, list(map(tuple, picks.tolist())))


class _StageOrder:
    """The batches of one stage, counted from its first."""

    def __init__(self, pools: Sequence[RecordPool], stage: CurriculumStage, batch_size: int, seed: int):
        self._pools, self._stage, self._b, self._seed = pools, stage, batch_size, seed
        self._mixture = _Mixture(pools, stage, seed)
        self._buckets = np.asarray(stage.buckets)
        records = sum(len(pool.picks) for pool in pools)
        # A window has span / parts places, cut down to whole batches: an epoch, or several where a batch is longer.
        self._span, self._parts = records * -(-batch_size // records), -(-records // max(_WINDOW, batch_size))
        self._plan = lru_cache(maxsize=2)(self._make_plan)  # one is in use, the next may be prefetched from
        self._lock = threading.Lock()

    def rows(self, number: int, wanted: np.ndarray) -> tuple[int, np.ndarray]:
        """(frames, picks) of rows of a batch."""
        with self._lock:  # several threads ask at once, and one shall work an epoch or a window out
            if not len(self._buckets):
                places = np.arange(number * self._b, (number + 1) * self._b)[wanted]
                return self._stage.data.num_frames, self._picks(*self._mixture(places))
            window = ((number + 1) * self._b * self._parts - 1) // self._span  # the last that has begun
            frames, picks = self._plan(window)[number - self._begin(window)]
        return frames, picks[wanted]

    def _picks(self, pools: np.ndarray, places: np.ndarray) -> np.ndarray:
        """[n, 2] of places in the pools."""
        return np.stack([self._pools[pool].picks[place] for pool, place in zip(pools, places, strict=True)])

    def _begin(self, window: int) -> int:
        """The number of the first batch of a window."""
        return window * self._span // (self._parts * self._b)

    def _make_plan(self, window: int) -> list[tuple[int, np.ndarray]]:
        """(frames, picks) of each batch of a window."""
        first, stop = (self._begin(number) * self._b for number in (window, window + 1))
        pools, places = self._mixture(np.arange(first, stop))
        counts = np.zeros(len(places), int)
        for number, pool in enumerate(self._pools):
            of_pool = pools == number
            counts[of_pool] = pool.sizes["frames"][places[of_pool]]
        picks = self._picks(pools, places)
        batches = [(int(frames), picks[rows]) for frames, rows in cut_into_batches(counts, self._buckets, self._b)]
        rng = np.random.default_rng([self._seed, self._stage.number, window])
        return [batches[number] for number in rng.permutation(len(batches))]


class _Mixture:
    """The endless order of a stage: places in it -> (pools, places in these)."""

    def __init__(self, pools: Sequence[RecordPool], stage: CurriculumStage, seed: int):
        self._pools, weights, self._shuffles = [], [], []
        for number, pool in enumerate(pools):
            for half, (places, share) in enumerate(pool.split(stage.hard)):
                self._pools.append(number)
                self._shuffles.append(_Shuffle(places, [seed, stage.number, number, half]))
                weights.append(pool.weight * share)
        self._proportions = [round(1000 * weight / min(weights)) for weight in weights]

    def __call__(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A part has its share of any run of places, to within one or two: they lie evenly."""
        pools, found = np.zeros(len(places), int), np.zeros(len(places), int)
        # Each part in turn takes its share of the places that the parts before it left.
        rows, left, rest = np.arange(len(places)), places.astype(np.int64), sum(self._proportions)
        for number, shuffle, proportion in zip(self._pools, self._shuffles, self._proportions, strict=True):
            others, others_next = (n * (rest - proportion) // rest for n in (left, left + 1))
            taken = others == others_next
            pools[rows[taken]] = number
            found[rows[taken]] = shuffle((left - others)[taken])
            rows, left, rest = rows[~taken], others[~taken], rest - proportion
        return pools, found


class _Shuffle:
    """Indices over and over, each epoch in an order of its own: places in it -> indices."""

    def __init__(self, indices: np.ndarray, seed: Sequence[int]):
        self._indices, self._seed = indices, seed
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)

    def _make_epoch(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([*self._seed, epoch]).permutation(self._indices)

    def __call__(self, places: np.ndarray) -> np.ndarray:
        epochs, at = np.divmod(places, len(self._indices))
        found = np.zeros(len(places), int)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            found[here] = self._epoch(int(epoch))[at[here]]
        return found


def cut_into_batches(counts: np.ndarray, buckets: np.ndarray, b: int) -> list[tuple[int, np.ndarray]]:
    """[(bucket, b rows)]: rows in batches of like length, with what is left of a bucket in the next larger one.

    Args:
      counts: frames of each row, a multiple of b rows; those above the last bucket are in it.
      buckets: frame counts, rising.
    """
    level = np.minimum(np.searchsorted(buckets, counts), len(buckets) - 1)
    left, batches = np.zeros(0, int), []
    for number, bucket in enumerate(buckets):
        rows = np.concatenate([left, np.flatnonzero(level == number)])
        whole = len(rows) // b * b
        batches += [(bucket, batch) for batch in rows[:whole].reshape(-1, b)]
        left = rows[whole:]
    return batches
