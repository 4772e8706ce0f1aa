"""Converts photos of any format to an RGB JPEG, for records and for prediction.

EXIF orientation, CMYK, grayscale, 16-bit, palette, transparent and animated images are handled here: the output is
always upright 8-bit RGB. Color profiles are not applied, neither here nor in prediction.
"""

import io
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

# Twice Pillow's warning threshold; half a gigabyte as RGB.
MAX_PIXELS = 178_956_970
MAX_FILE_BYTES = 512 * 2**20
# Largest side of a JPEG, with a margin.
_MAX_SIDE = 65_000
_REMEDY = "copy the file again, or save it anew"
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF")

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

# MAX_PIXELS is checked with an error, so Pillow's warning is redundant.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class MediaError(ValueError):
    """A media file cannot be used. `kind` is a short name of the problem, by which reports count."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


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


def check_file(path: Path, what: str = "photo", limit: int | None = MAX_FILE_BYTES) -> tuple[int, int]:
    """Checks that a file exists and has a plausible size, without opening it.

    Args:
      what: `photo` or `video`, for the kind of the error.
      limit: Largest size in bytes; None for no limit.

    Returns:
      (size in bytes, modification time in ns).

    Raises:
      MediaError: The path is missing, not a file, empty, or too large.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise MediaError(f"missing_{what}", f"{path} does not exist") from error
    except OSError as error:
        raise MediaError(f"missing_{what}", f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise MediaError("not_an_image" if what == "photo" else "not_a_video", f"{path} is not a file")
    if status.st_size == 0:
        raise MediaError("empty_file", f"{path} has no bytes")
    if limit is not None and status.st_size > limit:
        size = status.st_size / 2**20
        raise MediaError("too_large", f"{path} has {size:.0f} MB; at most {limit // 2**20} MB are read")
    return status.st_size, status.st_mtime_ns


def read_file(path: Path) -> bytes:
    """Returns the bytes of a media file.

    Raises:
      MediaError: See `check_file`; or the file is not readable.
    """
    check_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise MediaError("missing_photo", f"{path} cannot be read: {error.strerror}") from error


def to_jpeg(image, settings: MediaSettings) -> bytes:
    """Converts an image to JPEG with `photo_to_jpeg`.

    Args:
      image: A path, the bytes of a file, a PIL image, or an array uint8 [h, w, 3].

    Raises:
      MediaError: See `photo_to_jpeg`.
      TypeError: The image has another type.
    """
    if isinstance(image, str | Path):
        return photo_to_jpeg(read_file(Path(image)), settings)
    if isinstance(image, bytes | bytearray | memoryview):
        return photo_to_jpeg(bytes(image), settings)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise TypeError(f"an array should be uint8 [h, w, 3], not {image.dtype} {list(image.shape)}")
        image = Image.fromarray(image)
    if not isinstance(image, Image.Image):
        raise TypeError(f"an image is a path, bytes, a PIL image or an array, not {type(image).__name__}")
    file = io.BytesIO()
    # An uncompressed intermediate file, so that pixels are encoded as JPEG only once.
    if image.mode in ("CMYK", "F"):
        image.save(file, "TIFF")
    else:
        image.save(file, "PNG", compress_level=0)
    return photo_to_jpeg(file.getvalue(), settings)


def photo_to_jpeg(data: bytes, settings: MediaSettings) -> bytes:
    """Converts an image file to an upright RGB JPEG file with a short side of at most `settings.size` pixels.

    An intact JPEG that already satisfies this is returned byte for byte. Of an animation, the first frame is used;
    transparency is composed on white; of 16-bit samples, the upper 8 bits are kept.

    Args:
      data: A JPEG, PNG, GIF, WebP, TIFF, BMP, PPM or AVIF file.

    Raises:
      MediaError: The file is not an image, is damaged or truncated, or has more than MAX_PIXELS pixels; the size is
        checked before decoding.
    """
    if not data:
        raise MediaError("empty_file", "the image has no bytes")
    image = _open(data)
    if _is_fine(image, data, settings.size):
        return bytes(data)
    try:
        image = _rgb(image, settings.size)
    except MediaError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly every exception there is on damaged files
        raise MediaError(
            "damaged", f"the image cannot be decoded: {error or type(error).__name__}; {_REMEDY}"
        ) from error
    if max(image.size) > _MAX_SIDE:
        raise MediaError("too_large", f"{image.width} x {image.height} pixels after scaling; a JPEG cannot hold it")
    file = io.BytesIO()
    # An explicit empty comment: Pillow would copy the source's.
    image.save(file, "JPEG", quality=settings.quality, comment=b"")
    return file.getvalue()


def _open(data: bytes) -> Image.Image:
    """Opens an image and checks its size by the header."""
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise MediaError("too_large", f"more than {MAX_PIXELS:,} pixels by its header") from error
    except UnidentifiedImageError as error:
        formats = ", ".join(_FORMATS)
        raise MediaError("not_an_image", f"not an image, or damaged at its head; known formats: {formats}") from error
    except Exception as error:  # as above
        raise MediaError(
            "damaged", f"the image's header cannot be read: {error or type(error).__name__}; {_REMEDY}"
        ) from error
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width:,} x {image.height:,}"
        raise MediaError("too_large", f"{size} pixels by its header; at most {MAX_PIXELS:,} are decoded")
    if not image.width or not image.height:
        raise MediaError("damaged", "the image has no pixels")
    return image


def _is_fine(image: Image.Image, data: bytes, size: int) -> bool:
    """Whether the file can be stored as it is."""
    if image.format != "JPEG" or image.mode != "RGB" or min(image.size) > size or max(image.size) > _MAX_SIDE:
        return False
    # A file larger than its raw pixels carries previews or metadata that need not be stored.
    if len(data) > 3 * image.width * image.height + 2**16 or _orientation(image) != 1:
        return False
    try:
        # The decoder of training; `strict` also rejects files with warnings, such as truncated ones.
        simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError:
        return False
    return True


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 to 8; 1 if the EXIF block is damaged."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # as above
        return 1


def _rgb(image: Image.Image, size: int) -> Image.Image:
    """Decodes and scales an image and turns it upright, in mode RGB."""
    scale = min(1.0, size / min(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    # libjpeg decodes at 1/2, 1/4 or 1/8 of the size faster, with little loss.
    image.draft(None, (width, height))
    image.load()
    turn = _UPRIGHT.get(_orientation(image))  # after load, which turns TIFF files upright itself
    image = _eight_bit_rgb(image)
    if scale < 1:
        # `load` may have swapped the sides of a TIFF file.
        size_out = (width, height) if (image.width > image.height) == (width > height) else (height, width)
        image = image.resize(size_out, Image.Resampling.BICUBIC, reducing_gap=3.0)
    return image.transpose(turn) if turn is not None else image


def _eight_bit_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        pixels = np.asarray(image)
        if pixels.min() < 0 or pixels.max() > 0xFFFF:
            raise MediaError("damaged", "samples of more than 16 bits; save the image with 8")
        return Image.fromarray((pixels >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise MediaError("damaged", "samples are floating-point numbers; save the image with 8 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")
