"""Pixels of any mode, bit depth and transparency to 8-bit RGB.

One rule for all forms of a picture: of samples of 8 to 16 bits the upper 8 are kept, by the range that the file
declares; floating-point samples are scaled from the range that the file declares; transparency is composed on white.
"""

import math
from collections.abc import Iterator

import numpy as np
from PIL import Image

from capjax.data.media_file import MediaError

# Pixels that are converted at a time, so that intermediate copies stay small.
_BAND_PIXELS = 2**22
_CHANNELS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
# TIFF tags
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT, _MIN_SAMPLE, _MAX_SAMPLE = 258, 262, 339, 340, 341


def eight_bit_rgb(image: Image.Image) -> Image.Image:
    """Converts a decoded image to mode RGB.

    Raises:
      MediaError: The range of its samples is unknown.
      ValueError: Pillow cannot convert the mode.
    """
    if image.mode[0] in "IF":
        image = _eight_bit_gray(image)
    if image.has_transparency_data:
        return _on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def image_of(array: np.ndarray) -> Image.Image:
    """Returns the image of an array [h, w] or [h, w, c] with 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGBA) channels.

    Samples are bool, uint8, uint16 (up to 65535), or floating-point numbers from 0 to 1.

    Raises:
      MediaError: The array has another shape or dtype, or numbers outside of the range.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in _CHANNELS:
        raise MediaError(
            "not_an_image", f"an array of shape {list(array.shape)}; expected [h, w] or [h, w, c] with 1 to 4 channels"
        )
    if not array.size:
        raise MediaError("damaged", f"an array of shape {list(array.shape)} has no pixels")
    mode = _CHANNELS[array.shape[2]]
    pixels = array[..., 0] if mode == "L" else array
    return Image.fromarray(np.ascontiguousarray(_eight_bit_samples(pixels)))


def _eight_bit_samples(samples: np.ndarray) -> np.ndarray:
    if samples.dtype == np.uint8:
        return samples
    if samples.dtype == bool:
        return samples.astype(np.uint8) * 255
    if samples.dtype.kind == "u" and samples.dtype.itemsize == 2:
        return (samples >> 8).astype(np.uint8)
    if samples.dtype.kind == "f":
        return _scaled(samples, 0.0, 1.0)
    raise MediaError(
        "not_an_image",
        f"an array of {samples.dtype}; expected uint8, uint16, bool, or floating-point numbers from 0 to 1",
    )


def _scaled(samples: np.ndarray, black: float, white: float) -> np.ndarray:
    """Returns floating-point samples as uint8."""
    low, high = float(samples.min()), float(samples.max())
    if not black <= low <= high <= white:  # also where they are NaN
        raise MediaError(
            "damaged", f"samples from {low:g} to {high:g}; expected {black:g} to {white:g}. Save the image with 8 bits"
        )
    return np.rint((samples.astype(np.float64) - black) * (255 / (white - black))).astype(np.uint8)


def _eight_bit_gray(image: Image.Image) -> Image.Image:
    """Converts samples of 9 to 16 bits, or floating-point samples of a known range, to mode L, or LA if the file has a
    transparent value."""
    tags = getattr(image, "tag_v2", {})  # of TIFF files
    is_float = image.mode == "F"
    bits = _first(tags.get(_BITS), 16)
    black, white = _first(tags.get(_MIN_SAMPLE), math.nan), _first(tags.get(_MAX_SAMPLE), math.nan)
    if is_float and not (black < white < math.inf and black > -math.inf):
        raise MediaError(
            "damaged", "samples are floating-point numbers, and the file does not give their range; save it with 8 bits"
        )
    if not is_float and (bits > 16 or _first(tags.get(_SAMPLE_FORMAT), 1) == 2):
        raise MediaError("damaged", "samples are signed or have more than 16 bits; save the image with 8")
    # Pillow inverts such files only where samples have up to 8 bits.
    is_inverted = not is_float and _first(tags.get(_PHOTOMETRIC), 1) == 0
    transparent = image.info.get("transparency")
    result = Image.new("L" if transparent is None else "LA", image.size)
    for box, band in _bands(image):
        samples = np.asarray(band)
        if is_float:
            pixels = _scaled(samples, black, white)
        else:
            if samples.min() < 0 or samples.max() >= 2**bits:
                raise MediaError("damaged", f"samples of more than {bits} bits; save the image with 8")
            pixels = (samples >> (bits - 8)).astype(np.uint8)
        if is_inverted:
            pixels = 255 - pixels
        if transparent is not None:
            pixels = np.stack([pixels, np.where(samples == transparent, 0, 255).astype(np.uint8)], -1)
        result.paste(Image.fromarray(pixels), box)
    return result


def _first(value, default):
    """The value of a TIFF tag for the first sample."""
    value = value[0] if isinstance(value, tuple) and value else value
    return default if value is None or value == () else value


def _on_white(image: Image.Image) -> Image.Image:
    """Composes an image with transparency on white."""
    transparent = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(transparent, tuple) and max(transparent) > 255:
        # Of 16-bit color, of which Pillow keeps the upper 8 bits.
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    result = Image.new("RGB", image.size)
    for box, band in _bands(image):
        white = Image.new("RGBA", band.size, "white")
        band = band.convert("LA") if band.mode == "La" else band  # Pillow converts it to no other mode
        result.paste(Image.alpha_composite(white, band.convert("RGBA")).convert("RGB"), box)
    return result


def _bands(image: Image.Image) -> Iterator[tuple[tuple[int, int, int, int], Image.Image]]:
    """Yields bands of rows, each with its box."""
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        yield box, image.crop(box)
