"""Finds objects of COCO's 80 categories in photos, with the weights that `capjax import` converted."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, UInt8

from capjax.digests import sha256_of
from capjax.metrics.cache import cache_dir
from capjax.metrics.objects import COCO_OBJECTS
from capjax.models.centernet import SIZE, Peaks, find_peaks
from capjax.models.pretrained import centernet

# In the order of COCO's numbers, which is that of the network's heat maps.
CATEGORIES = tuple(COCO_OBJECTS)
# Peaks of an image, as in the published network.
_PEAKS = 100
_BATCH = 4


class Detection(NamedTuple):
    """An object in a photo: its category, its box (x0, y0, x1, y1) as fractions of width and height, and its score."""

    category: str
    box: tuple[float, float, float, float]
    score: float


def default_weights() -> Path:
    """Returns the file that `capjax import` writes unless it is given another."""
    return cache_dir() / "detector.safetensors"


class Detector:
    """The detector with its weights.

    Attributes:
      digest: SHA-256 of the file of the weights, in hexadecimal.
    """

    def __init__(self, path: Path):
        """Loads the weights of a file that `capjax import` wrote.

        Raises:
          FileNotFoundError: there is no such file.
          WeightsError: it is damaged, or not such a file.
        """
        graph, self._weights = nnx.split(centernet.load(path))
        self.digest = sha256_of(path)

        @jax.jit
        def peaks(weights: nnx.State, images: UInt8[Array, "b h w 3"]) -> Peaks:
            return find_peaks(nnx.merge(graph, weights)(images), _PEAKS)

        self._peaks = peaks

    def detect(
        self, images: Iterable[UInt8[np.ndarray, "512 512 3"]], *, least_score: float
    ) -> Iterator[list[Detection]]:
        """Yields the objects of each image, in descending order of their scores and at most 100.

        Args:
          images: RGB, the whole photo squashed to a square (`capjax.data.transforms.view`).
          least_score: objects below it are left out.
        """
        batch: list[np.ndarray] = []
        for image in images:
            batch.append(image)
            if len(batch) == _BATCH:
                yield from self._detect(batch, least_score)
                batch = []
        if batch:
            yield from self._detect(batch, least_score)

    def _detect(self, images: list[np.ndarray], least_score: float) -> Iterator[list[Detection]]:
        # Of one shape, so that one program serves all.
        stacked = np.stack([*images, *[images[0]] * (_BATCH - len(images))])
        boxes, scores, categories = map(np.asarray, self._peaks(self._weights, stacked))
        boxes = np.clip(boxes / SIZE, 0, 1)
        for row in range(len(images)):
            objects = zip(boxes[row].tolist(), scores[row].tolist(), categories[row].tolist(), strict=True)
            yield [
                Detection(CATEGORIES[category], (x0, y0, x1, y1), score)
                for (x0, y0, x1, y1), score, category in objects
                if score >= least_score and x0 < x1 and y0 < y1
            ]
