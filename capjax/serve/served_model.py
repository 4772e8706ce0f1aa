"""A model that answers requests, with a known set of decoding options, all compiled before the first request."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from capjax.data.media_reader import MediaSample
from capjax.decode.results import Caption, Event
from capjax.predict.predictor import Predictor
from capjax.serve.errors import ApiError, bad_request
from capjax.serve.model_thread import BatchProgram

# Sizes of batches of photos, those that `MediaBatcher` pads to.
_BATCH_SIZES = (1, 8, 32)
# Windows of one video in a batch, as in `Predictor.localize`.
WINDOW_BATCH_SIZE = 8


@dataclass(frozen=True)
class ModelSource:
    """Where a served model comes from, and what requests may choose.

    Attributes:
      name: as requests and answers call it.
      workdir: folder of a training run.
      export: folder of its SavedModel, which then computes the answers; None: the model of the workdir.
      decode: decoding options that differ from the config's.
      num_beams: further numbers of beams that requests may choose.
      max_len: further lengths that requests may choose.
    """

    name: str
    workdir: Path
    export: Path | None = None
    decode: tuple[tuple[str, Any], ...] = ()
    num_beams: tuple[int, ...] = ()
    max_len: tuple[int, ...] = ()


@dataclass(frozen=True)
class DecodeChoice:
    """Checked decoding options of a request."""

    lang: str
    num_beams: int
    max_len: int
    seed: int
    num_captions: int


class ServedModel:
    """A loaded model. The constructor loads it; `warm_up` compiles its programs.

    Attributes:
      source: where it comes from.
      step: training step of the checkpoint.
      predictor: the loaded workdir.
      dense: the model finds events in videos.
      samples: captions are drawn at random, by a seed.
      takes_videos: the model was trained on videos.
    """

    def __init__(self, source: ModelSource):
        self.source = source
        # A constraint on all captions of a corpus has no meaning for single requests.
        self.predictor = Predictor(source.workdir, **{**dict(source.decode), "attribute_shares": ""})
        self.step, self.dense = self.predictor.step, self.predictor.dense
        parts = self.predictor.parts()
        self._options, self._make_batch = parts.generator.options, parts.make_batch
        self.takes_videos = parts.videos
        self._export = _load_export(source.export, self.predictor) if source.export else None
        if self._export:
            self._options = self._export.config.decode
        self.samples = self._options.method == "sample"
        self.num_beams = _allowed(self._options.num_beams, source.num_beams, self._options.method)
        self.max_len = _allowed(self._options.max_len, source.max_len, "")
        self._seconds: dict[tuple[int, int], dict[int, float]] = {}

    # ---- What requests may choose

    def choose(
        self, *, lang: str | None = None, num_beams: int | None = None, max_len: int | None = None, seed: int = 0,
        num_captions: int = 1,
    ) -> DecodeChoice:  # fmt: skip
        """Returns the options of a request; None is the model's default.

        Raises:
          ApiError: an option that the model does not have, or for which nothing is compiled.
        """
        try:
            lang = self.predictor.language(lang)
        except ValueError as error:
            raise bad_request("unknown_language", str(error)) from error
        num_beams = _one_of("beams", num_beams, self.num_beams)
        max_len = _one_of("max_len", max_len, self.max_len)
        most = 1 if self._export or num_beams == 1 else num_beams
        if not 1 <= num_captions <= most:
            raise bad_request(
                "unknown_option",
                f"n = {num_captions}: with beams = {num_beams} this server writes 1 to {most} captions",
            )
        return DecodeChoice(lang, num_beams, max_len, seed if self.samples else 0, num_captions)

    # ---- Captions

    def program(self, choice: DecodeChoice) -> BatchProgram:
        """Returns the function that captions a batch of samples with these options."""
        seconds = self._seconds[choice.num_beams, choice.max_len]
        if self.samples:
            # The random numbers of a row depend on its place in the batch: each photo is a batch of its own.
            seconds = {1: seconds[1]}
        return BatchProgram((id(self), choice), lambda samples: self.caption(samples, choice), seconds)

    def caption(self, samples: Sequence[MediaSample], choice: DecodeChoice) -> list[Caption]:
        """Returns the captions of a batch of photos or videos."""
        if self._export:
            return self._export.captions({}, {}, self._make_batch(samples), choice.lang)[: len(samples)]
        return self.predictor.caption_samples(
            samples, lang=choice.lang, seed=choice.seed, num_captions=choice.num_captions, **self._decode(choice)
        )

    def event_finder(self, choice: DecodeChoice) -> Callable[[list[MediaSample]], Sequence[list[Event]]]:
        """Returns the function that finds the events of one batch of windows of a video after another."""
        if self._export:
            export = self._export
            return lambda samples: export.events({}, {}, self._make_batch(samples), choice.lang)[: len(samples)]
        return self.predictor.event_finder(lang=choice.lang, seed=choice.seed, **self._decode(choice))

    def _decode(self, choice: DecodeChoice) -> dict[str, Any]:
        if choice.num_beams == self.num_beams[0]:
            return {"max_len": choice.max_len}
        # A search with one beam is greedy, whichever method the config has; several beams need beam search.
        method = "greedy" if choice.num_beams == 1 else "beam"
        return {"max_len": choice.max_len, "num_beams": choice.num_beams, "method": method}

    # ---- Compilation

    def warm_up(self, run: Callable[[Callable[[], Any]], Any]):
        """Compiles the programs of all choices and batch sizes, and measures those for photos.

        Args:
          run: runs a function in the thread of the model.
        """
        sample = self._sample()
        for num_beams, max_len in itertools.product(self.num_beams, self.max_len):
            choice = self.choose(num_beams=num_beams, max_len=max_len)
            if self.dense:
                find_events = self.event_finder(choice)
                for size in (1, WINDOW_BATCH_SIZE):
                    run(partial(find_events, [sample] * size))
                continue
            seconds: dict[int, float] = {}
            for size in (1,) if self.samples else _BATCH_SIZES:
                for num_frames in self._make_batch.frame_counts[1:]:  # of videos, with `data.buckets`
                    run(partial(self.caption, [_with_frames(sample, num_frames)] * size, choice))
                call = partial(self.caption, [sample] * size, choice)
                run(call)
                seconds[size] = min(_seconds_of(partial(run, call)) for _ in range(2))
            self._seconds[num_beams, max_len] = seconds

    def _sample(self) -> MediaSample:
        """A gray photo, or a video of one frame."""
        sample = self.predictor.read(Image.new("RGB", (64, 64), (128, 128, 128)))
        return MediaSample(sample.frames, np.zeros(1, np.float32), duration=1.0) if self.dense else sample


def _with_frames(photo: MediaSample, num_frames: int) -> MediaSample:
    return MediaSample(photo.frames * num_frames, np.arange(num_frames, dtype=np.float32), duration=float(num_frames))


def _load_export(directory: Path, predictor: Predictor):
    from capjax.export.saved_model_generator import SavedModelGenerator  # TensorFlow, of the extra `export`

    export = SavedModelGenerator(directory)
    export.check(predictor.config)
    if export.step != predictor.step:
        raise ValueError(
            f"{directory} was exported at step {export.step}, and the workdir's best checkpoint is of step "
            f"{predictor.step}; export again"
        )
    return export


def _allowed(default: int, further: Sequence[int], method: str) -> tuple[int, ...]:
    """The choices of an option, the default first."""
    if method == "greedy":
        default = 1
    return tuple(dict.fromkeys((default, *further)))


def _one_of(name: str, value: int | None, allowed: Sequence[int]) -> int:
    if value is None:
        return allowed[0]
    if value not in allowed:
        choices = ", ".join(map(str, sorted(allowed)))
        raise bad_request("unknown_option", f"{name} = {value}: this server has {choices}")
    return value


class Models:
    """The models of a server by name; the first is the default.

    Attributes:
      sources: where they come from.
    """

    def __init__(self, sources: Sequence[ModelSource]):
        self.sources = tuple(sources)
        self._models: dict[str, ServedModel] = {}

    @property
    def ready(self) -> bool:
        """Whether all models are loaded and compiled."""
        return len(self._models) == len(self.sources)

    @property
    def all(self) -> Mapping[str, ServedModel]:
        """The models that are ready, by name."""
        return self._models

    def put(self, model: ServedModel):
        """Adds a model, or replaces the one of its name."""
        self._models = {**self._models, model.source.name: model}

    def get(self, name: str | None) -> ServedModel:
        """Returns a model; None is the first.

        Raises:
          ApiError: there is none of this name, or it is not ready.
        """
        names = [source.name for source in self.sources]
        name = name or names[0]
        if name not in names:
            raise ApiError(404, "unknown_model", f"no model {name!r:.60}; this server has {', '.join(names)}")
        if name not in self._models:
            raise ApiError(503, "not_ready", f"the model {name} is being loaded; try again soon", {"Retry-After": "5"})
        return self._models[name]


def _seconds_of(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
