"""Batches of raw media, and the frozen encoder of models that are trained on features."""

import json
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from capjax.data.media_reader import MediaSample
from capjax.data.transforms import pick_frames, view
from capjax.models.build import make_encoder
from capjax.models.encoders import encode_clip
from capjax.models.encoders.clip import group_times, over_time, time_stride

# Batches are padded up to one of these sizes, so that few programs are compiled whatever comes in.
_SIZES = (1, 8, 32)


class MediaBatcher:
    """Makes batches of a model's inputs.

    Args:
      num_frames: t, the frames of an item.
      image_size: pixels a side of a frame.
      extractor: the frozen encoder of a model that is trained on features, or None.
      dense: the model finds events, and needs durations.
    """

    def __init__(self, num_frames: int, image_size: int, extractor: "Extractor | None", *, dense: bool):
        self.num_frames, self.image_size, self.extractor, self.dense = num_frames, image_size, extractor, dense

    def __call__(self, seen: Sequence[MediaSample]) -> dict:
        """Returns the inputs of a model, padded to one of a few sizes."""
        size = next((size for size in _SIZES if size >= len(seen)), len(seen))
        clips = self.extractor and self.extractor.over_time
        batch = self._clip_batch(seen, size) if clips else self._frame_batch(seen, size)
        if self.dense:
            batch["duration"] = np.ones(size, np.float32)
            batch["duration"][: len(seen)] = [one.duration for one in seen]
        return batch

    def _frame_batch(self, seen: Sequence[MediaSample], size: int) -> dict:
        t, side = self.num_frames, self.image_size
        frames = np.zeros((size, t, side, side, 3), np.uint8)
        batch = {"frame_times": np.zeros((size, t), np.float32), "frame_mask": np.zeros((size, t), bool)}
        batch["frame_mask"][len(seen) :] = True  # so that no softmax runs over nothing
        for row, one in enumerate(seen):
            for i, jpeg in enumerate(one.frames):
                view(jpeg, side, out=frames[row, i])
            batch["frame_times"][row, : len(one.frames)] = one.times
            batch["frame_mask"][row, : len(one.frames)] = True
        if self.extractor:
            batch["features"] = self.extractor(frames, batch["frame_times"], batch["frame_mask"])
        else:
            batch["frames"] = frames
        return batch

    def _clip_batch(self, seen: Sequence[MediaSample], size: int) -> dict:
        """For features of an encoder over time: these are picked, not the frames."""
        t = self.num_frames
        batch = {"frame_times": np.zeros((size, t), np.float32), "frame_mask": np.zeros((size, t), bool)}
        batch["frame_mask"][len(seen) :] = True
        for row, one in enumerate(seen):
            features, times = self.extractor.clip(one)
            if not row:
                batch["features"] = np.zeros((size, t, *features.shape[1:]), np.float16)
            picked = pick_frames(len(times), t)
            batch["features"][row, : len(picked)] = features[picked]
            batch["frame_times"][row, : len(picked)] = times[picked]
            batch["frame_mask"][row, : len(picked)] = True
        return batch


class Extractor:
    """The frozen encoder whose features the model was trained on, from a workdir's `encoder/`.

    Attributes:
      function: parameters, batch statistics, frames, times, mask -> features, as `__call__`; `params` and
        `batch_stats` are the encoder's weights.
      over_time: it sees clips of `clip_frames` frames, of which `stride` give one grid; else one frame at a time.
    """

    def __init__(self, directory: Path):
        from safetensors.numpy import load_file

        about = json.loads((directory / "encoder.json").read_text())
        self.image_size = about["image_size"]
        pure_model = make_encoder(about["encoder"], image_size=self.image_size, options=about.get("options"))
        # As `data_prep features` cut videos.
        self.clip_frames = about.get("clip", 1)
        weights = load_file(directory / "encoder.safetensors")
        self.params = {name: weights[name] for name in pure_model.shapes}
        self.batch_stats = {name: weights[name] for name in pure_model.batch_stat_shapes}

        encoder = pure_model.bind(pure_model.shapes, pure_model.batch_stat_shapes)
        self.over_time, self.stride = over_time(encoder), time_stride(encoder)

        def extract(params, batch_stats, frames, times, mask):
            features, *_ = encode_clip(pure_model.bind(params, batch_stats), frames, times, mask)
            # Features are stored as float16: the model has never seen more digits.
            return features.astype(np.float16)

        self.function, self._extract = extract, jax.jit(extract)

    def __call__(self, frames, times, mask):
        """uint8 [b, t, s, s, 3], float32 and bool [b, t] -> float16 [b, t', n, d]."""
        return self._extract(self.params, self.batch_stats, frames, times, mask)

    def clip(self, seen: MediaSample) -> tuple[np.ndarray, np.ndarray]:
        """Features float16 [t', n, d] of all frames of a video, and their times [t']."""
        side, rows = self.image_size, []
        for start in range(0, len(seen.frames), self.clip_frames):
            frames = np.zeros((1, self.clip_frames, side, side, 3), np.uint8)
            times, mask = np.zeros(frames.shape[:2], np.float32), np.zeros(frames.shape[:2], bool)
            for i, jpeg in enumerate(seen.frames[start : start + self.clip_frames]):
                view(jpeg, side, out=frames[0, i])
                times[0, i], mask[0, i] = seen.times[start + i], True
            rows.append(np.asarray(self(frames, times, mask))[0])
        times, _ = group_times(seen.times[None], np.ones((1, len(seen.times)), bool), self.stride)
        times = np.asarray(times[0])
        return np.concatenate(rows)[: len(times)], times
