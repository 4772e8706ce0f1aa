"""JPEG files to the pixels that a model sees.

Evaluation sees the whole picture, resized to a square, because a caption may describe any part of it. Training sees
random crops. Both use `view`, so that features, training, evaluation and prediction agree to the pixel.
"""

import math

import cv2
import numpy as np
import simplejpeg
from jaxtyping import Int, UInt8

Box = tuple[float, float, float, float]

# Decoding already runs in Grain's threads.
cv2.setNumThreads(1)


def jpeg_size(jpeg: bytes) -> tuple[int, int]:
    """Returns (height, width) from the header.

    Raises:
      ValueError: The file is not a JPEG.
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
    out: UInt8[np.ndarray, "{size} {size} 3"] | None = None,
    *,
    shape: tuple[int, int] | None = None,
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Decodes a part of a picture to a square of RGB pixels.

    The JPEG is decoded at 1/2, 1/4 or 1/8 scale (the fast cases of libjpeg-turbo) as long as the part keeps at least
    0.8 times `size` pixels per side, and is then resized bilinearly. Enlarging slightly loses less than shrinking
    without a filter: with 0.8, crops are closer to an antialiased resize than with 1, and faster.

    Args:
      size: Height and width of the result.
      box: (x0, y0, x1, y1) in pixels of the full picture; None for all of it.
      out: Array to write to.
      shape: (height, width) of the full picture, if known.

    Raises:
      ValueError: The file is not a JPEG, or is damaged.
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


def pick_frames(count: int, most: int, rng: np.random.Generator | None = None) -> Int[np.ndarray, " picked"]:
    """Picks at most `most` of `count` frames, as temporal segment networks do (Wang et al. 2016).

    If there are more, the frames are divided into `most` equal segments. The middle frame of each is picked, or with
    `rng` a random one.
    """
    if count <= most:
        return np.arange(count)
    offsets = 0.5 if rng is None else rng.random(most)
    return np.floor((np.arange(most) + offsets) * (count / most)).astype(int)


def random_box(
    rng: np.random.Generator, height: int, width: int, *, scale: tuple[float, float], aspect: tuple[float, float]
) -> Box:
    """Draws a random crop as in Inception training (Szegedy et al. 2015); the whole picture if ten draws do not fit.

    Args:
      scale: Range of the fraction of the area.
      aspect: Range of width / height, sampled log-uniformly.
    """
    least, most = math.log(aspect[0]), math.log(aspect[1])  # math is faster than numpy for single numbers
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
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Decodes a random crop; mirrored half of the time if `flip`. Arguments as `view` and `random_box`."""
    height, width = jpeg_size(jpeg)
    box = None if tuple(scale) == (1.0, 1.0) else random_box(rng, height, width, scale=scale, aspect=aspect)
    pixels = view(jpeg, size, box, out, shape=(height, width))
    if flip and rng.random() < 0.5:
        pixels[:] = pixels[:, ::-1].copy()
    return pixels
