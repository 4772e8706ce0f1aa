"""Batches of raw media, for prediction."""

from collections.abc import Sequence

from capjax.data.batch import Batch, empty_media, mark_padding, set_features, set_frames, set_times
from capjax.data.media_reader import MediaSample
from capjax.data.transforms import pick_frames
from capjax.models.frozen_encoder import FrozenEncoder

# Batches are padded up to one of these sizes, to limit the number of programs that are compiled.
_SIZES = (1, 8, 32)


def _padded_size(samples: Sequence[MediaSample]) -> int:
    return next((size for size in _SIZES if size >= len(samples)), len(samples))


class MediaBatcher:
    """Makes the inputs of a model from raw media.

    Args:
      num_frames: Frames, or feature grids, per item.
      image_size: Height and width of a frame.
      extractor: The frozen encoder of a model that is trained on features, or None.
      dense: Whether the model finds events, and so needs durations.
    """

    def __init__(self, num_frames: int, image_size: int, extractor: FrozenEncoder | None, *, dense: bool):
        self.num_frames, self.image_size, self.extractor, self.dense = num_frames, image_size, extractor, dense

    def __call__(self, samples: Sequence[MediaSample]) -> Batch:
        """Returns a batch of the samples, padded to one of a few sizes."""
        if self.extractor is not None and self.extractor.over_time:
            batch = self._video_features(self.extractor, samples, _padded_size(samples))
            return self._with_durations(batch, samples)
        batch = self.frames(samples)
        if self.extractor:
            batch["features"] = self.extractor(batch.pop("frames"), batch["frame_times"], batch["frame_mask"])
        return batch

    def frames(self, samples: Sequence[MediaSample]) -> Batch:
        """As `__call__`, with the frames that are the input of the extractor in place of its features."""
        batch = empty_media(_padded_size(samples), self.num_frames, image_size=self.image_size, duration=self.dense)
        for row, sample in enumerate(samples):
            set_times(batch, row, sample.times)
            set_frames(batch, row, sample.frames)
        mark_padding(batch, slice(len(samples), None))
        return self._with_durations(batch, samples)

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
