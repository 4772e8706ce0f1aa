"""A workdir to captions: `capjax.load(workdir).caption(media)`, and where the model finds events `.events(videos)`.

A raw photo or video takes the very path that training data took: frames at the same rate, RGB JPEG with its short side
reduced, then the evaluation view, then the encoder. So a caption here is the caption that evaluation scored.
"""

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from capjax.data.media_reader import MediaReader, MediaSample
from capjax.data.photo import MediaError, MediaSettings
from capjax.data.transforms import pick_frames, view
from capjax.data.windows import WindowSettings
from capjax.evals.generate import Event, Generator
from capjax.localize import LocalizedVideo, localize
from capjax.models.build import make_encoder, make_pure_model
from capjax.models.encoders import encode_clip
from capjax.models.encoders.clip import group_times, over_time, time_stride
from capjax.models.pure_model import Arrays, PureModel
from capjax.text.vocabulary import Vocabulary
from capjax.workdir.checkpoint import check_weights, load_weights
from capjax.workdir.layout import Workdir

# Batches are padded up to one of these sizes, so that few programs are compiled whatever comes in.
_SIZES = (1, 8, 32)
# Of data that were prepared before these were noted: seconds between frames, of a window, and of what two share.
_FPS, _WINDOW, _OVERLAP = 2.0, 512.0, 5.0


@dataclass(frozen=True)
class Caption:
    """What the model says of one picture or video, or of an event in one.

    Attributes:
      score: of a whole, the length-normalized log-probability; of an event, from 0 to 1, how sure the model is of it.
      start, end: of an event, seconds of the video; None: it is said of the whole.
    """

    text: str
    lang: str
    score: float
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Parts:
    """What a Predictor is made of.

    Attributes:
      generator: batch -> captions or events, of a model `pure_model` with `params` and `batch_stats`.
      videos: it looks at videos, or learned from them; else at photos alone.
      extractor: the frozen encoder of a model that is fed features, or None.
      image_size: pixels a side of what the encoder sees; picture: how a photo is stored before that.
    """

    generator: Generator
    pure_model: PureModel
    params: Arrays
    batch_stats: Arrays
    videos: bool
    extractor: "_Extractor | None"
    image_size: int
    picture: MediaSettings


class Predictor:
    """A trained model, ready to caption. Made by `load`.

    Attributes:
      config: the run's config; languages: those it can write; step: of the checkpoint.
      feature_shape: (rows, columns, channels) of the features that the model is fed; None: it is fed pictures.
      dense: whether it finds events; else it captions wholes.
    """

    def __init__(self, workdir: str | Path, **decode):
        self._files = files = Workdir(workdir)
        self.config: ConfigDict = files.config()
        self.languages = tuple(self.config.data.languages)
        self.dense = finds_events(self.config)
        self._vocabulary = Vocabulary.load(files.vocabulary_path)
        self.step, self._params, self._stats = load_weights(files.path)
        self.feature_shape = files.feature_shape()
        self._pure_model = make_pure_model(self.config, vocab=self._vocabulary.size, feature_shape=self.feature_shape)
        check_weights(files.path, self._pure_model.shapes, self._params)
        self._extract = _Extractor(files.encoder_dir) if self.config.data.features else None
        self._image_size = self._extract.image_size if self._extract else self.config.data.image_size
        media = files.media()
        self._picture = MediaSettings(media.get("short_side", max(256, self._image_size)), media.get("quality", 95))
        # An encoder over time looks at all frames; of its features some are picked.
        most = sys.maxsize if self._extract and self._extract.over_time else self.config.data.num_frames
        self._reader = MediaReader(self._picture, media.get("fps", _FPS), most)
        self._windows = WindowSettings(
            media.get("window", _WINDOW), media.get("overlap", _OVERLAP), media.get("longest", 0.0)
        )
        self._generators: dict[str, Generator] = {}
        self._generator(**decode)

    def parts(self, **decode) -> "Parts":
        """What it is made of, with these decoding options.

        Raises:
          ValueError: an option that the model does not have.
        """
        return Parts(
            self._generator(**decode), self._pure_model, self._params, self._stats,
            self.config.data.num_frames > 1 or self.dense or self._windows.longest > 0, self._extract, self._image_size,
            self._picture,
        )  # fmt: skip

    def _generator(self, **decode) -> Generator:
        """The generator of these decoding options; made once for each set of them."""
        options = ConfigDict(self.config.decode.to_dict())
        for name, value in decode.items():
            if name not in options:
                raise ValueError(f"unknown decoding option {name!r}; there are {', '.join(options)}")
            options[name] = value
        if options.num_beams < 1 or options.max_len < 1:
            raise ValueError(f"beams = {options.num_beams}, max_len = {options.max_len}: expected 1 or more")
        key = options.to_json(sort_keys=True)
        if key not in self._generators:
            self._generators[key] = Generator(
                self._pure_model, self._vocabulary, options, self.config.data, self._files.neighbors(options)
            )
        return self._generators[key]

    def _language(self, lang: str | None) -> str:
        lang = lang or self.languages[0]
        if lang not in self.languages:
            raise ValueError(f"this model writes {', '.join(self.languages)}; it was not trained on {lang!r}")
        return lang

    # ---- Captions of wholes

    def caption(
        self, media: Iterable, *, lang: str | None = None, batch_size: int = 32, seed: int = 0, **decode
    ) -> list[Caption]:
        """One caption (or summary, if that is what the model was trained on) a picture or video, in order.

        Args:
          media: paths of images or videos, bytes of image files, PIL images, or uint8 arrays [h, w, 3].
          lang: one of `languages`; None: the first.
          decode: decoding options of this call, such as num_beams=1 or method="sample", max_len=20.

        Raises:
          MediaError: a file cannot be read; the message names it.
          ValueError: a language or an option that the model does not have; or it is a model that finds events.
        """
        self._check_captions()
        out: list[Caption] = []
        waiting: list[MediaSample] = []
        for one in media:
            waiting.append(self.read(one))
            if len(waiting) == batch_size:
                out += self.caption_samples(waiting, lang=lang, seed=seed, **decode)
                waiting = []
        return out + (self.caption_samples(waiting, lang=lang, seed=seed, **decode) if waiting else [])

    def _check_captions(self):
        if self.dense:
            raise ValueError("this model was trained to find events in videos, not to caption wholes; use events()")

    def read(self, media) -> MediaSample:
        """A picture or video of any form that `caption` takes, as a record would hold it.

        Raises:
          MediaError: it cannot be read; the message names a file.
        """
        return self._reader.read(media)

    def caption_samples(
        self, seen: Sequence[MediaSample], *, lang: str | None = None, seed: int = 0, **decode
    ) -> list[Caption]:
        """Captions of what `read` gave, in one batch."""
        self._check_captions()
        lang, generator = self._language(lang), self._generator(**decode)
        texts, scores = generator(self._params, self._stats, self._batch(seen), lang, key=jax.random.key(seed))
        return [
            Caption(text, lang, float(score))
            for text, score in zip(texts[: len(seen)], scores[: len(seen)], strict=True)
        ]

    # ---- Events in videos

    def events(self, media: Iterable[str | Path], **options) -> list[list[Caption]]:
        """The events of each video, in order of start, each with its seconds.

        Args:
          media: paths of videos.
          options: as `localize`.

        Raises:
          MediaError: a file cannot be read; the message names it.
          ValueError: as `localize`.
        """
        found = []
        for video in self.localize(media, **options):
            if video.error:
                raise video.error
            found.append(video.events)
        return found

    def localize(
        self, media: Iterable[str | Path], *, lang: str | None = None, window: float | None = None,
        overlap: float | None = None, batch_size: int = 8, seed: int = 0,
        progress: Callable[[float, float], None] | None = None, **decode,
    ) -> Iterator[LocalizedVideo]:  # fmt: skip
        """Each video in order, with its seconds and its events (as `Caption`s), or the error where it cannot be read.

        A video that is longer than what training saw is looked at in windows that overlap; memory does not grow with
        its length.

        Args:
          media: paths of videos.
          lang, decode: as `caption`.
          window, overlap: seconds of a window, and those that it shares with the next; None: as in training.
          batch_size: windows at a time, at most.
          progress: called with the seconds of video that have been looked at, and those of all files opened so far.

        Raises:
          ValueError: a language, window or option that cannot be; or it is no model that finds events.
        """
        if not self.dense:
            raise ValueError(
                f"this model was trained on {self.config.data.task} (data.task), and finds no events; use caption()"
            )
        if batch_size < 1:
            raise ValueError(f"batch_size = {batch_size}: expected 1 or more")
        lang, generator = self._language(lang), self._generator(**decode)
        windows, keys = self._windows.override(window, overlap), itertools.count()

        def find(seen: list[MediaSample]) -> list[list[Event]]:
            key = jax.random.fold_in(jax.random.key(seed), next(keys))
            return generator.events(self._params, self._stats, self._batch(seen), lang, key=key)[: len(seen)]

        found = localize(media, self._reader, windows, find, batch_size=batch_size, progress=progress)
        return (
            replace(one, events=[Caption(e.text, lang, e.score, e.start, e.end) for e in one.events]) for one in found
        )

    def _batch(self, seen: Sequence[MediaSample]) -> dict:
        """The model's inputs, padded to one of a few sizes."""
        size = next((size for size in _SIZES if size >= len(seen)), len(seen))
        clips = self._extract and self._extract.over_time
        batch = self._clip_batch(seen, size) if clips else self._frame_batch(seen, size)
        if self.dense:
            batch["duration"] = np.ones(size, np.float32)
            batch["duration"][: len(seen)] = [one.duration for one in seen]
        return batch

    def _frame_batch(self, seen: Sequence[MediaSample], size: int) -> dict:
        t, side = self.config.data.num_frames, self._image_size
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

    def _clip_batch(self, seen: Sequence[MediaSample], size: int) -> dict:
        """For features of an encoder over time: these are picked, not the frames."""
        t = self.config.data.num_frames
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


def finds_events(config: ConfigDict) -> bool:
    """Whether a config is of a model that finds events, rather than captions wholes."""
    return config.data.task == "dense"


def load(workdir: str | Path, **decode) -> Predictor:
    """The trained model of a workdir, with the weights of its best evaluation.

    Args:
      decode: decoding options that differ from the config's, such as num_beams=1.

    Raises:
      FileNotFoundError: there is no trained model in the folder.
    """
    return Predictor(workdir, **decode)


__all__ = ["Caption", "MediaError", "Predictor", "LocalizedVideo", "finds_events", "load"]
