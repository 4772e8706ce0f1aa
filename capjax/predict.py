"""A workdir to captions: `capjax.load(workdir).caption(media)`.

A raw photo or video takes the very path that training data took: frames at the same rate, RGB JPEG with its short side
reduced, then the evaluation view, then the encoder. So a caption here is the caption that evaluation scored.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from capjax.data.photo import MediaError, MediaSettings, to_jpeg
from capjax.data.transforms import pick_frames, view
from capjax.data.video import VIDEO_SUFFIXES, Video
from capjax.evals.generate import Generator
from capjax.models.build import make_encoder, make_functional
from capjax.models.encoders import encode_clip
from capjax.models.encoders.clip import moments, over_time, time_stride
from capjax.text.vocabulary import Vocabulary
from capjax.train.checkpoint import check_weights, load_weights
from capjax.train.workdir import Workdir

# Batches are padded up to one of these sizes, so that few programs are compiled whatever comes in.
_SIZES = (1, 8, 32)


@dataclass(frozen=True)
class Caption:
    """What the model says of one picture or video. `score` is the length-normalised log-probability."""

    text: str
    lang: str
    score: float


@dataclass(frozen=True)
class Seen:
    """What the model sees of a picture or video: t JPEGs, their times float32 [t] and the duration in seconds."""

    frames: tuple[bytes, ...]
    times: np.ndarray
    duration: float = 0.0


class Predictor:
    """A trained model, ready to caption. Made by `load`.

    Attributes:
      config: the run's config; languages: those it can write; step: of the checkpoint.
    """

    def __init__(self, workdir: str | Path, **decode):
        self._files = files = Workdir(workdir)
        self.config: ConfigDict = files.config()
        self.languages = tuple(self.config.data.languages)
        self._vocabulary = Vocabulary.load(files.vocabulary_path)
        self.step, self._params, self._stats = load_weights(files.path)
        self._functional = make_functional(
            self.config, vocab=self._vocabulary.size, feature_shape=files.feature_shape()
        )
        check_weights(files.path, self._functional.shapes, self._params)
        self._extract = _Extractor(files.encoder_dir) if self.config.data.features else None
        self._image_size = self._extract.image_size if self._extract else self.config.data.image_size
        media = files.media()
        self._fps = media.get("fps", 2.0)
        self._picture = MediaSettings(media.get("short_side", max(256, self._image_size)), media.get("quality", 95))
        self._generators: dict[str, Generator] = {}
        self._generator(**decode)

    def _generator(self, **decode) -> Generator:
        """The generator of these decoding options; made once for each set of them."""
        options = ConfigDict(self.config.decode.to_dict())
        for name, value in decode.items():
            if name not in options:
                raise ValueError(f"unknown decoding option {name!r}; there are {', '.join(options)}")
            options[name] = value
        if options.beams < 1 or options.max_len < 1:
            raise ValueError(f"beams = {options.beams}, max_len = {options.max_len}: expected 1 or more")
        key = options.to_json(sort_keys=True)
        if key not in self._generators:
            self._generators[key] = Generator(
                self._functional, self._vocabulary, options, self.config.data, self._files.neighbours(options)
            )
        return self._generators[key]

    def caption(
        self, media: Iterable, *, lang: str | None = None, batch_size: int = 32, seed: int = 0, **decode
    ) -> list[Caption]:
        """One caption a picture or video, in order.

        Args:
          media: paths of images or videos, bytes of image files, PIL images, or uint8 arrays [h, w, 3].
          lang: one of `languages`; None: the first.
          decode: decoding options of this call, such as beams=1 or method="sample", max_len=20.

        Raises:
          MediaError: a file cannot be read; the message names it.
          ValueError: a language or an option that the model does not have.
        """
        out: list[Caption] = []
        waiting: list[Seen] = []
        for one in media:
            waiting.append(self.read(one))
            if len(waiting) == batch_size:
                out += self.caption_seen(waiting, lang=lang, seed=seed, **decode)
                waiting = []
        return out + (self.caption_seen(waiting, lang=lang, seed=seed, **decode) if waiting else [])

    def read(self, media) -> "Seen":
        """A picture or video of any form that `caption` takes, as a record would hold it.

        Raises:
          MediaError: it cannot be read; the message names a file.
        """
        if isinstance(media, str | Path) and Path(media).suffix.lower() in VIDEO_SUFFIXES:
            return self._read_video(Path(media))
        try:
            return Seen((to_jpeg(media, self._picture),), np.zeros(1, np.float32))
        except MediaError as error:
            if not isinstance(media, str | Path) or str(media) in str(error):
                raise
            raise MediaError(error.kind, f"{media}: {error}") from error

    def _read_video(self, path: Path) -> "Seen":
        video = Video(path, threads=0)
        shown = list(video.shown_at(np.arange(0, video.duration, 1 / self._fps)))
        if not shown:
            raise MediaError("no_frames", f"{path}: not one frame could be decoded")
        # Only what the model looks at is made a JPEG of: where an encoder over time comes first, all of it.
        most = len(shown) if self._extract and self._extract.over_time else self.config.data.frames
        picked = [shown[i] for i in pick_frames(len(shown), most)]
        times = np.asarray([one.time for one in picked], np.float32)
        return Seen(tuple(video.jpeg(one.frame, self._picture) for one in picked), times, video.duration)

    def caption_seen(
        self, seen: Sequence["Seen"], *, lang: str | None = None, seed: int = 0, **decode
    ) -> list[Caption]:
        """Captions of what `read` gave, in one batch."""
        lang = lang or self.languages[0]
        if lang not in self.languages:
            raise ValueError(f"this model writes {', '.join(self.languages)}; it was not trained on {lang!r}")
        generator = self._generator(**decode)
        texts, scores = generator(self._params, self._stats, self._batch(seen), lang, key=jax.random.key(seed))
        return [
            Caption(text, lang, float(score))
            for text, score in zip(texts[: len(seen)], scores[: len(seen)], strict=True)
        ]

    def _batch(self, seen: Sequence["Seen"]) -> dict:
        """The model's inputs, padded to one of a few sizes."""
        size, side = next((size for size in _SIZES if size >= len(seen)), len(seen)), self._image_size
        t = self.config.data.frames
        if self._extract and self._extract.over_time:
            return self._clip_batch(seen, size, t)
        frames = np.zeros((size, t, side, side, 3), np.uint8)
        batch = {"frame_times": np.zeros((size, t), np.float32), "frame_mask": np.zeros((size, t), bool)}
        batch["frame_mask"][len(seen) :] = True  # so that no softmax runs over nothing
        for row, one in enumerate(seen):
            for i, jpeg in enumerate(one.frames):
                view(jpeg, side, out=frames[row, i])
            batch["frame_times"][row, : len(one.frames)] = one.times
            batch["frame_mask"][row, : len(one.frames)] = True
        if self._extract:
            batch["features"] = self._extract(frames, batch["frame_times"], batch["frame_mask"])
        else:
            batch["frames"] = frames
        return batch

    def _clip_batch(self, seen: Sequence["Seen"], size: int, t: int) -> dict:
        """`_batch` for features of an encoder over time: these are picked, not the frames."""
        batch = {"frame_times": np.zeros((size, t), np.float32), "frame_mask": np.zeros((size, t), bool)}
        batch["frame_mask"][len(seen) :] = True
        for row, one in enumerate(seen):
            features, times = self._extract.clip(one)
            if not row:
                batch["features"] = np.zeros((size, t, *features.shape[1:]), np.float16)
            picked = pick_frames(len(times), t)
            batch["features"][row, : len(picked)] = features[picked]
            batch["frame_times"][row, : len(picked)] = times[picked]
            batch["frame_mask"][row, : len(picked)] = True
        return batch


class _Extractor:
    """The frozen encoder whose features the model was trained on, from a workdir's `encoder/`."""

    def __init__(self, directory: Path):
        from safetensors.numpy import load_file

        about = json.loads((directory / "encoder.json").read_text())
        self.image_size = about["image_size"]
        functional = make_encoder(about["encoder"], image_size=self.image_size, options=about.get("options"))
        # As `data_prep features` cut videos.
        self._frames = about.get("clip", 1)
        weights = load_file(directory / "encoder.safetensors")
        self._params = {name: weights[name] for name in functional.shapes}
        self._stats = {name: weights[name] for name in functional.stat_shapes}

        encoder = functional.bind(functional.shapes, functional.stat_shapes)
        self.over_time, self._stride = over_time(encoder), time_stride(encoder)

        def extract(params, stats, frames, times, mask):
            features, *_ = encode_clip(functional.bind(params, stats), frames, times, mask)
            # Features are stored as float16: the model has never seen more digits.
            return features.astype(np.float16)

        self._extract = jax.jit(extract)

    def __call__(self, frames, times, mask):
        """uint8 [b, t, s, s, 3], float32 and bool [b, t] -> float16 [b, t', n, d]."""
        return self._extract(self._params, self._stats, frames, times, mask)

    def clip(self, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
        """Features float16 [t', n, d] of all frames of a video, and their times [t']."""
        side, rows = self.image_size, []
        for start in range(0, len(seen.frames), self._frames):
            frames = np.zeros((1, self._frames, side, side, 3), np.uint8)
            times, mask = np.zeros(frames.shape[:2], np.float32), np.zeros(frames.shape[:2], bool)
            for i, jpeg in enumerate(seen.frames[start : start + self._frames]):
                view(jpeg, side, out=frames[0, i])
                times[0, i], mask[0, i] = seen.times[start + i], True
            rows.append(np.asarray(self(frames, times, mask))[0])
        times, _ = moments(seen.times[None], np.ones((1, len(seen.times)), bool), self._stride)
        times = np.asarray(times[0])
        return np.concatenate(rows)[: len(times)], times


def load(workdir: str | Path, **decode) -> Predictor:
    """The trained model of a workdir, with the weights of its best evaluation.

    Args:
      decode: decoding options that differ from the config's, such as beams=1.

    Raises:
      FileNotFoundError: there is no trained model in the folder.
    """
    return Predictor(workdir, **decode)


__all__ = ["Caption", "MediaError", "Predictor", "load"]
