"""The log-probability of each word while parts of a photo or video are hidden from the model.

p: perturbed inputs; t: frames; h, w: pixels of a frame; s: segments; words: those of a caption and then the whole
caption.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int
from tqdm import tqdm

from capjax.explain.explanation import Geometry, HeatMaps
from capjax.explain.model import BoundModel, CaptionedBatch, CaptionModel, from_frames
from capjax.explain.segments import superpixels, time_segments

# Batch size of the program whose memory is looked at, and the largest that is used.
_TRIAL, _LARGEST = 4, 128
# Bytes of a processor's caches, as far as they are counted on. Larger batches take longer for an input.
_CACHE = 48 * 2**20


class PerturbedItem:
    """One photo or video of a batch, with its parts hidden in any combination.

    A program of a fixed batch size hides the parts and runs the model, its frozen encoder included. Every word of the
    caption is scored in the same passes, by teacher forcing.

    Args:
      model: the model.
      batch: the batch.
      row: the row of the photo or video in the batch.

    Attributes:
      is_photo: superpixels are hidden, otherwise moments.
      mask: the frames [t] that are no padding.
      tokens: number of tokens of each word, and of the whole caption.
      shown: the frames [t, h, w, 3] or, of a video whose features were computed before, the features [t, n, d].
    """

    def __init__(self, model: CaptionModel, batch: CaptionedBatch, row: int):
        self._model, self._item = model, batch.items[row]
        self.is_photo = not self._item.sample.duration
        self.tokens = batch.rows(batch.word_tokens.sum(-1))[row]
        media = from_frames(batch.media) if self.is_photo else dict(batch.media)
        self._entry = "features" if "features" in media else "frames"
        if self.is_photo and self._entry == "features":
            raise ValueError(
                "this model's frozen encoder sees clips, not single frames: occlusion and lime do not explain what it "
                "makes of a photo; use attention or gradcam"
            )
        if self._entry == "features":  # the frames that they were computed from play no part
            media.pop("frames", None)
        rows = {name: np.asarray(value)[row : row + 1] for name, value in media.items()}
        self.mask, self._times = rows["frame_mask"][0], rows["frame_times"][0]
        self.shown = rows[self._entry][0]
        self._batch = CaptionedBatch(
            [self._item], jax.device_put(rows), batch.target[row : row + 1], batch.word_tokens[row : row + 1]
        )

    def mean(self) -> np.ndarray:
        """The mean color, or mean feature, of the frames: what stands in for a hidden part."""
        frames = self.shown[self.mask]
        mean = frames.astype(np.float32).mean(tuple(range(frames.ndim - 1)))
        return (np.round(mean) if frames.dtype == np.uint8 else mean).astype(frames.dtype)

    def segments(self, count: int) -> Int[np.ndarray, "t rows columns"]:
        """The number of the segment of each pixel of a photo [1, h, w] or of each frame of a video [t, 1, 1].

        Args:
          count: roughly the number of superpixels, or the largest number of moments.
        """
        if self.is_photo:
            return superpixels(self.shown[0], count)[None]
        return time_segments(int(self.mask.sum()), len(self.mask), count)[:, None, None]

    def log_probs(
        self, visible: Callable[[slice], Bool[np.ndarray, "p t rows columns"]], count: int,
        hidden: np.ndarray | None = None, description: str = "",
    ) -> Float32[np.ndarray, "p words"]:  # fmt: skip
        """Returns the log-probability of each word of the caption, and of all of it, for each perturbed input.

        Args:
          visible: the parts that the model sees, for a slice of the perturbed inputs; axes of length 1 are repeated.
          count: number of perturbed inputs.
          hidden: what it sees elsewhere, one value or a frame or all frames as in `shown`; None: `mean`.
          description: of the progress bar.
        """
        cover = jnp.asarray(np.broadcast_to(self.mean() if hidden is None else hidden, self.shown.shape))
        size = self._batch_size(visible(slice(0, 1)), cover)
        log_probs = []
        with tqdm(total=count, desc=description, unit=" passes", disable=None, delay=2, leave=False) as bar:
            for start in range(0, count, size):
                shown = visible(slice(start, min(start + size, count)))
                padding = [(0, size - len(shown)), *[(0, 0)] * (shown.ndim - 1)]
                log_probs.append(self._run(self._inputs(np.pad(shown, padding), cover)))
                if len(log_probs) > 1:  # one batch is computed while the next is made
                    log_probs[-2].block_until_ready()
                bar.update(len(shown))
            return np.concatenate(log_probs)[:count, : len(self._item.words) + 1]

    def _inputs(self, visible: Bool[np.ndarray, "p t rows columns"], hidden: Array) -> CaptionedBatch:
        cells = self.shown.shape[1:3] if self.is_photo else (1, 1)
        visible = np.broadcast_to(visible, (*visible.shape[:2], *cells))
        visible = visible[..., None] if self._entry == "frames" else visible
        media = {**self._batch.media, "visible": visible, "hidden": hidden}
        return CaptionedBatch(self._batch.items, media, self._batch.target, self._batch.word_tokens)

    def _run(self, batch: CaptionedBatch) -> Float32[Array, "p words"]:
        return self._model.run(_log_probs, batch, entry=self._entry)

    def _batch_size(self, visible: Bool[np.ndarray, "1 t rows columns"], hidden: Array) -> int:
        """The number of inputs in a call of the program: the largest power of two that fits into memory."""
        trial = self._inputs(np.repeat(visible, _TRIAL, axis=0), hidden)
        of_each = self._model.memory_of(_log_probs, trial, entry=self._entry) / _TRIAL
        size = _LARGEST
        while size > 1 and size * of_each > _memory():
            size //= 2
        return size

    def maps(self, values: Float[np.ndarray, "w t rows columns"]) -> HeatMaps:
        """Returns the values of each word, at the pixels of a photo or of the frames of a video, as maps."""
        values, geometry = values.astype(np.float32), Geometry.whole(*self._model.picture_size(self._item))
        if self.is_photo:
            return HeatMaps(values, np.zeros(1, np.float32), geometry)
        return HeatMaps(values[:, self.mask], self._times[self.mask], geometry)


def _log_probs(
    model: BoundModel, media: Mapping, target: Int[Array, "1 l"], word_tokens: Float[Array, "1 words k"], *,
    entry: str,
) -> Float[Array, "p words"]:  # fmt: skip
    """The log-probability of each word where `media["visible"]` says what is seen of `media[entry]`."""
    media = dict(media)
    visible, hidden = media.pop("visible"), media.pop("hidden")

    def repeat(x: Array) -> Array:
        return jnp.broadcast_to(x, (len(visible), *x.shape[1:]))

    media = {name: repeat(value) for name, value in media.items() if name != entry} | {
        entry: jnp.where(visible, media[entry], hidden)
    }
    return model.word_log_probs(media, repeat(target), repeat(word_tokens))


def _memory() -> int:
    """The bytes that a program may take: half of what is free on an accelerator, or the cache of a processor."""
    (device, *_) = jax.local_devices()
    memory = device.memory_stats()
    return _CACHE if memory is None else (memory["bytes_limit"] - memory["bytes_in_use"]) // 2
