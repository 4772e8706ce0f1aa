"""Finds photos of one split that are nearly the same as photos of another: resized, recompressed, slightly cropped.

The perceptual hash of a photo is its thumbnail of 8 x 8 pixels, as a vector without its mean and of length 1. Photos
whose hashes are close are compared by larger thumbnails.
"""

import io
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image

_SIDE, _HASH_SIDE = 32, 8
_MIN_CLOSENESS, _MIN_CORRELATION = 0.95, 0.94
_BLOCK = 1 << 23  # pairs that are compared at once
_LEAST_CONTRAST = 1e-3  # of a thumbnail's vector; without any, all directions are noise


@dataclass(frozen=True)
class NearDuplicate:
    """Two photos of different splits.

    Attributes:
      first, second: (split, id).
      correlation: of their thumbnails, at most 1.
    """

    first: tuple[str, Hashable]
    second: tuple[str, Hashable]
    correlation: float


class PhotoSet:
    """Hashes and thumbnails of the photos of a split.

    Attributes:
      ids: of the photos.
      hashes: float32 [photos, 192].
      thumbnails: uint8 [photos, 3072].
    """

    def __init__(self, split: str, photos: Iterable[tuple[Hashable, bytes]]):
        """Reads the photos, given as (id, file)."""
        self.split = split
        self.ids: list[Hashable] = []
        hashes, thumbnails = [], []
        for id, file in photos:
            with Image.open(io.BytesIO(file)) as image:
                image.draft("RGB", (2 * _SIDE, 2 * _SIDE))
                small = image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)
            self.ids.append(id)
            thumbnails.append(np.asarray(small))
            hashes.append(np.asarray(small.resize((_HASH_SIDE, _HASH_SIDE), Image.Resampling.BOX)))
        self.thumbnails = np.array(thumbnails, np.uint8).reshape(-1, 3 * _SIDE**2)
        self.hashes = _unit_vectors(np.array(hashes, np.uint8).reshape(-1, 3 * _HASH_SIDE**2))


def _unit_vectors(thumbnails: np.ndarray) -> np.ndarray:
    """Returns thumbnails [n, d] without their means, each of length 1, or 0 where it has no contrast."""
    vectors = thumbnails.astype(np.float32) / 255
    vectors -= vectors.mean(1, keepdims=True)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > _LEAST_CONTRAST)


def find_near_duplicates(first: PhotoSet, second: PhotoSet) -> list[NearDuplicate]:
    """Returns the pairs of photos, one of each set, that are nearly the same; the most similar first."""
    duplicates = []
    rows = max(1, _BLOCK // max(len(second.ids), 1))
    for begin in range(0, len(first.ids), rows):
        closeness = first.hashes[begin : begin + rows] @ second.hashes.T
        pairs = np.argwhere(closeness >= _MIN_CLOSENESS) + (begin, 0)
        one, other = _unit_vectors(first.thumbnails[pairs[:, 0]]), _unit_vectors(second.thumbnails[pairs[:, 1]])
        for (row, column), correlation in zip(pairs, (one * other).sum(1), strict=True):
            if correlation >= _MIN_CORRELATION:
                ids = ((first.split, first.ids[row]), (second.split, second.ids[column]))
                duplicates.append(NearDuplicate(*ids, min(1.0, float(correlation))))
    return sorted(duplicates, key=lambda pair: -pair.correlation)
