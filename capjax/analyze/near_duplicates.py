"""Finds photos of one split that are nearly the same as photos of another: resized, recompressed, slightly cropped.

Candidates are pairs whose perceptual hashes (signs of the low frequencies of the discrete cosine transform, 64 bits)
differ in few bits; a pair counts if its thumbnails correlate as well.
"""

import io
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.fft import dctn

_SIDE = 32
_MAX_BITS = 16
_MIN_CORRELATION = 0.94
_BLOCK = 1 << 22  # pairs that are compared at once


@dataclass(frozen=True)
class NearDuplicate:
    """Two photos of different splits.

    Attributes:
      first, second: (split, id).
      correlation: of their thumbnails.
    """

    first: tuple[str, Hashable]
    second: tuple[str, Hashable]
    correlation: float


class PhotoSet:
    """Hashes and thumbnails of the photos of a split."""

    def __init__(self, split: str, photos: Iterable[tuple[Hashable, bytes]]):
        """Args:
        split: its name.
        photos: (id, JPEG).
        """
        self.split = split
        self.ids: list[Hashable] = []
        hashes, thumbnails = [], []
        for id, jpeg in photos:
            with Image.open(io.BytesIO(jpeg)) as image:
                image.draft("RGB", (2 * _SIDE, 2 * _SIDE))
                small = np.asarray(image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX))
            self.ids.append(id)
            thumbnails.append(small)
            hashes.append(_hash(small.mean(2)))
        self.hashes = np.array(hashes, np.uint64)
        self.thumbnails = np.array(thumbnails, np.uint8).reshape(len(self.ids), -1)


def _hash(gray: np.ndarray) -> int:
    """Returns the signs of the lowest 8 x 8 frequencies relative to their median, as 64 bits."""
    low = dctn(gray, norm="ortho")[:8, :8].ravel()
    bits = low > np.median(low[1:])
    return int(np.packbits(bits).view(">u8")[0])


def find_near_duplicates(first: PhotoSet, second: PhotoSet) -> list[NearDuplicate]:
    """Returns the pairs of photos, one of each set, that are nearly the same."""
    duplicates = []
    rows = max(1, _BLOCK // max(len(second.ids), 1))
    for begin in range(0, len(first.ids), rows):
        differing = np.bitwise_count(first.hashes[begin : begin + rows, None] ^ second.hashes)
        for row, column in np.argwhere(differing <= _MAX_BITS):
            correlation = _correlation(first.thumbnails[begin + row], second.thumbnails[column])
            if correlation >= _MIN_CORRELATION:
                ids = ((first.split, first.ids[begin + row]), (second.split, second.ids[column]))
                duplicates.append(NearDuplicate(*ids, correlation))
    return sorted(duplicates, key=lambda pair: -pair.correlation)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    a, b = (x.astype(float) - x.mean() for x in (first, second))
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 1e-6 else float(np.abs(first.astype(float) - second).max() < 2)
