"""A workdir to captions: `capjax.load(workdir).caption(images)`.

A raw photo takes the very path that training data took: RGB JPEG with its short side reduced, then the evaluation
view, then the encoder. So a caption here is the caption that evaluation scored.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from capjax.data.photo import MediaError, MediaSettings, to_jpeg
from capjax.data.transforms import view
from capjax.evals.generate import Generator
from capjax.models.build import make_encoder, make_functional
from capjax.text.vocabulary import Vocabulary
from capjax.train.checkpoint import check_weights, load_weights
from capjax.train.workdir import Workdir

# Batches are padded up to one of these sizes, so that few programs are compiled whatever comes in.
_SIZES = (1, 8, 32)


@dataclass(frozen=True)
class Caption:
    """What the model says of one picture. `score` is the length-normalised log-probability."""

    text: str
    lang: str
    score: float


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
                self._functional, self._vocabulary, options, self._files.neighbours(options)
            )
        return self._generators[key]

    def caption(
        self, images: Iterable, *, lang: str | None = None, batch_size: int = 32, seed: int = 0, **decode
    ) -> list[Caption]:
        """One caption a picture, in order.

        Args:
          images: paths, bytes of image files, PIL images, or uint8 arrays [h, w, 3].
          lang: one of `languages`; None: the first.
          decode: decoding options of this call, such as beams=1 or method="sample", max_len=20.

        Raises:
          MediaError: an image cannot be read; the message names it.
          ValueError: a language or an option that the model does not have.
        """
        out: list[Caption] = []
        jpegs: list[bytes] = []
        for image in images:
            jpegs.append(self.read(image))
            if len(jpegs) == batch_size:
                out += self.caption_jpegs(jpegs, lang=lang, seed=seed, **decode)
                jpegs = []
        return out + (self.caption_jpegs(jpegs, lang=lang, seed=seed, **decode) if jpegs else [])

    def read(self, image) -> bytes:
        """An image of any form that `caption` takes, as the JPEG that a record would hold.

        Raises:
          MediaError: it cannot be read; the message names a file.
        """
        try:
            return to_jpeg(image, MediaSettings(max(256, self._image_size)))
        except MediaError as error:
            if not isinstance(image, str | Path) or str(image) in str(error):
                raise
            raise MediaError(error.kind, f"{image}: {error}") from error

    def caption_jpegs(
        self, jpegs: Sequence[bytes], *, lang: str | None = None, seed: int = 0, **decode
    ) -> list[Caption]:
        """Captions of JPEGs made by `read`, in one batch."""
        lang = lang or self.languages[0]
        if lang not in self.languages:
            raise ValueError(f"this model writes {', '.join(self.languages)}; it was not trained on {lang!r}")
        generator = self._generator(**decode)
        size = next((size for size in _SIZES if size >= len(jpegs)), len(jpegs))
        frames = np.zeros((size, 1, self._image_size, self._image_size, 3), np.uint8)
        for row, jpeg in enumerate(jpegs):
            view(jpeg, self._image_size, out=frames[row, 0])
        batch = {"frame_times": np.zeros((size, 1), np.float32), "frame_mask": np.ones((size, 1), bool)}
        if self._extract:
            batch["features"] = self._extract(frames)
        else:
            batch["frames"] = frames
        texts, scores = generator(self._params, self._stats, batch, lang, key=jax.random.key(seed))
        return [
            Caption(text, lang, float(score))
            for text, score in zip(texts[: len(jpegs)], scores[: len(jpegs)], strict=True)
        ]


class _Extractor:
    """The frozen encoder whose features the model was trained on, from a workdir's `encoder/`."""

    def __init__(self, directory: Path):
        from safetensors.numpy import load_file

        about = json.loads((directory / "encoder.json").read_text())
        self.image_size = about["image_size"]
        functional = make_encoder(about["encoder"], image_size=self.image_size, options=about.get("options"))
        weights = load_file(directory / "encoder.safetensors")
        self._params = {name: weights[name] for name in functional.shapes}
        self._stats = {name: weights[name] for name in functional.stat_shapes}

        def extract(params, stats, frames):
            b, t = frames.shape[:2]
            grid = functional.bind(params, stats)(frames.reshape(b * t, *frames.shape[2:]), train=False)
            # Features are stored as float16: the model has never seen more digits.
            return grid.reshape(b, t, -1, grid.shape[-1]).astype(np.float16)

        self._extract = jax.jit(extract)

    def __call__(self, frames):
        return self._extract(self._params, self._stats, frames)


def load(workdir: str | Path, **decode) -> Predictor:
    """The trained model of a workdir, with the weights of its best evaluation.

    Args:
      decode: decoding options that differ from the config's, such as beams=1.

    Raises:
      FileNotFoundError: there is no trained model in the folder.
    """
    return Predictor(workdir, **decode)


__all__ = ["Caption", "MediaError", "Predictor", "load"]
