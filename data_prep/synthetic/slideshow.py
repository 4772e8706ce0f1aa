"""Slideshows: photos one after another as a video, with hard cuts and a slow pan or zoom over each."""

import functools
import itertools
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg

from capjax.data.record import RecordSource
from data_prep.synthetic.mp4 import encode

FPS = 12.5
# Side of the visible window, as a share of the largest window in the photo.
_NEAR, _FAR = 0.75, 1.0
# Largest extent of a pan, as a share of the space that the window can move in.
_PAN = 0.5


@dataclass(frozen=True, slots=True)
class View:
    """A window of 4:3 in a photo.

    Attributes:
      side: its side, as a share of the largest window.
      x, y: its position in the remaining space, from 0 (left, top) to 1.
    """

    side: float
    x: float
    y: float

    def window(self, width: int, height: int) -> np.ndarray:
        """(x, y, width, height) in pixels of the photo."""
        window_width = self.side * min(width, height * 4 / 3)
        window_height = window_width * 3 / 4
        return np.array(
            [self.x * (width - window_width), self.y * (height - window_height), window_width, window_height]
        )


@dataclass(frozen=True, slots=True)
class Shot:
    """A photo (its number in the split), its number of frames, and its first and last view."""

    photo: int
    frames: int
    first: View
    last: View


def make_shots(photos: int, split: str, seed: int, per_video: tuple[int, int], seconds: tuple[float, float]):
    """Yields the shots of one video after another, without end. All photos of a split are shown before any is repeated,
    and no video shows a photo twice.

    Args:
      photos: number of photos.
      per_video: smallest and largest number of photos in a video.
      seconds: shortest and longest time of a photo.
    """
    rng = np.random.default_rng([seed, zlib.crc32(split.encode())])
    pack: deque[int] = deque()
    low, high = (max(1, round(limit * FPS)) for limit in seconds)
    while True:
        hand = _deal(rng, pack, photos, min(photos, int(rng.integers(per_video[0], per_video[1] + 1))))
        yield tuple(Shot(photo, int(rng.integers(low, high + 1)), *_views(rng)) for photo in hand)


def _deal(rng, pack: deque[int], photos: int, count: int) -> list[int]:
    hand: list[int] = []
    kept: list[int] = []  # for the next video
    while len(hand) < count:
        if not pack:
            pack.extend(rng.permutation(photos).tolist())
        photo = pack.popleft()
        (kept if photo in hand else hand).append(photo)
    pack.extendleft(reversed(kept))
    return hand


def _views(rng) -> tuple[View, View]:
    """First and last view of a pan, or of a zoom in or out."""
    x, y = rng.uniform(0, 1, 2)
    to_x, to_y = np.clip((x, y) + rng.uniform(-_PAN, _PAN, 2), 0, 1)
    if rng.random() < 0.5:
        sides = [rng.uniform(_NEAR, (_NEAR + _FAR) / 2)] * 2
    else:
        sides = rng.uniform((_NEAR, _FAR - 0.1), (_NEAR + 0.1, _FAR))[:: rng.choice([-1, 1])]
    return View(*map(float, (sides[0], x, y))), View(*map(float, (sides[1], to_x, to_y)))


def starts(shots: tuple[Shot, ...]) -> list[float]:
    """Start of each shot and end of the last one, in seconds."""
    return [total / FPS for total in itertools.accumulate((shot.frames for shot in shots), initial=0)]


@functools.lru_cache(maxsize=4)
def _source(dataset_dir: str, split: str) -> RecordSource:
    return RecordSource(dataset_dir, split)


@dataclass(frozen=True, slots=True)
class Slideshow:
    """A video that is rendered when called: returns the bytes of an mp4 file. Small until then, and picklable.

    Attributes:
      dataset_dir: folder of the photos' dataset.
      split: split of the photos.
      shots: the shots of the video.
      size: height of the video in pixels; its aspect ratio is 4:3.
    """

    dataset_dir: str
    split: str
    shots: tuple[Shot, ...]
    size: int

    def __call__(self) -> bytes:
        return encode(self._frames(), FPS, crf=18)

    def _frames(self) -> Iterator[np.ndarray]:
        source = _source(self.dataset_dir, self.split)
        width = 2 * round(self.size * 2 / 3)
        for shot in self.shots:
            photo = simplejpeg.decode_jpeg(source[shot.photo].frames[0], "RGB")
            photo = _reduced(photo, width, min(shot.first.side, shot.last.side))
            first, last = (view.window(*photo.shape[1::-1]) for view in (shot.first, shot.last))
            for k in range(shot.frames):
                yield _crop(photo, first + k / shot.frames * (last - first), width, self.size)


def _reduced(photo: np.ndarray, width: int, side: float) -> np.ndarray:
    """The photo reduced to the size that the smallest window needs. Reducing it while it moves would shimmer."""
    share = width / View(side, 0, 0).window(*photo.shape[1::-1])[2]
    return photo if share >= 1 else cv2.resize(photo, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)


def _crop(photo: np.ndarray, window: np.ndarray, width: int, height: int) -> np.ndarray:
    """The content of the window with subpixel accuracy, uint8 [height, width, 3]."""
    x, y, window_width, window_height = window
    scale = np.array([window_width / width, window_height / height])
    shift = np.array([x, y]) + (scale - 1) / 2  # coordinates of a pixel are those of its center
    matrix = np.array([(scale[0], 0, shift[0]), (0, scale[1], shift[1])])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(photo, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
