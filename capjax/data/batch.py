"""The batch: the arrays passed to a model, and the functions that build them.

Training, evaluation, prediction, feature extraction and export build batches with this module only. A batch is a flat
dict of arrays; entries that a config does not use are absent. `Batch` documents every entry.

Dimensions: b batch, t frames, h and w pixels, n positions of a feature grid, d channels, c captions per item, e events,
l target length, s audio samples or source tokens.

Precomputed features of a model with one encoder are the entry `features`, with `frame_times` and `frame_mask`. A model
with several encoders has the entries of `feature_entries(NAME)` for each encoder: `features/NAME`,
`features/NAME/times` and `features/NAME/mask`, because encoders differ in time stride and in their number of frames.
Keys are flat rather than nested so that jit, sharding and SavedModel signatures treat all entries alike.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, cast

import numpy as np
from jaxtyping import Bool, Float16, Float32, Int32, UInt8

from capjax.data.transforms import training_view, view

if TYPE_CHECKING:
    import jax

    from capjax.parallel.sharding_rules import ShardingRules

Array = Any  # NumPy on the host, JAX on devices


class Batch(TypedDict, total=False):
    """Arrays of a batch, on the host or on devices.

    Model inputs:
      frames: RGB frames.
      frame_times: Display time of each frame, in seconds from the start of the record.
      frame_mask: True where a frame is real. Every row has at least one, padding rows included, because attention over
        an empty set is undefined.
      features: Precomputed features, in place of `frames`. For several encoders, see the module's docstring.
      audio, audio_mask: Waveform and the samples that are real.
      source, source_times, source_mask: Tokens of a transcript or another text, their times (s), and which are real.
      duration: Length of the record in seconds, for models that find events; 1 in padding rows.
      target, loss_mask: Target tokens and the positions that the loss is computed at; [b, c, l] with several captions
        per item, [b, e, l] for events found by queries.
      loss_weight: Weight of each item in the loss of its captions, for `mitigation.balance`.
      event_times, event_mask: Start and end of each event as fractions of the duration, and which events are real.

    Host only:
      ids: Record id of each row.
      rows: Index of each row in the global batch.
      valid: False in padding rows.
      references: Reference captions of each row, see `capjax.data.targets.references`.
      videos: (id of the video, start of the record in it, duration of the record) of each row, in seconds.
    """

    frames: UInt8[Array, "b t h w 3"]
    frame_times: Float32[Array, "b t"]
    frame_mask: Bool[Array, "b t"]
    features: Float16[Array, "b t n d"]
    audio: Float32[Array, "b s"]
    audio_mask: Bool[Array, "b s"]
    source: Int32[Array, "b s"]
    source_times: Float32[Array, "b s"]
    source_mask: Bool[Array, "b s"]
    duration: Float32[Array, " b"]
    target: Int32[Array, "b ... l"]
    loss_mask: Bool[Array, "b ... l"]
    loss_weight: Float32[Array, " b"]
    event_times: Float32[Array, "b e 2"]
    event_mask: Bool[Array, "b e"]

    ids: list[str]
    rows: Int32[np.ndarray, " b"]
    valid: Bool[np.ndarray, " b"]
    references: list[Mapping]
    videos: list[tuple[str, float, float]]


HOST_ENTRIES = ("ids", "rows", "valid", "references", "videos")


class FeatureEntries(NamedTuple):
    """Keys of the entries that hold precomputed features."""

    features: str
    times: str
    mask: str


def feature_entries(encoder: str | None = None) -> FeatureEntries:
    """Returns the keys of an encoder's features in a batch; None is the only encoder of a model."""
    if encoder is None:
        return FeatureEntries("features", "frame_times", "frame_mask")
    return FeatureEntries(f"features/{encoder}", f"features/{encoder}/times", f"features/{encoder}/mask")


def model_inputs(batch: Mapping) -> dict[str, Array]:
    """Returns the entries of a batch that are passed to the model."""
    return {name: value for name, value in batch.items() if name not in HOST_ENTRIES}


# ---- Building media entries


def media_shapes(
    b, t: int, *, image_size: int = 0, feature_shape: Sequence[int] | None = None, duration: bool = False
) -> dict[str, tuple[tuple, str]]:
    """Returns {name: (shape, dtype)} of the media entries of a batch.

    Args:
      b: Batch size, or a symbolic dimension.
      t: Number of frames.
      image_size: Height and width of `frames`; unused with `feature_shape`.
      feature_shape: (rows, columns, d) or (n, d) of precomputed features; None for frames.
      duration: Include `duration`.
    """
    shapes: dict[str, tuple[tuple, str]] = {"frame_times": ((b, t), "float32"), "frame_mask": ((b, t), "bool")}
    if feature_shape is None:
        shapes["frames"] = (b, t, image_size, image_size, 3), "uint8"
    else:
        *grid, d = feature_shape
        shapes["features"] = (b, t, math.prod(grid), d), "float16"
    if duration:
        shapes["duration"] = (b,), "float32"
    return shapes


def empty_media(b: int, t: int, **options) -> Batch:
    """Returns the media entries of a batch without any frame; arguments as `media_shapes`."""
    batch = {name: np.zeros(shape, dtype) for name, (shape, dtype) in media_shapes(b, t, **options).items()}
    if "duration" in batch:
        batch["duration"][:] = 1
    return cast(Batch, batch)


def set_times(batch: Batch, row: int, times: Float32[np.ndarray, " t"]):
    """Marks the first frames of a row as real, at `times` in seconds."""
    batch["frame_times"][row, : len(times)] = times
    batch["frame_mask"][row, : len(times)] = True


def set_frames(
    batch: Batch, row: int, jpegs: Sequence[bytes], *, rng: np.random.Generator | None = None, augmentation=None
):
    """Decodes the frames of a row.

    Args:
      jpegs: JPEG files, at most t.
      rng: Crops and mirrors all frames of the row alike, at random; None decodes the evaluation view.
      augmentation: Has `crop_scale`, `crop_aspect` and `flip`, as a config's `data` section; needed with `rng`.

    Raises:
      ValueError: A frame is not a JPEG file, or is damaged.
    """
    frames = batch["frames"][row]
    size = frames.shape[1]
    if rng is None:
        for jpeg, out in zip(jpegs, frames, strict=False):
            view(jpeg, size, out=out)
        return
    state = rng.bit_generator.state
    for jpeg, out in zip(jpegs, frames, strict=False):
        rng.bit_generator.state = state
        training_view(
            jpeg, size, rng, scale=augmentation.crop_scale, aspect=augmentation.crop_aspect, flip=augmentation.flip,
            out=out,
        )  # fmt: skip


def set_features(batch: Batch, row: int, features: Float16[np.ndarray, "t n d"]):
    """Sets the features of a row, at most t frames."""
    batch["features"][row, : len(features)] = features


def mark_padding(batch: Batch, rows):
    """Marks all frames of padding rows as real: attention over an empty set is undefined."""
    batch["frame_mask"][rows] = True


# ---- Placing a batch on devices


def to_device(batch: Mapping, rules: "ShardingRules", size: int) -> dict[str, "jax.Array"]:
    """Returns the model inputs of a batch as global arrays of `size` rows, sharded over the mesh.

    Args:
      batch: This process's rows of the batch, those of `rules.rows(size)`.
      size: Batch size over all processes.
    """
    import jax  # not at the top: data preparation uses this module without JAX

    sharding, rows = rules.batch(size), rules.rows(size)

    def place(value: np.ndarray) -> jax.Array:
        def shard(index):
            first, stop, _ = index[0].indices(size)
            position = np.searchsorted(rows, first)
            return value[position : position + stop - first]

        return jax.make_array_from_callback((size, *value.shape[1:]), sharding, shard)

    return {name: place(np.asarray(value)) for name, value in model_inputs(batch).items()}
