"""Prediction: `capjax.load(workdir).caption(media)`, and for models that find events `.events(videos)`.

A raw photo or video takes the same path as the training data: frames at the same rate, RGB JPEG with its short side
reduced, the evaluation view, the encoder. So a caption here equals the caption that evaluation scores.
"""

import itertools
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from PIL import Image

from capjax._deprecated import OldName
from capjax.config.aliases import OLD_NAMES
from capjax.config.defaults import SETTINGS, flatten
from capjax.config.validation import check_attribute_shares
from capjax.data.media_reader import MediaReader, MediaSample
from capjax.data.photo import MediaSettings
from capjax.data.windows import WindowSettings
from capjax.decode.generator import Generator
from capjax.decode.results import Caption, Event
from capjax.metrics.messages import noting
from capjax.models.frozen_encoder import FrozenEncoder
from capjax.models.pure_model import Arrays, PureModel
from capjax.parallel.sharding_rules import ShardingRules
from capjax.plugins import import_plugins
from capjax.predict.group_captions import captions_of_groups
from capjax.predict.localize import LocalizedVideo, localize
from capjax.predict.media_batch import MediaBatch, MediaBatcher, batches_of_groups, check_same_among_processes
from capjax.text.vocabulary import Vocabulary
from capjax.workdir.checkpoint import check_weights, load_weights
from capjax.workdir.layout import Workdir

# For datasets that were prepared before these were recorded: frames per second; seconds of a window and of an overlap.
_FPS, _WINDOW, _OVERLAP = 2.0, 512.0, 5.0


@dataclass(frozen=True)
class Parts:
    """The components of a loaded model, as export needs them.

    Attributes:
      generator: decodes batches with `pure_model`, `params` and `batch_stats`.
      pure_model: the model as pure functions.
      params: its parameters.
      batch_stats: its batch statistics.
      videos: the model takes videos, or was trained on videos; otherwise it takes photos only.
      extractor: the frozen encoder of a model that takes features, or None.
      image_size: side in pixels of the encoder's input.
      picture: how a photo is stored before the encoder sees it.
      make_batch: makes the inputs of the model of samples.
      windows: how the model divides videos in which it finds events.
    """

    generator: Generator
    pure_model: PureModel
    params: Arrays
    batch_stats: Arrays
    videos: bool
    extractor: FrozenEncoder | None
    image_size: int
    picture: MediaSettings
    make_batch: MediaBatcher
    windows: WindowSettings


class Predictor:
    """A trained model, ready to caption. Made by `load`.

    Attributes:
      config: config of the training run.
      languages: languages that the model writes.
      step: training step of the checkpoint.
      feature_shape: (rows, columns, channels) of the features that the model takes; None if it takes pictures.
      dense: the model finds events in videos; otherwise it captions whole photos and videos.
      reader: reads photos and videos as the model's training data were read.
      derived: what other packages make of this model once, such as compiled programs, by its class.
    """

    def __init__(self, workdir: str | Path, config: ConfigDict | None = None, *, mesh: Mesh | None = None, **decode):
        """Loads the model.

        Args:
          workdir: folder of a training run.
          config: that of the workdir, if it is loaded already.
          mesh: the devices to use, see `capjax.parallel.mesh`; None: the first device.
          **decode: decoding options that differ from the config's.
        """
        self._workdir = files = Workdir(workdir)
        self.config: ConfigDict = files.config() if config is None else config
        self.languages = tuple(self.config.data.languages)
        self.dense = finds_events(self.config)
        self._vocabulary = Vocabulary.load(files.vocabulary_path)
        self.step, self._params, self._batch_stats = load_weights(files.path)
        extractor = FrozenEncoder.load(files.encoder_dir) if self.config.data.features else None
        self.feature_shape = files.feature_shape()
        self._pure_model = files.pure_model(self.config, vocab=self._vocabulary.size)
        shapes = self._pure_model.shapes | self._pure_model.batch_stat_shapes
        check_weights(files.path, shapes, {**self._params, **self._batch_stats})
        self._rules = ShardingRules(mesh, self.config.mesh.logical_axis_rules) if mesh is not None else None
        if self._rules:
            self._place_weights(self._rules, extractor)
        image_size = extractor.image_size if extractor else self.config.data.image_size
        num_frames = self.config.data.num_frames
        self._batch = MediaBatcher(
            num_frames, image_size, extractor, dense=self.dense, buckets=self.config.data.buckets, rules=self._rules
        )
        media = files.media()
        self._picture = MediaSettings(media.get("short_side", max(256, image_size)), media.get("quality", 95))
        # An encoder over time sees all frames, and some of its features are picked.
        max_frames = sys.maxsize if extractor and extractor.over_time else num_frames
        self.reader = MediaReader(self._picture, media.get("fps", _FPS), max_frames)
        self._windows = WindowSettings(
            media.get("window", _WINDOW), media.get("overlap", _OVERLAP), media.get("longest", 0.0)
        )
        self._generators: dict[tuple[str, bool], Generator] = {}
        self.derived: dict[type, Any] = {}
        self._decode = decode
        self._generator()

    def _place_weights(self, rules: ShardingRules, extractor: FrozenEncoder | None):
        """Puts the weights onto the devices of a mesh."""
        placed = rules.params(self._pure_model.shapes, self._pure_model.axes)
        self._params = {name: jax.device_put(np.asarray(x), placed[name]) for name, x in self._params.items()}
        self._batch_stats = _replicated(self._batch_stats, rules)
        if extractor:
            extractor.params = _replicated(extractor.params, rules)
            extractor.batch_stats = _replicated(extractor.batch_stats, rules)

    @property
    def spans_processes(self) -> bool:
        """Whether several processes compute each batch together. All of them then make the same calls."""
        return self._batch.spans_processes

    def parts(self, **decode) -> Parts:
        """Returns the components of the model, with these decoding options.

        Raises:
          ValueError: an option that the model does not have.
        """
        return Parts(
            self._generator(**decode), self._pure_model, self._params, self._batch_stats,
            self.config.data.num_frames > 1 or self.dense or self._windows.longest > 0, self._batch.extractor,
            self._batch.image_size, self._picture, self._batch, self._windows,
        )  # fmt: skip

    def _generator(self, *, attention: bool = False, **decode) -> Generator:
        """The generator for these decoding options; each is made once."""
        options = ConfigDict(self.config.decode.to_dict())
        for name, value in (self._decode | decode).items():
            if new_name := OLD_NAMES.get(f"decode.{name}"):
                new_name = new_name.removeprefix("decode.")
                warnings.warn(f"the decoding option {name!r} is now {new_name!r}", DeprecationWarning, stacklevel=3)
                name = new_name
            if name not in options:
                raise ValueError(f"unknown decoding option {name!r}; expected one of {', '.join(options)}")
            options[name] = value
        for name, value in options.items():
            if check := SETTINGS[f"decode.{name}"].check:
                check(f"decode.{name}", value)
        if options.attribute_shares:
            check_attribute_shares(flatten(self.config) | {f"decode.{name}": options[name] for name in options})
        key = options.to_json(sort_keys=True), attention
        if key not in self._generators:
            self._generators[key] = Generator(
                self._pure_model, self._vocabulary, options, self.config.data, self._workdir.neighbors(options),
                rules=self._rules, xla_options=self.config.eval.xla_options, return_attention=attention,
                attribute_shares=self._workdir.attribute_shares(options, self.config),
            )  # fmt: skip
        return self._generators[key]

    def language(self, lang: str | None) -> str:
        """Returns a language that the model writes; None is the first.

        Raises:
          ValueError: the model was not trained on it.
        """
        lang = lang or self.languages[0]
        if lang not in self.languages:
            raise ValueError(f"this model writes {', '.join(self.languages)}; it was not trained on {lang!r}")
        return lang

    # ---- Captions of whole photos and videos

    def caption(
        self, media: Iterable, *, lang: str | None = None, batch_size: int = 32, seed: int = 0,
        attention: bool = False, num_captions: int = 1, **decode,
    ) -> list[Caption]:  # fmt: skip
        """Returns one caption (or summary, if the model was trained on summaries) per photo or video, in order.

        A photo or video that cannot be read does not affect the others: its caption has an `error` and an empty text.
        The plain texts are `[caption.text for caption in model.caption(media)]`.

        Args:
          media: photos and videos: paths, bytes of files, PIL images, or arrays of pixels, see
            `capjax.data.photo.photo_source`; or records with frames.
          lang: one of `languages`; None: the first.
          batch_size: largest number of photos or videos in a batch.
          seed: seed of sampling.
          attention: return the attention with which each token was chosen, see `Caption`.
          num_captions: each caption carries the next best as `alternatives`, up to this many in all; at most the
            number of beams or samples.
          **decode: decoding options of this call, such as `num_beams=1` or `method="sample", max_len=20`; others are
            those given to `load`, or else the config's.

        Raises:
          TypeError: `media` is one photo or video instead of several.
          ValueError: a language or an option that the model does not have, or the model finds events.
        """
        self._check_captions(batch_size)
        _check_media(media)
        lang, generator = self.language(lang), self._generator(attention=attention, **decode)
        check_num_captions(num_captions, generator.options)
        (captions,) = self._caption_groups([media], [lang], generator, batch_size, seed, num_captions)
        return [caption for (caption,) in captions]

    def caption_groups(
        self, groups: Iterable[Iterable], languages: Sequence[str], *, batch_size: int = 32, seed: int = 0,
        num_captions: int = 1, **decode,
    ) -> Iterator[list[tuple[Caption, ...]]]:  # fmt: skip
        """Yields for each group of media the captions of each photo or video, one in each language.

        A batch holds media of one group, so a caption depends on its group alone. Media are read ahead of the model,
        across groups. Photos and videos, and with `data.buckets` videos of different numbers of frames, are batched
        separately.

        Args:
          groups: of media as `caption` takes them, or functions without arguments that return one of these or raise
            MediaError.
          languages: of `languages`.
          batch_size, seed, num_captions, **decode: as in `caption`.

        Raises:
          ValueError: as in `caption`.
        """
        self._check_captions(batch_size)
        languages, generator = [self.language(lang) for lang in languages], self._generator(**decode)
        check_num_captions(num_captions, generator.options)
        return self._caption_groups(groups, languages, generator, batch_size, seed, num_captions)

    def _check_captions(self, batch_size: int):
        _check_batch_size(batch_size)
        if self.dense:
            raise ValueError("this model was trained to find events in videos, not to caption wholes; use events()")

    def _caption_groups(
        self, groups: Iterable[Iterable], languages: Sequence[str], generator: Generator, batch_size: int, seed: int,
        num_captions: int,
    ) -> Iterator[list[tuple[Caption, ...]]]:  # fmt: skip
        """See `caption_groups`."""

        def captions(batch: MediaBatch) -> Iterator[tuple[Caption, ...]]:
            inputs: Mapping[str, Any] = batch.inputs
            if len(languages) > 1:
                inputs = generator.encode(self._params, self._batch_stats, inputs)
            by_language = [
                generator.captions(
                    self._params, self._batch_stats, inputs, lang, key=jax.random.key(seed), num_captions=num_captions
                )
                for lang in languages
            ]
            return zip(*by_language, strict=True)

        results = batches_of_groups(groups, self._read_or_call, self._batch, batch_size)
        return captions_of_groups(results, captions, languages, generator.attribute_shares)

    def _read_or_call(self, media) -> MediaSample:
        return self.read(media() if callable(media) else media)

    def caption_samples(
        self, samples: Sequence[MediaSample], *, lang: str | None = None, seed: int = 0, num_captions: int = 1, **decode
    ) -> list[Caption]:  # fmt: skip
        """Returns the captions of one batch of photos or videos that were read already; arguments as in `caption`.

        With `decode.attribute_shares`, captions carry the alternatives among which `caption` chooses.
        """
        return self._caption_samples(self._generator(**decode), samples, self.language(lang), seed, num_captions)

    def _caption_samples(
        self, generator: Generator, samples: Sequence[MediaSample], lang: str, seed: int, num_captions: int
    ) -> list[Caption]:  # fmt: skip
        decoded = generator.captions(
            self._params, self._batch_stats, self._batch(samples), lang, key=jax.random.key(seed),
            num_captions=num_captions,
        )  # fmt: skip
        return decoded[: len(samples)]  # the batch ends with padding

    def read(self, media) -> MediaSample:
        """Reads a photo or video in any form that `caption` takes, as a record would hold it.

        Raises:
          MediaError: the photo or video cannot be read; the message names the file.
        """
        with noting(media if isinstance(media, str | Path) else f"a photo given as {type(media).__name__}"):
            return self.reader.read(media)

    # ---- Events in videos

    def events(self, media: Iterable, **options) -> list[LocalizedVideo]:
        """Returns the events of each video; `localize` as a list.

        Each result is a sequence of events in order of start. A video that cannot be read does not affect the others:
        its result has an `error` and no events.

        Args:
          media, **options: as `localize`.
        """
        return list(self.localize(media, **options))

    def localize(
        self, media: Iterable, *, lang: str | None = None, window: float | None = None,
        overlap: float | None = None, batch_size: int = 8, seed: int = 0, attention: bool = False,
        progress: Callable[[float, float], None] | None = None, **decode,
    ) -> Iterator[LocalizedVideo]:  # fmt: skip
        """Yields the duration and the events of each video, in order, or the error where a video cannot be read.

        A video longer than the training videos is divided into overlapping windows; memory does not grow with its
        length.

        Args:
          media: paths of videos, their bytes, or records, see `capjax.predict.localize.localize`.
          lang: as in `caption`.
          window: seconds of a window; None: as in training.
          overlap: seconds that a window shares with the next; None: as in training.
          batch_size: largest number of windows in a batch.
          seed: seed of sampling.
          attention: return the attention with which each token was chosen, see `Event`.
          progress: called with the seconds of video read so far, and the total seconds of the files opened so far.
          **decode: as in `caption`.

        Raises:
          TypeError: `media` is one video instead of several.
          ValueError: a language, window or option that the model does not have, or the model finds no events.
        """
        if not self.dense:
            raise ValueError(
                f"this model was trained on {self.config.data.task} (data.task), and finds no events; use caption()"
            )
        _check_batch_size(batch_size)
        _check_media(media)
        find_events = self.event_finder(lang=lang, seed=seed, attention=attention, **decode)
        windows = self.windows(window, overlap)

        def open_video(video) -> tuple[float, Iterator[MediaSample]]:
            return self.reader.open_windows(video, windows)

        return localize(media, open_video, find_events, batch_size=batch_size, progress=progress)

    def windows(self, window: float | None = None, overlap: float | None = None) -> WindowSettings:
        """Returns how videos are divided, with another length or overlap of windows if given; see `localize`."""
        return self._windows.override(window, overlap)

    def event_finder(
        self, *, lang: str | None = None, seed: int = 0, attention: bool = False, **decode
    ) -> Callable[[list[MediaSample]], list[list[Event]]]:  # fmt: skip
        """Returns the function that finds the events of one batch of windows after another; arguments as in
        `localize`."""
        lang, generator = self.language(lang), self._generator(attention=attention, **decode)
        batch_numbers = itertools.count()

        def find_events(samples: list[MediaSample]) -> list[list[Event]]:
            if self.spans_processes:
                check_same_among_processes([[sample.start, *sample.times.tolist()] for sample in samples])
            batch, key = self._batch(samples), jax.random.fold_in(jax.random.key(seed), next(batch_numbers))
            return generator.events(self._params, self._batch_stats, batch, lang, key=key)[: len(samples)]

        return find_events

    watch = OldName("localize")


def _replicated(weights: Arrays, rules: ShardingRules) -> Arrays:
    return {name: jax.device_put(np.asarray(value), rules.replicated) for name, value in weights.items()}


def _check_media(media):
    # An array [h, w, c] would be taken for its rows.
    is_picture = isinstance(media, Image.Image) or (
        isinstance(media, np.ndarray | jax.Array) and (media.ndim < 3 or (media.ndim == 3 and media.shape[-1] <= 4))
    )
    if isinstance(media, str | bytes | Path) or is_picture:
        raise TypeError(f"expected several photos or videos, such as a list; found one {type(media).__name__}")


def _check_batch_size(batch_size: int):
    if batch_size < 1:
        raise ValueError(f"batch_size = {batch_size}: expected 1 or more")


def check_num_captions(num_captions: int, options: ConfigDict):
    """Raises ValueError unless a search with these decoding options has this many captions of one item."""
    largest = 1 if options.method == "greedy" or options.attribute_shares else options.num_beams
    if not 1 <= num_captions <= largest:
        raise ValueError(
            f"{num_captions} captions per item: with method={options.method!r}, num_beams={options.num_beams} and "
            f"attribute_shares={options.attribute_shares!r} there are 1 to {largest}"
        )


def finds_events(config: ConfigDict) -> bool:
    """Returns whether the model of a config finds events, instead of captioning whole photos and videos."""
    return config.data.task == "dense"


def load(workdir: str | Path, *, plugins: Sequence[str] = (), mesh: Mesh | None = None, **decode) -> Predictor:
    """Loads the trained model of a workdir, with the weights of its best evaluation.

    Args:
      workdir: folder of a training run.
      plugins: modules to import first: those of the run's config that are not installed as entry points.
      mesh: the devices to use, see `capjax.parallel.mesh`; None: the first device.
      **decode: decoding options that differ from the config's, such as `num_beams=1`.

    Raises:
      FileNotFoundError: there is no trained model in the folder.
      ConfigError, PluginError: the run needs a plug-in that is not named, or a plug-in cannot be imported.
    """
    import_plugins(plugins)
    with noting(f"the workdir {workdir}"):
        return Predictor(workdir, mesh=mesh, **decode)
