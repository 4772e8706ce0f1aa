"""Deletion and insertion curves (Petsiuk et al. 2018, RISE): whether a model needs what a map marks.

Deletion hides the pixels of a photo in order of the map, the strongest first, behind the mean color; the faster the
score falls, the better the map. Insertion begins with a blurred photo and restores them in that order; the faster the
score rises, the better.

h, w: pixels of the picture that the model sees.
"""

from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from capjax.explain.explanation import HeatMaps
from capjax.explain.perturbed import PerturbedItem

# Standard deviation of the blur, as a share of the side of the picture: 5 of 224 pixels, as published.
_BLUR = 5 / 224


class Curves(NamedTuple):
    """Scores at evenly spaced shares of the pixels, from none to all.

    A score is the geometric mean of the probabilities of the tokens.
    """

    deletion: Float[np.ndarray, " points"]
    insertion: Float[np.ndarray, " points"]

    def areas(self) -> tuple[float, float]:
        """Returns the areas under the deletion curve, which is small for a good map, and the insertion curve, which is
        large."""
        share = np.linspace(0, 1, len(self.deletion))
        return float(np.trapezoid(self.deletion, share)), float(np.trapezoid(self.insertion, share))


def curves(
    item: PerturbedItem, maps: Mapping[str, HeatMaps], target: int = -1, *, steps: int = 10
) -> dict[str, Curves]:  # fmt: skip
    """Returns the curves of a word, or of the whole caption, of a photo for each map.

    Args:
      item: the photo.
      maps: by name, each with one target or with the words and the whole caption.
      target: the number of the word; -1: the whole caption.
      steps: number of parts in which the pixels are hidden and restored.
    """
    picture = item.shown[0]
    order = [pixel_order(each, target if len(each.values) > 1 else 0, picture.shape[:2]) for each in maps.values()]
    thresholds = np.arange(1, steps) / steps * picture[..., 0].size
    later = np.concatenate([rank >= thresholds[:, None, None] for rank in order])
    ends = np.broadcast_to(np.array([True, False])[:, None, None], (2, *later.shape[1:]))
    deletion = _scores(item, target, np.concatenate([later, ends]))
    insertion = _scores(item, target, np.concatenate([~later, ~ends]), blurred(picture))
    return {
        name: Curves(*(np.concatenate([[y[-2]], inner[number], [y[-1]]]) for y, inner in (
            (each, each[:-2].reshape(len(maps), steps - 1)) for each in (deletion, insertion))))
        for number, name in enumerate(maps)
    }  # fmt: skip


def most_visual_word(item: PerturbedItem) -> int:
    """Returns the number of the word whose log-probability falls most when the whole photo is hidden."""
    ends = np.array([True, False]).reshape(2, 1, 1, 1)
    whole, hidden = item.log_probs(ends.__getitem__, 2)
    return int((whole - hidden)[:-1].argmax())


def _scores(
    item: PerturbedItem, target: int, visible: Bool[np.ndarray, "p h w"],
    hidden: UInt8[np.ndarray, "h w 3"] | None = None,
) -> Float[np.ndarray, " p"]:  # fmt: skip
    log_probs = item.log_probs(lambda part: visible[part, None], len(visible), hidden, "curves")
    return np.exp(log_probs[:, target] / item.tokens[target])


def pixel_order(maps: HeatMaps, target: int, size: tuple[int, int]) -> Int[np.ndarray, "h w"]:
    """Returns the place of each pixel in the order of a map, from 0 for the largest value.

    Pixels of one value, such as those of a superpixel, are ordered by smooth noise: a scan in rows or single pixels at
    random would hide other patterns than a map does.

    Args:
      target: which of the maps.
      size: height and width of the picture that the model sees.
    """
    height, width = size
    values = maps.geometry.resized(width, height).resample(maps.values[target, 0])
    noise = cv2.resize(np.random.default_rng(0).random((7, 7), np.float32), (width, height))
    order = np.lexsort((noise.ravel(), -values.ravel()))
    place = np.empty(order.size, np.int64)
    place[order] = np.arange(order.size)
    return place.reshape(size)


def blurred(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Returns a picture in which details cannot be recognized."""
    return cv2.GaussianBlur(picture, (0, 0), _BLUR * max(picture.shape))
