"""JPEG bytes to the pixels that a model sees.

Evaluation sees the whole picture, squashed to a square: a caption may speak of any corner. Training sees random crops.
Both go through `view`, so that features, training, evaluation and prediction agree to the pixel.
"""

import math

import cv2
import numpy as np
import simplejpeg

Box = tuple[float, float, float, float]

# Decoding runs in Grain's threads; more threads inside each would only fight over the cores.
cv2.setNumThreads(1)


def jpeg_size(jpeg: bytes) -> tuple[int, int]:
    """(height, width) from the header.

    Raises:
      ValueError: not a JPEG.
    """
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    except ValueError as error:
        raise ValueError(f"not a JPEG file ({error}); it starts with {bytes(jpeg[:4])!r}") from error
    return height, width


def view(
    jpeg: bytes,
    size: int,
    box: Box | None = None,
    out: np.ndarray | None = None,
    *,
    shape: tuple[int, int] | None = None,
) -> np.ndarray:
    """A part of a picture as uint8 [size, size, 3] RGB.

    Decodes at 1/2, 1/4 or 1/8 scale (the fast cases of libjpeg-turbo) where that still has 0.8 pixels a side for each
    one wanted, and interpolates the rest bilinearly. A little enlarging costs less likeness than shrinking without a
    filter: with 0.8, crops are nearer to an antialiased resize than with 1, and faster.

    Args:
      box: (x0, y0, x1, y1) in pixels of the full picture; None: all of it.
      out: where to write, uint8 [size, size, 3].
      shape: (height, width) of the full picture, where it is known already.

    Raises:
      ValueError: not a JPEG, or a damaged one.
    """
    height, width = shape or jpeg_size(jpeg)
    x0, y0, x1, y1 = box or (0.0, 0.0, float(width), float(height))
    factor = 1
    while factor < 8 and min(x1 - x0, y1 - y0) >= 1.6 * factor * size:
        factor *= 2
    pixels = simplejpeg.decode_jpeg(jpeg, "RGB", min_height=-(-height // factor), min_width=-(-width // factor))
    rows, columns = pixels.shape[:2]
    left, right = round(x0 * columns / width), round(x1 * columns / width)
    top, bottom = round(y0 * rows / height), round(y1 * rows / height)
    part = pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
    return cv2.resize(part, (size, size), dst=out, interpolation=cv2.INTER_LINEAR)


def pick_frames(count: int, most: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Which of `count` frames to take if `most` may be: all, or one of each of `most` equal stretches, its middle, or
    with `rng` any of it (Wang et al. 2016, temporal segments)."""
    if count <= most:
        return np.arange(count)
    place = 0.5 if rng is None else rng.random(most)
    return np.floor((np.arange(most) + place) * (count / most)).astype(int)


def random_box(
    rng: np.random.Generator, height: int, width: int, *, scale: tuple[float, float], aspect: tuple[float, float]
) -> Box:
    """A random crop as in Inception training (Szegedy et al. 2015): a share of the area in `scale`, a ratio of width to
    height in `aspect` (log-uniform), anywhere; if ten draws do not fit, the whole picture."""
    least, most = math.log(aspect[0]), math.log(aspect[1])  # math: numpy takes ten times as long for one number
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        ratio = math.exp(rng.uniform(least, most))
        w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if w <= width and h <= height:
            x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
            return x, y, x + w, y + h
    return 0.0, 0.0, float(width), float(height)


def training_view(
    jpeg: bytes, size: int, rng: np.random.Generator, *, scale, aspect, flip: bool = False, out=None
) -> np.ndarray:
    """A random crop, uint8 [size, size, 3]; mirrored half of the time if `flip`."""
    height, width = jpeg_size(jpeg)
    box = None if tuple(scale) == (1.0, 1.0) else random_box(rng, height, width, scale=scale, aspect=aspect)
    pixels = view(jpeg, size, box, out, shape=(height, width))
    if flip and rng.random() < 0.5:
        pixels[:] = pixels[:, ::-1].copy()
    return pixels
