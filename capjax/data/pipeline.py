"""Records to batches, with Grain.

Order is decided on indices alone (`capjax.data.order`). Each process then loads its rows of a batch in one go, straight
into the batch's arrays. So the n-th global batch is the same whatever the number of processes, and an iterator's state
is one number; the stage of the curriculum, which follows from it, is kept beside it.

b: batch, t: frames, n: positions of a feature grid, d: channels.
"""

import hashlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import grain
import numpy as np

from capjax.data.curriculum import CurriculumStage, make_stages, stage_at
from capjax.data.order import BatchOrder, RecordPool
from capjax.data.record import SIZES_FILE, Record, RecordSource
from capjax.data.targets import Targets, make_targets, references
from capjax.data.transforms import pick_frames, training_view, view
from capjax.text.vocabulary import Vocabulary

# Of a kind of caption, for people.
_ANSWERS = {"caption": "captions", "summary": "summaries", "event": "events"}


class DataError(ValueError):
    """The data cannot serve what the config asks for; the message says what is missing where."""


@dataclass(frozen=True)
class DatasetSplit:
    """One dataset of a mixture, as written in a config: `DIR@SPLIT` or `DIR@SPLIT*WEIGHT`."""

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
        return cls(Path(match["dir"]).expanduser(), match["split"], weight)

    def open(self) -> RecordSource:
        return RecordSource(self.directory, self.split)


def _usable(source, targets: Targets, where: str) -> np.ndarray:
    """Indices of the records with an answer to the task in one of the languages."""
    wanted, kind = set(targets.data.languages), targets.kind
    present = getattr(source, "languages", None)
    sizes = source.sizes() if present is not None and present <= wanted else None
    if sizes is not None:
        # Where all languages are wanted, no record need be opened to see which it has.
        seen, usable = present, np.flatnonzero(sizes[kind])
    else:
        spoken = [{c.lang for c in source[index].captions if c.kind == kind} for index in range(len(source))]
        seen = set().union(*spoken)
        usable = np.asarray([index for index, langs in enumerate(spoken) if langs & wanted])
    if missing := wanted - seen:
        raise DataError(
            f"{where} has no {_ANSWERS[kind]} in {', '.join(sorted(missing))}; it has "
            f"{', '.join(sorted(seen)) or 'none'}. Set config.data.languages."
        )
    if not len(usable):
        raise DataError(f"{where} has no {_ANSWERS[kind]}; set config.data.task to what it has")
    return usable


def _sizes(source, needs: str, where: str) -> dict[str, np.ndarray]:
    """Frames, seconds, words and events of all records, which the setting `needs` needs."""
    sizes = source.sizes() if hasattr(source, "sizes") else None
    if sizes is None:
        split = where.rpartition("@")[2]
        raise DataError(
            f"{where} has no {SIZES_FILE.format(split)}, which {needs} needs: it was written before record sizes were "
            "noted. Write it anew: the same `python -m data_prep` command, with --overwrite"
        )
    return sizes


def _pool(number: int, part: DatasetSplit, source, targets: Targets, needs: str) -> RecordPool:
    """The records of a part that can be drawn; with their sizes, if a setting `needs` them."""
    where = f"{part.directory}@{part.split}"
    usable = _usable(source, targets, where)
    picks = np.stack([np.full(len(usable), number), usable], axis=1)
    sizes = _sizes(source, needs, where) if needs else {}
    return RecordPool(picks, part.weight, {name: values[usable] for name, values in sizes.items()})


def as_namespace(data) -> SimpleNamespace:
    """A config's `data` section for inner loops: looking a value up in a ConfigDict takes microseconds, and there are
    several for each row."""
    data = SimpleNamespace(**{name: data[name] for name in data})
    data.language_weights = dict(data.language_weights)
    return data


class _Loader:
    """Fills the arrays of a batch from records: what training and evaluation share."""

    def __init__(self, sources: Sequence, targets: Targets):
        self.sources, self.targets, self.data = sources, targets, targets.data
        self.features = self._feature_shape() if self.data.features else None
        assert targets.prefixes  # an error in them is told here, not by a thread

    def _feature_shape(self) -> tuple[int, int]:
        features = self.sources[0][0].features
        if features is None:
            raise DataError(
                f"{self.sources[0]!r} has no features, but data.features is set; "
                "make them with `python -m data_prep features`"
            )
        return features.shape[2:]

    def empty(self, b: int, t: int) -> dict:
        return {**_empty(self.targets, self.features, b, t), "ids": [""] * b}

    def media(self, batch: dict, row: int, record: Record, rng: np.random.Generator | None):
        """Pictures or features; `rng` picks crops and views in training, None is evaluation."""
        batch["ids"][row] = record.id
        data, count = self.data, len(record.frame_times)
        picked = pick_frames(count, data.num_frames, rng)
        t, room = len(picked), batch["frame_mask"].shape[1]
        if t > room:
            raise DataError(f"{count} frames, but the dataset's sizes say at most {room}; write the dataset anew")
        batch["frame_times"][row, :t] = record.frame_times[picked]
        batch["frame_mask"][row, :t] = True
        if data.shuffle_frames:
            picked = _shuffled(picked, record.id, rng)
        if self.features:
            if record.features is None or record.features.shape[2:] != self.features:
                found = None if record.features is None else record.features.shape[2:]
                raise DataError(f"features of shape {found}; the other records have {self.features}")
            if record.features.shape[1] != count:
                raise DataError(f"features of {record.features.shape[1]} frames for {count} times")
            number = 0 if rng is None else rng.integers(len(record.features))
            batch["features"][row, :t] = record.features[number, picked]
            return
        if len(record.frames) != count:
            raise DataError(
                f"{len(record.frames)} pictures for {count} times; if it has only features, set data.features"
            )
        state = rng and rng.bit_generator.state
        for i, frame in enumerate(picked):
            if rng is None:
                view(record.frames[frame], data.image_size, out=batch["frames"][row, i])
                continue
            rng.bit_generator.state = state  # all frames of a video are cropped and mirrored alike
            training_view(
                record.frames[frame], data.image_size, rng, scale=data.crop_scale, aspect=data.crop_aspect,
                flip=data.flip, out=batch["frames"][row, i],
            )  # fmt: skip


def _shuffled(picked: np.ndarray, id: str, rng: np.random.Generator | None) -> np.ndarray:
    """In another order; without `rng` in the same one for a record at every evaluation."""
    if rng is None:
        seed = hashlib.blake2b(id.encode(), digest_size=16).digest()
        rng = np.random.Generator(np.random.Philox(key=int.from_bytes(seed, "little")))
    return rng.permutation(picked)


class _Training:
    """The number of a batch -> this process's rows of it: `rows` from the `first` on.

    Grain's `batch` and `map` would not know the places in the run, which the rows' random streams depend on, and would
    pick the rows of all other processes.
    """

    def __init__(self, order: BatchOrder, loaders: Sequence[_Loader], *, batch_size: int, rows: np.ndarray, seed: int):
        self._order, self._loaders = order, loaders
        self._batch_size, self._rows, self._seed = batch_size, rows, seed

    def __call__(self, number: int) -> dict:
        wanted = self._order.rows(number, self._rows)
        loader = self._loaders[wanted.stage.number]
        batch = loader.empty(len(self._rows), wanted.frames)
        for row, (which, index) in enumerate(wanted.picks):
            # One stream a place in the run, whichever process or thread fills it.
            place = number * self._batch_size + int(self._rows[row])
            rng = np.random.Generator(np.random.Philox(key=[self._seed, place]))
            source = loader.sources[which]
            record = source[index]
            try:
                loader.targets.fill(batch, row, record, rng)
                loader.media(batch, row, record, rng)
            except Exception as error:  # whatever a decoder raises on damaged data, its record must be named
                raise DataError(f"{source!r}, record {record.id!r} ({record.media}): {error}") from error
        return batch


class TrainIterator:
    """Endless training batches; `get_state` and `set_state` make it go on exactly where it was."""

    def __init__(self, dataset: grain.MapDataset, stages: Sequence[CurriculumStage], *, threads: int, prefetch: int):
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
        self._iterator, self._stages = iter(dataset.to_iter_dataset(options)), stages

    def __iter__(self) -> Iterator[dict]:
        return self

    def __next__(self) -> dict:
        return next(self._iterator)

    @property
    def stage(self) -> CurriculumStage:
        """The stage of the curriculum that the next batch is of."""
        return stage_at(self._stages, self._iterator.get_state()["next_index"])

    def get_state(self) -> dict:
        """The number of the next batch and its stage, as JSON."""
        return {**self._iterator.get_state(), "stage": self.stage.about()}

    def set_state(self, state: dict):
        """Goes on from a state that `get_state` gave.

        Raises:
          DataError: it is of another curriculum.
        """
        here, there = stage_at(self._stages, state["next_index"]).about(), state["stage"]
        if here != there:
            raise DataError(
                f"the run was saved in stage {there} of its curriculum, but batch {state['next_index']} of this config "
                f"is in {here}; use the data.curriculum that it was started with"
            )
        self._iterator.set_state({"next_index": state["next_index"]})


def _empty(targets: Targets, features: tuple[int, int] | None, b: int, t: int) -> dict[str, np.ndarray]:
    """The arrays of a batch; `features` are (positions, channels) of a frame's, None for pictures."""
    size = targets.data.image_size
    batch = {
        "frame_times": np.zeros((b, t), np.float32),
        "frame_mask": np.zeros((b, t), bool),
        **targets.empty(b),
    }
    if features:
        batch["features"] = np.zeros((b, t, *features), np.float16)
    else:
        batch["frames"] = np.zeros((b, t, size, size, 3), np.uint8)
    return batch


def batch_shapes(vocabulary: Vocabulary, data, *, batch_size: int, feature_shape=None) -> dict[str, tuple]:
    """{array of a batch that goes to the device: (shape, dtype)}, of the last stage of the curriculum and the largest
    bucket, without any data.

    Args:
      feature_shape: (rows, columns, channels), for a model that is fed features.
    """
    data = make_stages(as_namespace(data))[-1].data
    features = (feature_shape[0] * feature_shape[1], feature_shape[2]) if feature_shape else None
    one = model_inputs(_empty(make_targets(vocabulary, data), features, 1, data.num_frames))
    return {name: ((batch_size, *value.shape[1:]), value.dtype) for name, value in one.items()}


def make_train_iterator(
    parts: Sequence[str], vocabulary: Vocabulary, data, *, batch_size: int, seed: int,
    rows: Sequence[int] | None = None, sources: Sequence | None = None,
) -> TrainIterator:  # fmt: skip
    """Training batches as in the batch contract, with `ids`: every record once an epoch, each epoch in another order.

    Each record contributes `data.captions_per_item` captions, each in a language drawn by weight and then drawn at
    random; with more than one, `target` and `loss_mask` are [b, c, l].

    Args:
      parts: `DIR@SPLIT*WEIGHT` of each dataset of the mixture.
      data: a config's `data` section.
      batch_size: over all processes.
      rows: those of every batch that this process loads, in order; None: all.
      sources: open sources in place of those that `parts` name.

    Raises:
      DataError: no data, or a language that nobody speaks.
    """
    if not parts:
        raise DataError("config.data.train is empty; set it, for instance --config.data.train=DATASET@train")
    parts = [DatasetSplit.parse(part) for part in parts]
    sources = sources if sources is not None else [part.open() for part in parts]
    stages, rows = make_stages(as_namespace(data)), _rows(rows, batch_size)
    targets = [make_targets(vocabulary, stage.data) for stage in stages]
    harder = any(stage.hard is not None for stage in stages)
    needs = "data.buckets" if data.buckets else "data.curriculum's `hard`" if harder else ""
    pools = [
        _pool(number, part, source, targets[0], needs)
        for number, (part, source) in enumerate(zip(parts, sources, strict=True))
    ]
    loaders = [_Loader(sources, of_stage) for of_stage in targets]
    order = BatchOrder(pools, stages, batch_size=batch_size, seed=seed)
    load = _Training(order, loaders, batch_size=batch_size, rows=rows, seed=seed)
    batches = grain.MapDataset.range(sys.maxsize // batch_size).map(load)
    return TrainIterator(batches, stages, threads=data.threads, prefetch=data.prefetch)


def _rows(rows: Sequence[int] | None, batch_size: int) -> np.ndarray:
    return np.arange(batch_size) if rows is None else np.asarray(rows)


def check_eval(part: str, languages: Sequence[str], buckets: Sequence[int] = ()):
    """Raises what an evaluation of `DIR@SPLIT` would raise, hours later."""
    source = DatasetSplit.parse(part).open()
    if not len(source):
        raise DataError(f"{part} has no records")
    if source.languages is not None and (missing := set(languages) - source.languages):
        raise DataError(f"{part} has no captions in {', '.join(sorted(missing))}; set config.data.languages")
    if buckets:
        _sizes(source, "data.buckets", part)


def make_eval_batches(
    part: str, vocabulary: Vocabulary, data, *, batch_size: int, limit: int = 0, rows: Sequence[int] | None = None,
    source=None,
) -> Iterator[dict]:  # fmt: skip
    """Every record of a split once, in order. The last batch is padded to full size; `valid` bool [b] marks real rows.
    With buckets, a batch is padded to the smallest that all its records fit into.

    Beside the inputs: `ids`; `rows`, the numbers of the rows in the whole batch; `references` of each row (see
    `capjax.data.targets.references`); and `videos`, for each row the id of the video that it is a part of, where in it,
    and how long it is, in seconds.

    Args:
      part: `DIR@SPLIT`.
      limit: the first so many records; 0: all.
      rows: as in training.
    """
    if not part:
        raise DataError("config.data.eval is empty; set it, for instance --config.data.eval=DATASET@val")
    source = source if source is not None else DatasetSplit.parse(part).open()
    total = min(limit, len(source)) if limit else len(source)
    wanted = _rows(rows, batch_size)
    targets = make_targets(vocabulary, as_namespace(data))
    loader = _Loader([source], targets)
    # Of the whole batch, not of this process's rows: all processes have the same shapes.
    counts = _sizes(source, "data.buckets", part)["frames"][:total] if data.buckets else None

    def frames(number: int) -> int:
        if counts is None:
            return data.num_frames
        longest = counts[number * batch_size : (number + 1) * batch_size].max()
        return next((bucket for bucket in data.buckets if bucket >= longest), data.num_frames)

    def load(number: int) -> dict:
        b = len(wanted)
        batch = loader.empty(b, frames(number)) | {"rows": wanted}
        batch["valid"], batch["references"] = np.zeros(b, bool), [{} for _ in range(b)]
        batch["videos"] = [("", 0.0, 0.0)] * b
        for row, of_batch in enumerate(wanted):
            index = number * batch_size + int(of_batch)
            if index >= total:
                # Padding sees a real frame time and mask, so that no softmax runs over nothing.
                batch["frame_mask"][row] = True
                continue
            record = source[index]
            try:
                loader.media(batch, row, record, None)
            except Exception as error:  # as above
                raise DataError(f"{source!r}, record {record.id!r} ({record.media}): {error}") from error
            batch["valid"][row] = True
            batch["references"][row] = references(record, targets)
            batch["videos"][row] = (record.video or record.id, record.start, record.duration)
            if "duration" in batch:
                batch["duration"][row] = record.duration
        return batch

    batches = grain.MapDataset.range(-(-total // batch_size)).map(load)
    return iter(batches.to_iter_dataset(grain.ReadOptions(data.threads, data.prefetch)))


def model_inputs(batch: Mapping) -> dict[str, np.ndarray]:
    """The arrays of a batch that go to the device."""
    names = (
        "frames", "features", "frame_times", "frame_mask", "duration", "target", "loss_mask", "event_times",
        "event_mask",
    )  # fmt: skip
    return {name: batch[name] for name in names if name in batch}
