"""The input pipeline: datasets of records to batches of training and evaluation, with Grain.

The order of records is decided on indices alone (`capjax.data.order`). Each process then loads its rows of a batch
directly into the batch's arrays. The n-th global batch therefore does not depend on the number of processes, and the
state of an iterator is the number of the next batch. The stage of the curriculum, which follows from it, is saved too
and compared on resumption.

b: batch, t: frames, n: positions of a feature grid, d: channels.
"""

import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, TypedDict, cast

import grain
import numpy as np
from jaxtyping import Float

from capjax.data.balance import Balance
from capjax.data.batch import Batch, empty_media, mark_padding, media_shapes, set_features, set_frames, set_times
from capjax.data.counterfactual import Counterfactuals
from capjax.data.curriculum import CurriculumStage, describe_saved, make_stages, stage_at
from capjax.data.order import BatchOrder, RecordPool
from capjax.data.record import SIZES_FILE, Record, RecordSource
from capjax.data.targets import CaptionTargets, Targets, make_targets, references
from capjax.data.transforms import pick_frames
from capjax.files import storage_path
from capjax.metrics.json_types import between, check_type
from capjax.text.vocabulary import Vocabulary

# Plural nouns of the kinds of captions, for messages.
_NOUNS = {"caption": "captions", "summary": "summaries", "event": "events"}


class DataError(ValueError):
    """The data lack what the config asks for. The message names the dataset and what is missing."""


@dataclass(frozen=True)
class DatasetSplit:
    """A split of a dataset and its weight in a mixture, written `DIR@SPLIT` or `DIR@SPLIT*WEIGHT` in a config."""

    directory: Path
    split: str
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "DatasetSplit":
        match = re.fullmatch(r"(?P<dir>.+)@(?P<split>[\w-]+)(\*(?P<weight>\d+(\.\d+)?))?", text)
        if match is None:
            raise DataError(f"data: {text!r} should be DIR@SPLIT or DIR@SPLIT*WEIGHT, such as 'data/coco@train'")
        weight = float(match["weight"] or 1.0)
        if weight <= 0:
            raise DataError(f"data: the weight of {text!r} must be above 0")
        return cls(storage_path(match["dir"]), match["split"], weight)

    def open(self) -> RecordSource:
        return RecordSource(self.directory, self.split)


def _usable_records(source, targets: Targets, where: str) -> np.ndarray:
    """Returns the indices of records with a caption of the task's kind in one of the config's languages."""
    languages, kind = set(targets.data.languages), targets.kind
    available = source.languages
    sizes = source.sizes() if available is not None and available <= languages else None
    if sizes is not None:
        # All languages of the dataset are used: the sizes tell which records qualify, without opening any.
        usable = np.flatnonzero(sizes[kind])
    else:
        record_languages = [{c.lang for c in source[index].captions if c.kind == kind} for index in range(len(source))]
        available = set().union(*record_languages)
        usable = np.asarray([index for index, langs in enumerate(record_languages) if langs & languages])
    if missing := languages - available:
        raise DataError(
            f"{where} has no {_NOUNS[kind]} in {', '.join(sorted(missing))}; it has "
            f"{', '.join(sorted(available)) or 'none'}. Set config.data.languages."
        )
    if not len(usable):
        raise DataError(f"{where} has no {_NOUNS[kind]}; set config.data.task to what it has")
    return usable


def _require_sizes(source, setting: str, where: str) -> dict[str, np.ndarray]:
    """Returns the record sizes of a dataset, which the named setting needs."""
    sizes = source.sizes()
    if sizes is None:
        split = where.rpartition("@")[2]
        raise DataError(
            f"{where} has no {SIZES_FILE.format(split)}, which {setting} needs: it was written before record sizes "
            "were stored. Write it again with the same `capjax prepare` command and --overwrite"
        )
    return sizes


def _make_pool(
    number: int, part: DatasetSplit, source, targets: Targets, setting: str,
    frequencies: Float[np.ndarray, " records"] | None = None,
) -> RecordPool:  # fmt: skip
    """Returns the records of a dataset that can be drawn; with their sizes, if the named setting needs them."""
    where = f"{part.directory}@{part.split}"
    usable = _usable_records(source, targets, where)
    picks = np.stack([np.full(len(usable), number), usable], axis=1)
    sizes = _require_sizes(source, setting, where) if setting else {}
    sizes = {name: values[usable] for name, values in sizes.items()}
    if frequencies is None:
        return RecordPool(picks, part.weight, sizes)
    # The dataset is drawn from more often, if its records have larger weights than those of the others.
    return RecordPool(picks, part.weight * float(frequencies[usable].mean()), sizes, frequencies[usable])


def as_namespace(data) -> SimpleNamespace:
    """Copies a config's `data` section to a namespace: attribute access of a ConfigDict is too slow for inner loops."""
    data = SimpleNamespace(**{name: data[name] for name in data})
    data.language_weights = dict(data.language_weights)
    return data


class _Loader:
    """Fills rows of a batch from records, for training and evaluation."""

    def __init__(self, sources: Sequence, targets: Targets):
        targets.check()
        self.sources, self.targets, self.data = sources, targets, targets.data
        self.feature_shape = self._feature_shape() if self.data.features else None

    def _feature_shape(self) -> tuple[int, int]:
        features = self.sources[0][0].features
        if features is None:
            raise DataError(
                f"{self.sources[0]!r} has no features, but data.features is set; "
                "make them with `capjax prepare features`"
            )
        return features.shape[2:]

    def empty(self, b: int, t: int) -> Batch:
        """Returns a batch of b empty rows for t frames."""
        media = empty_media(b, t, image_size=self.data.image_size, feature_shape=self.feature_shape)
        return cast(Batch, {**media, **self.targets.empty(b), "ids": [""] * b})

    def set_media(self, batch: Batch, row: int, record: Record, rng: np.random.Generator | None):
        """Sets frames or features of a row; `rng` draws frames, crops and views, None is the evaluation view."""
        batch["ids"][row] = record.id
        data, count = self.data, len(record.frame_times)
        picked = pick_frames(count, data.num_frames, rng)
        t = batch["frame_mask"].shape[1]
        if len(picked) > t:
            raise DataError(f"{count} frames, but the dataset's sizes say at most {t}; write the dataset anew")
        set_times(batch, row, record.frame_times[picked])
        if data.shuffle_frames:
            picked = _shuffled(picked, record.id, rng)
        if self.feature_shape:
            if record.features is None or record.features.shape[2:] != self.feature_shape:
                shape = None if record.features is None else record.features.shape[2:]
                raise DataError(f"features of shape {shape}; the other records have {self.feature_shape}")
            if record.features.shape[1] != count:
                raise DataError(f"features of {record.features.shape[1]} frames for {count} times")
            number = 0 if rng is None else rng.integers(len(record.features))
            set_features(batch, row, record.features[number, picked])
            return
        if len(record.frames) != count:
            raise DataError(
                f"{len(record.frames)} pictures for {count} times; if it has only features, set data.features"
            )
        set_frames(batch, row, [record.frames[frame] for frame in picked], rng=rng, augmentation=data)


def _shuffled(picked: np.ndarray, id: str, rng: np.random.Generator | None) -> np.ndarray:
    """Returns frames in random order; without `rng`, in an order that depends on the record's id only."""
    if rng is None:
        seed = hashlib.blake2b(id.encode(), digest_size=16).digest()
        rng = np.random.Generator(np.random.Philox(key=int.from_bytes(seed, "little")))
    return rng.permutation(picked)


@contextmanager
def _errors_named(source, record: Record) -> Iterator[None]:
    """Names the record in an error; decoders raise any exception on damaged data."""
    try:
        yield
    except Exception as error:
        raise DataError(f"{source!r}, record {record.id!r} ({record.media}): {error}") from error


class _TrainLoader:
    """Maps the number of a batch to this process's rows of it.

    Grain's `batch` and `map` are not used for this: they do not pass on the position of a row in the run, which seeds
    its random stream, and would also load the rows of all other processes.
    """

    def __init__(
        self, order: BatchOrder, loaders: Sequence[_Loader], *, batch_size: int, rows: np.ndarray, seed: int,
        loss_weights: Sequence[np.ndarray] | None = None,
    ):  # fmt: skip
        self._order, self._loaders, self._loss_weights = order, loaders, loss_weights
        self._batch_size, self._rows, self._seed = batch_size, rows, seed

    def __call__(self, number: int) -> Batch:
        batch_rows = self._order.rows(number, self._rows)
        loader = self._loaders[batch_rows.stage.number]
        batch = loader.empty(len(self._rows), batch_rows.frames)
        for row, (source_number, index) in enumerate(batch_rows.picks):
            # The random stream depends on the position in the run, not on the process or thread that loads it.
            position = number * self._batch_size + int(self._rows[row])
            rng = np.random.Generator(np.random.Philox(key=[self._seed, position]))
            source = loader.sources[source_number]
            record = source[index]
            with _errors_named(source, record):
                loader.targets.fill(batch, row, record, rng)
                loader.set_media(batch, row, record, rng)
        if self._loss_weights is not None:
            weights = [self._loss_weights[source_number][index] for source_number, index in batch_rows.picks]
            batch["loss_weight"] = np.asarray(weights, np.float32)
        return batch


class _StageState(TypedDict):
    changes: dict[str, Any]


class _IteratorState(TypedDict):
    next_index: Annotated[int, between(0, sys.maxsize)]
    stage: _StageState


class TrainIterator:
    """Endless iterator of training batches; `get_state` and `set_state` resume it exactly."""

    def __init__(self, dataset: grain.MapDataset, stages: Sequence[CurriculumStage], *, threads: int, prefetch: int):
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
        self._iterator, self._stages = iter(dataset.to_iter_dataset(options)), stages

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return next(self._iterator)

    @property
    def stage(self) -> CurriculumStage:
        """The stage of the curriculum of the next batch."""
        return stage_at(self._stages, self._iterator.get_state()["next_index"])

    def get_state(self) -> dict:
        """Returns the number of the next batch and its stage, as JSON."""
        return {**self._iterator.get_state(), "stage": self.stage.describe()}

    def set_state(self, state: dict):
        """Continues from a state of `get_state`.

        Raises:
          DataError: The state is of another curriculum.
        """
        try:
            check_type(state, _IteratorState)
        except ValueError as error:
            raise DataError(f"the checkpoint's position in the data is damaged ({error}); remove this step") from error
        stage, saved = stage_at(self._stages, state["next_index"]).describe(), describe_saved(state["stage"])
        if stage != saved:
            raise DataError(
                f"the run was saved in stage {saved} of its curriculum, but batch {state['next_index']} of this config "
                f"is in {stage}; use the data.curriculum that it was started with"
            )
        self._iterator.set_state({"next_index": state["next_index"]})


def batch_shapes(
    vocabulary: Vocabulary, data, *, batch_size: int, feature_shape=None, loss_weights: bool = False
) -> dict[str, tuple]:
    """Returns {name: (shape, dtype)} of the model inputs in the last stage and the largest bucket, without any data.

    Args:
      loss_weights: Items have weights, see `mitigation.balance`.
      feature_shape: (rows, columns, channels), for a model on precomputed features.
    """
    data = make_stages(as_namespace(data))[-1].data
    shapes = media_shapes(batch_size, data.num_frames, image_size=data.image_size, feature_shape=feature_shape)
    media = {name: (shape, np.dtype(dtype)) for name, (shape, dtype) in shapes.items()}
    targets = make_targets(vocabulary, data).empty(1)
    weights = {"loss_weight": ((batch_size,), np.dtype("float32"))} if loss_weights else {}
    return media | {name: ((batch_size, *value.shape[1:]), value.dtype) for name, value in targets.items()} | weights


def make_train_iterator(
    parts: Sequence[str], vocabulary: Vocabulary, data, *, batch_size: int, seed: int,
    rows: Sequence[int] | np.ndarray | None = None, sources: Sequence | None = None, mitigation=None,
    balance: Balance | None = None,
) -> TrainIterator:  # fmt: skip
    """Makes training batches with `ids`: every record once an epoch, each epoch in another order.

    A record contributes `data.captions_per_item` captions. For each, a language is drawn by weight, then a caption.
    With more than one, `target` and `loss_mask` are [b, c, l].

    Args:
      parts: `DIR@SPLIT*WEIGHT` of each dataset of the mixture.
      data: A config's `data` section.
      batch_size: Over all processes.
      rows: The rows of every batch that this process loads, in order; None for all.
      sources: Open sources of `parts`; None opens them.
      mitigation: A config's `mitigation` section.
      balance: The weights of the records, if `mitigation.balance` is set.

    Raises:
      DataError: There are no data, or a language has no captions.
    """
    if not parts:
        raise DataError("config.data.train is empty; set it, for instance --config.data.train=DATASET@train")
    splits = [DatasetSplit.parse(part) for part in parts]
    sources = sources if sources is not None else [split.open() for split in splits]
    stages = make_stages(as_namespace(data))
    stage_targets = [make_targets(vocabulary, stage.data) for stage in stages]
    for targets in stage_targets:
        if mitigation is not None and isinstance(targets, CaptionTargets):
            targets.counterfactuals = Counterfactuals.of(mitigation)
    has_hard_share = any(stage.hard is not None for stage in stages)
    setting = "data.buckets" if data.buckets else "data.curriculum's `hard`" if has_hard_share else ""
    mode = mitigation.balance if mitigation is not None else ""
    weights = _record_weights(balance, splits, sources) if mode else []
    pools = [
        _make_pool(number, split, source, stage_targets[0], setting, weights[number] if mode == "sampling" else None)
        for number, (split, source) in enumerate(zip(splits, sources, strict=True))
    ]
    loaders = [_Loader(sources, targets) for targets in stage_targets]
    order = BatchOrder(pools, stages, batch_size=batch_size, seed=seed)
    load = _TrainLoader(
        order, loaders, batch_size=batch_size, rows=_rows(rows, batch_size), seed=seed,
        loss_weights=weights if mode == "weights" else None,
    )  # fmt: skip
    batches = grain.MapDataset.range(sys.maxsize // batch_size).map(load)
    return TrainIterator(batches, stages, threads=data.threads, prefetch=data.prefetch)


def measure_balance(config, sources: Sequence | None = None) -> Balance:
    """Returns the attributes, contexts and weights of a config's training items.

    Args:
      sources: Open sources of `config.data.train`; None opens them.

    Raises:
      BalanceError: No caption names a group of words.
      FileNotFoundError: There are no training datasets.
    """
    splits = [DatasetSplit.parse(part) for part in config.data.train]
    if not splits:
        raise FileNotFoundError("config.data.train is empty")
    sources = sources if sources is not None else [split.open() for split in splits]
    return Balance.of(sources, [split.weight for split in splits], config.mitigation, config.data)


def _record_weights(balance: Balance | None, splits: Sequence[DatasetSplit], sources: Sequence) -> list[np.ndarray]:
    """Returns the weight of each record of each dataset.

    Raises:
      DataError: The weights are those of other datasets.
    """
    assert balance is not None, "the weights for mitigation.balance"
    counts = [len(cells) for cells in balance.cell_of_record]
    if counts != [len(source) for source in sources]:
        names = ", ".join(
            f"{split.directory}@{split.split} ({len(s)})" for split, s in zip(splits, sources, strict=True)
        )
        raise DataError(
            f"balance.json has weights of {counts} records, and the datasets have others: {names}; continue with the "
            "datasets that the run was started with"
        )
    return [balance.record_weights(number) for number in range(len(sources))]


def _rows(rows: Sequence[int] | np.ndarray | None, batch_size: int) -> np.ndarray:
    return np.arange(batch_size) if rows is None else np.asarray(rows)


def check_eval(part: str, languages: Sequence[str], buckets: Sequence[int] = (), source=None):
    """Raises the errors that an evaluation of `DIR@SPLIT` would raise, before training starts.

    Args:
      source: The open source of `part`; None opens it.
    """
    source = source if source is not None else DatasetSplit.parse(part).open()
    if not len(source):
        raise DataError(f"{part} has no records")
    if source.languages is not None and (missing := set(languages) - source.languages):
        raise DataError(f"{part} has no captions in {', '.join(sorted(missing))}; set config.data.languages")
    if buckets:
        _require_sizes(source, "data.buckets", part)


def make_eval_batches(
    part: str, vocabulary: Vocabulary, data, *, batch_size: int, limit: int = 0,
    rows: Sequence[int] | np.ndarray | None = None, source=None,
) -> Iterator[Batch]:  # fmt: skip
    """Yields every record of a split once, in order, with the host entries of `capjax.data.batch.Batch`.

    The last batch is padded to full size; `valid` marks the real rows. With buckets, a batch has as many frames as the
    smallest bucket that fits all its records.

    Args:
      part: `DIR@SPLIT`.
      limit: Number of records, from the first; 0 for all.
      rows: The rows of every batch that this process loads, in order; None for all.
      source: The open source of `part`; None opens it.
    """
    if not part:
        raise DataError("config.data.eval is empty; set it, for instance --config.data.eval=DATASET@val")
    source = source if source is not None else DatasetSplit.parse(part).open()
    total = min(limit, len(source)) if limit else len(source)
    process_rows = _rows(rows, batch_size)
    targets = make_targets(vocabulary, as_namespace(data))
    loader = _Loader([source], targets)
    frame_counts = _require_sizes(source, "data.buckets", part)["frames"][:total] if data.buckets else None

    def num_frames(number: int) -> int:
        if frame_counts is None:
            return data.num_frames
        # Over the whole batch, not this process's rows: all processes have the same shapes.
        longest = frame_counts[number * batch_size : (number + 1) * batch_size].max()
        return next((bucket for bucket in data.buckets if bucket >= longest), data.num_frames)

    def load(number: int) -> Batch:
        b = len(process_rows)
        batch = loader.empty(b, num_frames(number))
        batch["rows"] = process_rows
        batch["valid"], batch["references"] = np.zeros(b, bool), [{} for _ in range(b)]
        batch["videos"] = [("", 0.0, 0.0)] * b
        for row, batch_row in enumerate(process_rows):
            index = number * batch_size + int(batch_row)
            if index >= total:
                mark_padding(batch, row)
                continue
            record = source[index]
            with _errors_named(source, record):
                loader.set_media(batch, row, record, None)
            batch["valid"][row] = True
            batch["references"][row] = references(record, targets)
            batch["videos"][row] = (record.video or record.id, record.start, record.duration)
            if "duration" in batch:
                batch["duration"][row] = record.duration
        return batch

    batches = grain.MapDataset.range(-(-total // batch_size)).map(load)
    return iter(batches.to_iter_dataset(grain.ReadOptions(data.threads, data.prefetch)))
