"""Batches of raw media, for prediction."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from capjax.data.batch import (
    Batch,
    empty_media,
    mark_padding,
    model_inputs,
    set_features,
    set_frames,
    set_times,
    to_device,
)
from capjax.data.media_reader import MediaSample
from capjax.data.photo import MediaError
from capjax.data.transforms import pick_frames
from capjax.metrics.messages import show_value
from capjax.models.frozen_encoder import FrozenEncoder
from capjax.parallel import hosts
from capjax.parallel.mesh import spans_processes
from capjax.parallel.sharding_rules import ShardingRules
from capjax.predict.read_ahead import num_readers, read_ahead

# Batches are padded up to one of these sizes, to limit the number of programs that are compiled.
_SIZES = (1, 8, 32)


class MediaBatcher:
    """Makes the inputs of a model from raw media.

    Args:
      num_frames: Frames, or feature grids, per item.
      image_size: Height and width of a frame.
      extractor: The frozen encoder of a model that is trained on features, or None.
      dense: Whether the model finds events, and so needs durations.
      buckets: Smaller numbers of frames for which programs are compiled too, as `data.buckets` of a config.
      rules: Sharding of batches over several devices; None: batches are made for one device.
    """

    def __init__(
        self, num_frames: int, image_size: int, extractor: FrozenEncoder | None, *, dense: bool,
        buckets: Sequence[int] = (), rules: ShardingRules | None = None,
    ):  # fmt: skip
        self.num_frames, self.image_size, self.extractor, self.dense = num_frames, image_size, extractor, dense
        self._buckets, self._rules = tuple(buckets), rules

    def __call__(self, samples: Sequence[MediaSample]) -> Batch:
        """Returns a batch of the samples, padded to one of a few sizes."""
        if self.extractor is not None and self.extractor.over_time:
            batch = self._video_features(self.extractor, samples, self._padded_size(samples))
            return self._place(self._with_durations(batch, samples))
        batch = self._place(self.frames(samples))
        if self.extractor:
            batch["features"] = self.extractor(batch.pop("frames"), batch["frame_times"], batch["frame_mask"])
        return batch

    def frames(self, samples: Sequence[MediaSample]) -> Batch:
        """As `__call__`, with the frames that are the input of the extractor in place of its features."""
        num_frames = self.bucket(max(len(sample.frames) for sample in samples))
        batch = empty_media(self._padded_size(samples), num_frames, image_size=self.image_size, duration=self.dense)
        for row, sample in enumerate(samples):
            set_times(batch, row, sample.times)
            set_frames(batch, row, sample.frames)
        mark_padding(batch, slice(len(samples), None))
        return self._with_durations(batch, samples)

    @property
    def frame_counts(self) -> tuple[int, ...]:
        """The numbers of frames of batches, ascending: a program is compiled for each."""
        return (*sorted({bucket for bucket in self._buckets if bucket < self.num_frames}), self.num_frames)

    def bucket(self, num_frames: int) -> int:
        """Returns the number of frames of the smallest batch that holds a sample of so many frames, as evaluation
        chooses it."""
        return next((count for count in self.frame_counts if count >= num_frames), self.num_frames)

    @property
    def spans_processes(self) -> bool:
        """Whether several processes compute a batch together."""
        return self._rules is not None and spans_processes(self._rules.mesh)

    def _padded_size(self, samples: Sequence[MediaSample]) -> int:
        size = next((size for size in _SIZES if size >= len(samples)), len(samples))
        parts = self._rules.batch_parts if self._rules else 1
        return -(-size // parts) * parts

    def _place(self, batch: Batch) -> Batch:
        """Puts the rows of a batch onto the devices that compute them."""
        if self._rules is None:
            return batch
        size = len(batch["frame_mask"])
        rows = self._rules.rows(size)
        return cast(
            Batch, to_device({name: value[rows] for name, value in model_inputs(batch).items()}, self._rules, size)
        )

    def _with_durations(self, batch: Batch, samples: Sequence[MediaSample]) -> Batch:
        if self.dense:
            batch["duration"][: len(samples)] = [sample.duration for sample in samples]
        return batch

    def _video_features(self, extractor: FrozenEncoder, samples: Sequence[MediaSample], size: int) -> Batch:
        """Encodes all frames of each video over time, then picks among the feature grids."""
        batch = empty_media(size, self.num_frames, feature_shape=extractor.feature_shape, duration=self.dense)
        for row, sample in enumerate(samples):
            features, times = extractor.encode_video(sample.frames, sample.times)
            picked = pick_frames(len(times), self.num_frames)
            set_times(batch, row, times[picked])
            set_features(batch, row, features[picked])
        mark_padding(batch, slice(len(samples), None))
        return batch


@dataclass(frozen=True)
class MediaBatch:
    """The inputs of a model for several media of a group.

    Attributes:
      indices: Number of each in the group.
      inputs: Their batch; it ends with padding.
    """

    indices: list[int]
    inputs: Batch


@dataclass(frozen=True)
class FailedMedia:
    """A photo or video that could not be read. `index` is its number in the group."""

    index: int
    error: MediaError


@dataclass(frozen=True)
class _Read:
    """Media of a group that were read: samples that go into one batch, or an error; neither at the end of a group."""

    indices: list[int]
    samples: list[MediaSample]
    error: MediaError | None = None


def batches_of_groups(
    groups: Iterable[Iterable], read: Callable[[Any], MediaSample], make_batch: MediaBatcher, batch_size: int
) -> Iterator[MediaBatch | FailedMedia | None]:
    """Yields the batches of groups of media, the media that cannot be read, and None at the end of each group.

    Threads read media and make the next batch while the caller uses a batch. Within a group, photos and videos are in
    batches of their own, and so are videos of different `MediaBatcher.bucket`s.

    Where several processes compute batches together, all of them read all media, and must read the same.

    Args:
      read: Reads one of the media, or raises MediaError.
      batch_size: Largest number of media in a batch.
    """

    def read_one(item: tuple[int, Any] | None) -> tuple[int, MediaSample | MediaError] | None:
        if item is None:
            return None
        index, media = item
        try:
            return index, read(media)
        except MediaError as error:
            return index, error

    def make(media: _Read) -> MediaBatch | FailedMedia | None:
        if media.error is not None:
            return FailedMedia(media.indices[0], media.error)
        return MediaBatch(media.indices, make_batch(media.samples)) if media.samples else None

    items = (item for group in groups for item in itertools.chain(enumerate(group), [None]))
    results = read_ahead(items, read_one, threads=num_readers(), ahead=2 * batch_size)
    batches = _in_batches(results, make_batch, batch_size)
    if make_batch.spans_processes:  # the processes must start their computations in one order: in one thread
        return map(make, _checked_among_processes(batches))
    return read_ahead(batches, make, threads=1, ahead=1)


def _checked_among_processes(batches: Iterable[_Read]) -> Iterator[_Read]:
    for batch in batches:
        check_same_among_processes([batch.indices, str(batch.error or "")])
        yield batch


def check_same_among_processes(media: Any):
    """Checks that all processes have read the same; otherwise some would wait for the others forever.

    Raises:
      ValueError: they have not.
    """
    for index, other in enumerate(hosts.allgather_objects(media)):
        if other != media:
            raise ValueError(
                f"process {index} of the job has read other media than this one ({show_value(other)}, not "
                f"{show_value(media)}); all must see the same inputs. The same command continues"
            )


def _in_batches(
    results: Iterable[tuple[int, MediaSample | MediaError] | None], make_batch: MediaBatcher, batch_size: int
) -> Iterator[_Read]:
    pending: dict[tuple[bool, int], _Read] = {}
    for result in results:
        if result is None:
            yield from (pending[key] for key in sorted(pending))
            pending.clear()
            yield _Read([], [])
            continue
        index, sample = result
        if isinstance(sample, MediaError):
            yield _Read([index], [], sample)
            continue
        key = sample.duration > 0, make_batch.bucket(len(sample.frames))
        batch = pending.setdefault(key, _Read([], []))
        batch.indices.append(index)
        batch.samples.append(sample)
        if len(batch.samples) == batch_size:
            yield pending.pop(key)
