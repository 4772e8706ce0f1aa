"""Explanations: a caption, its words, and heat maps of what each word was written from.

w: targets of maps, that is the words of a caption in order and then the whole caption; t: frames, or groups of frames;
rows, columns: of a map's grid.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np
from jaxtyping import Float, Float32

from capjax.data.media_file import MediaError
from capjax.files import read_bytes, read_json, write_bytes, write_text
from capjax.metrics.json_types import between

# Files of a saved explanation.
ARRAYS, DESCRIPTION = "maps.npz", "explanation.json"
_REMEDY = "run `capjax explain` again"


@dataclass(frozen=True)
class Word:
    """A word of a caption.

    Attributes:
      text: as it is written in the caption.
      start, end: its characters in the caption.
      tokens: (first, end) of its tokens among the tokens of the caption.
      log_prob: natural logarithm of the probability of its tokens, each given those before it.
    """

    text: str
    start: int
    end: int
    tokens: tuple[int, int]
    log_prob: float = float("nan")


@dataclass(frozen=True)
class Geometry:
    """The part of a picture that the grid of a map covers, in pixels of the upright picture at its own size.

    The scaling, and where there is one the crop, of the view that the model saw is undone here.

    Attributes:
      width, height: of the picture.
      box: (x0, y0, x1, y1) of the grid; it may exceed the picture.
    """

    width: int
    height: int
    box: tuple[float, float, float, float]

    @classmethod
    def whole(cls, width: int, height: int) -> "Geometry":
        """A grid that covers the whole picture."""
        return cls(width, height, (0.0, 0.0, float(width), float(height)))

    def centers(self, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns x of the columns' centers and y of the rows' centers, in pixels."""
        x0, y0, x1, y1 = self.box
        x = x0 + (np.arange(columns) + 0.5) * (x1 - x0) / columns
        y = y0 + (np.arange(rows) + 0.5) * (y1 - y0) / rows
        return x, y

    def resized(self, width: int, height: int) -> "Geometry":
        """Returns the same part of the picture at another size."""
        x0, y0, x1, y1 = self.box
        by_x, by_y = width / self.width, height / self.height
        return Geometry(width, height, (x0 * by_x, y0 * by_y, x1 * by_x, y1 * by_y))

    def resample(
        self, map: Float32[np.ndarray, "*t rows columns"], band: slice = slice(None)
    ) -> Float32[np.ndarray, "*t band width"]:
        """Returns the values at the pixels of the picture: bilinear between the centers of cells, constant beyond.

        Args:
          band: the rows of pixels to return.
        """
        x, y = self.centers(*map.shape[-2:])
        by_row = _interpolation(y, np.arange(self.height)[band] + 0.5)
        by_column = _interpolation(x, np.arange(self.width) + 0.5)
        return by_row @ map.astype(np.float32) @ by_column.T

    def peak(self, map: Float32[np.ndarray, "rows columns"]) -> tuple[float, float]:
        """Returns x and y, in pixels, of the largest value of `resample`, or of the middle of the area that has it."""
        centers = self.centers(*map.shape)
        # Between these points, the centers of cells as far as they lie in the picture, values are bilinear.
        x, y = (np.clip(each, 0, size) for each, size in zip(centers, (self.width, self.height), strict=True))
        values = _interpolation(centers[1], y) @ map @ _interpolation(centers[0], x).T
        largest = np.argwhere(values == values.max())
        row, column = largest[np.abs(largest - largest.mean(0)).sum(1).argmin()]
        return float(x[column]), float(y[row])


def _interpolation(
    centers: Float[np.ndarray, " cells"], pixels: Float[np.ndarray, " pixels"]
) -> Float32[np.ndarray, "pixels cells"]:
    """The weight of each cell in the value of each pixel, by their centers."""
    weights = np.zeros((len(pixels), len(centers)), np.float32)
    if len(centers) == 1:
        return weights + 1
    position = np.clip((pixels - centers[0]) / (centers[1] - centers[0]), 0, len(centers) - 1)
    low = np.minimum(position.astype(int), len(centers) - 2)
    weights[np.arange(len(pixels)), low] = low + 1 - position
    weights[np.arange(len(pixels)), low + 1] = position - low
    return weights


@dataclass(frozen=True)
class HeatMaps:
    """The maps of one method: for every word of a caption and for the whole caption, or for the whole caption alone.

    Attributes:
      values: the maps; of methods with a sign, negative where the picture speaks against the word.
      times: of the frames or groups of frames, in seconds; [0] for a photo.
      geometry: where the grid lies in the picture.
    """

    values: Float32[np.ndarray, "w t rows columns"]
    times: Float32[np.ndarray, " t"]
    geometry: Geometry

    def curve(self, target: int) -> Float32[np.ndarray, " t"]:
        """Returns the sum over the grid of each frame, for a word by its number, or -1 for the whole caption."""
        return self.values[target].sum((1, 2))


@dataclass(frozen=True)
class Explanation:
    """The caption of a photo or video, or of an event in a video, with maps of what its words were written from.

    Attributes:
      media: name of the photo or video.
      caption: the text; empty where `error` is set.
      lang: its language, BCP-47.
      given: the caption was given, and not written by the model.
      log_prob: natural logarithm of the caption's probability, with its end.
      words: of the caption, without punctuation.
      maps: by method.
      frames: JPEG files of the frames that the model saw: a photo upright at its own size, those of a video as stored.
      times: seconds of the frames.
      event: start and end in seconds, for the caption of an event.
      error: why the photo or video could not be read, or None.
    """

    media: str
    caption: str = ""
    lang: str = ""
    given: bool = False
    log_prob: float = float("nan")
    words: tuple[Word, ...] = ()
    maps: Mapping[str, HeatMaps] = field(default_factory=dict, compare=False, repr=False)
    frames: tuple[bytes, ...] = field(default=(), compare=False, repr=False)
    times: tuple[float, ...] = ()
    event: tuple[float, float] | None = None
    error: MediaError | None = field(default=None, compare=False)

    @property
    def is_video(self) -> bool:
        return len(self.frames) > 1 or self.event is not None

    def map(self, method: str, word: str | int | None = None) -> HeatMaps:
        """Returns the maps of a method with one target: a word, or the whole caption (None).

        Args:
          word: as it is written, in any case, of which the first is taken; or its number.

        Raises:
          ValueError: there is no such method or word; the message lists those that there are.
        """
        if method not in self.maps:
            raise ValueError(f"no maps of {method!r}; methods of this explanation: {', '.join(self.maps) or 'none'}")
        maps = self.maps[method]
        if word is None:
            return HeatMaps(maps.values[-1:], maps.times, maps.geometry)
        if len(maps.values) == 1:
            raise ValueError(f"{method} explains whole captions, and has no map of the word {word!r}")
        target = self.find(word)
        return HeatMaps(maps.values[target : target + 1], maps.times, maps.geometry)

    def find(self, word: str | int) -> int:
        """Returns the number of a word in the caption; see `map`."""
        if isinstance(word, int):
            if 0 <= word < len(self.words):
                return word
        else:
            for number, other in enumerate(self.words):
                if other.text.casefold() == word.casefold():
                    return number
        raise ValueError(
            f"{self.media}: the word {word!r} is not in the caption {self.caption!r}; its words: "
            f"{', '.join(other.text for other in self.words) or 'none'}"
        )


class _MapsJson(TypedDict):
    width: Annotated[int, between(1, 2**31)]
    height: Annotated[int, between(1, 2**31)]
    box: tuple[float, float, float, float]
    times: list[float]


class _WordJson(TypedDict):
    text: str
    start: int
    end: int
    tokens: tuple[int, int]
    log_prob: float


class ExplanationJson(TypedDict):
    """Contents of explanation.json."""

    media: str
    caption: str
    lang: str
    given: bool
    log_prob: float
    words: list[_WordJson]
    event: tuple[float, float] | None
    frames: list[str]
    times: list[float]
    maps: dict[str, _MapsJson]


def frame_names(count: int) -> list[str]:
    """Returns the names of the files that `save` writes frames to."""
    return [f"frame-{number:03}.jpg" for number in range(count)]


def save(explanation: Explanation, folder: Path):
    """Writes the maps (maps.npz, float32 [w, t, rows, columns] by method), words and geometry (explanation.json) and
    frames of an explanation into a folder, which exists."""
    arrays = io.BytesIO()
    values: dict[str, Any] = {name: maps.values for name, maps in explanation.maps.items()}
    np.savez_compressed(arrays, **values)
    write_bytes(folder / ARRAYS, arrays.getvalue())
    names = frame_names(len(explanation.frames))
    for name, frame in zip(names, explanation.frames, strict=True):
        write_bytes(folder / name, frame)
    description = {
        "media": explanation.media, "caption": explanation.caption, "lang": explanation.lang,
        "given": explanation.given, "log_prob": explanation.log_prob,
        "words": [asdict(word) for word in explanation.words], "event": explanation.event, "frames": names,
        "times": list(explanation.times),
        "maps": {
            name: {**asdict(maps.geometry), "times": maps.times.tolist()} for name, maps in explanation.maps.items()
        },
    }  # fmt: skip
    write_text(folder / DESCRIPTION, json.dumps(description, ensure_ascii=False, indent=1) + "\n")


def load(folder: Path) -> Explanation:
    """Reads what `save` wrote.

    Raises:
      FileNotFoundError, ValueError: a file is missing or damaged.
    """
    about: ExplanationJson = read_json(folder / DESCRIPTION, _REMEDY, ExplanationJson)
    path, maps = folder / ARRAYS, {}
    data = read_bytes(path, _REMEDY)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            for name, entry in about["maps"].items():
                geometry = Geometry(entry["width"], entry["height"], _four(entry["box"]))
                maps[name] = HeatMaps(arrays[name], np.asarray(entry["times"], np.float32), geometry)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}; {_REMEDY}") from error
    words = tuple(
        Word(word["text"], word["start"], word["end"], (word["tokens"][0], word["tokens"][1]), word["log_prob"])
        for word in about["words"]
    )
    for name, each in maps.items():
        targets = (1, len(words) + 1)
        if each.values.ndim != 4 or len(each.values) not in targets or each.values.shape[1] != len(each.times):
            raise ValueError(f"{path}: {name} has the shape {each.values.shape}, which does not fit {DESCRIPTION}")
    frames = tuple(read_bytes(folder / name, _REMEDY) for name in frame_names(len(about["frames"])))
    event = about["event"] and (float(about["event"][0]), float(about["event"][1]))
    return Explanation(
        about["media"], about["caption"], about["lang"], about["given"], about["log_prob"], words, maps, frames,
        tuple(about["times"]), event or None,
    )  # fmt: skip


def _four(box: Sequence[float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = map(float, box)
    return x0, y0, x1, y1
