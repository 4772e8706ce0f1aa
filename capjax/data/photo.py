"""Converts photos of any format to an RGB JPEG, for records and for prediction.

EXIF orientation, CMYK, grayscale, 16-bit, palette and transparent images are handled here: the output is always upright
8-bit RGB. Color profiles are not applied, neither here nor in prediction.
"""

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from capjax.data import jpeg_file
from capjax.data.image_file import decoding_errors, load_image, open_image
from capjax.data.image_modes import eight_bit_rgb, image_of
from capjax.data.media_file import MAX_FILE_BYTES, MediaError, check_file, read_file
from capjax.data.media_formats import MAX_PIXELS, format_of

__all__ = [
    "MAX_FILE_BYTES", "MAX_PIXELS", "MediaError", "MediaSettings", "check_file", "photo_source", "photo_to_jpeg",
    "read_file", "to_jpeg",
]  # fmt: skip

# Largest side of a JPEG, with a margin.
_MAX_SIDE = 65_000

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class MediaSettings:
    """Settings for storing pictures.

    Attributes:
      size: Short side in pixels; smaller pictures are not enlarged.
      quality: JPEG quality of files that are written, 1 to 100 as in libjpeg.
    """

    size: int = 256
    quality: int = 95

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"size = {self.size} should be 1 pixel or more")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality = {self.quality} should be from 1 to 100")


def photo_source(media) -> Path | bytes | Image.Image:
    """Returns the file of a photo or video in any form, as a path or bytes, or the image if it has no file.

    Args:
      media: A path, the bytes of a file, a PIL image, or an array of pixels (see `image_of`). A PIL image that was
        opened from a file and not loaded yet stands for its file.

    Raises:
      MediaError: The media has another type, shape or dtype.
    """
    if isinstance(media, str | os.PathLike):
        return Path(media)
    if isinstance(media, bytes | bytearray | memoryview):
        return bytes(media)
    if isinstance(media, Image.Image):
        data = _unread_file(media)
        return media if data is None else data
    if hasattr(media, "__array__"):  # of NumPy, JAX, or PyTorch
        try:
            array = np.asarray(media)
        except Exception as error:  # such as a tensor on another device, or one that needs gradients
            raise MediaError("not_an_image", f"{type(media).__name__} is not an array of pixels: {error}") from error
        return image_of(array)
    raise MediaError("not_an_image", f"an image is a path, bytes, a PIL image or an array, not {type(media).__name__}")


def _unread_file(image: Image.Image) -> bytes | None:
    """Returns the file from which an image was opened; None if its pixels were read, and may have been changed."""
    file = getattr(image, "fp", None)
    if file is None or getattr(image, "_im", image) is not None or image.tell():
        return None
    try:
        position = file.tell()
        file.seek(0)
        data = file.read()
        file.seek(position)
    except (OSError, ValueError) as error:  # ValueError: the file is closed
        raise MediaError("missing_photo", f"the image's file cannot be read: {error}") from error
    return data if format_of(data[:4096]) is not None else None


def to_jpeg(image, settings: MediaSettings) -> bytes:
    """Converts an image to JPEG with `photo_to_jpeg`.

    Args:
      image: As in `photo_source`.

    Raises:
      MediaError: See `photo_source` and `photo_to_jpeg`.
    """
    source = photo_source(image)
    if isinstance(source, Path):
        source = read_file(source)
    return photo_to_jpeg(source, settings) if isinstance(source, bytes) else _image_to_jpeg(source, settings)


def photo_to_jpeg(data: bytes, settings: MediaSettings) -> bytes:
    """Converts an image file to an upright RGB JPEG file with a short side of at most `settings.size` pixels.

    An intact JPEG that already satisfies this is returned byte for byte. Of an animation, the first frame is used;
    transparency is composed on white; of 16-bit samples, the upper 8 bits are kept.

    Args:
      data: A file of a format of photos in `capjax.data.media_formats`.

    Raises:
      MediaError: The file is not an image, is damaged or truncated, or has more pixels than are decoded of its format;
        the size is checked before decoding.
    """
    image, data = open_image(data)
    size = _scaled_size(image, settings.size)
    if _is_fine(image, data, settings.size):
        return bytes(data)
    return _encode(load_image(image, data, size), size, settings)


def _image_to_jpeg(image: Image.Image, settings: MediaSettings) -> bytes:
    """Converts an image in memory as `photo_to_jpeg` converts its file."""
    if not image.width or not image.height:
        raise MediaError("damaged", "the image has no pixels")
    if image.width * image.height > MAX_PIXELS:
        raise MediaError("too_large", f"{image.width:,} x {image.height:,} pixels; at most {MAX_PIXELS:,} are used")
    size = _scaled_size(image, settings.size)
    with decoding_errors():
        image.load()
    return _encode(image, size, settings)


def _scaled_size(image: Image.Image, short_side: int) -> tuple[int, int]:
    """Returns width and height of a reduced image."""
    scale = min(1.0, short_side / min(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    if max(width, height) > _MAX_SIDE:
        raise MediaError("too_large", f"{width} x {height} pixels after scaling; a JPEG cannot hold it")
    return width, height


def _is_fine(image: Image.Image, data: bytes, size: int) -> bool:
    """Whether the file can be stored as it is."""
    if image.format != "JPEG" or image.mode != "RGB" or min(image.size) > size or max(image.size) > _MAX_SIDE:
        return False
    # A file larger than its raw pixels carries previews or metadata that need not be stored.
    if len(data) > 3 * image.width * image.height + 2**16 or _orientation(image) != 1:
        return False
    return jpeg_file.is_intact(data)


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 to 8; 1 if the EXIF block is damaged."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow raises nearly every exception there is on damaged files
        return 1


def _encode(image: Image.Image, size: tuple[int, int], settings: MediaSettings) -> bytes:
    """Converts a decoded image to an upright RGB JPEG of `size` (before it is turned)."""
    width, height = size
    turn = _UPRIGHT.get(_orientation(image))  # loading turns TIFF files upright, and removes their orientation
    with decoding_errors():
        image = eight_bit_rgb(image)
        # `load` may have swapped the sides of a TIFF file.
        if (image.width > image.height) != (width > height):
            width, height = height, width
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
        if turn is not None:
            image = image.transpose(turn)
        file = io.BytesIO()
        # An explicit empty comment: Pillow would copy the source's.
        image.save(file, "JPEG", quality=settings.quality, comment=b"")
    return file.getvalue()
