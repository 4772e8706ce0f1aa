"""A photo of any kind to one RGB JPEG: what a record holds, and what prediction does with a raw photo.

Whatever comes in (turned by EXIF, CMYK, grey, 16 bit, palette, transparent, animated) goes out as upright 8-bit RGB,
so that nothing behind this file needs to know. Colour profiles are not applied, here or in prediction.
"""

import io
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

# Twice what Pillow warns at. 179 million pixels take half a gigabyte as RGB.
MAX_PIXELS = 178_956_970
MAX_FILE_BYTES = 512 * 2**20
# What a JPEG file can be, less a margin.
_MAX_SIDE = 65_000
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

# MAX_PIXELS decides, with an error; Pillow's warning at half of it would only be noise.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class MediaError(ValueError):
    """A media file that cannot be used. `kind` is a short name to count by."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class MediaSettings:
    """How media are stored.

    Attributes:
      size: short side in pixels; smaller pictures are not enlarged.
      quality: of the JPEG files that are written, 1 to 100 as in libjpeg.
    """

    size: int = 256
    quality: int = 95

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"size = {self.size} should be 1 pixel or more")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality = {self.quality} should be from 1 to 100")


def check_file(path: Path, what: str = "photo", limit: int | None = MAX_FILE_BYTES) -> tuple[int, int]:
    """(bytes, time of change in ns) of a file that is there and has a sane size. Nothing is opened.

    Args:
      what: `photo` or `video`, for the kind of the error; limit: bytes at most, None: any number.

    Raises:
      MediaError: missing, no file, empty, or too large.
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
    """The bytes of a media file.

    Raises:
      MediaError: as `check_file`, or it may not be read.
    """
    check_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise MediaError("missing_photo", f"{path} cannot be read: {error.strerror}") from error


def to_jpeg(image, settings: MediaSettings) -> bytes:
    """`photo_to_jpeg` of an image in any form: a path, the bytes of a file, a PIL image, or uint8 [h, w, 3].

    Raises:
      MediaError: as `photo_to_jpeg`; TypeError: none of these forms.
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
    # Lossless and fast; the JPEG is made once, from these pixels.
    image.save(
        file,
        "TIFF" if image.mode in ("CMYK", "F") else "PNG",
        **({} if image.mode in ("CMYK", "F") else {"compress_level": 0}),
    )
    return photo_to_jpeg(file.getvalue(), settings)


def photo_to_jpeg(data: bytes, settings: MediaSettings) -> bytes:
    """An image file as an upright RGB JPEG file whose short side is at most `settings.size` pixels.

    A JPEG that is so already, and whole, comes back byte for byte. Of an animation the first frame is taken;
    transparency is put on white; of 16 bits the upper 8 are kept.

    Args:
      data: the file. JPEG, PNG, GIF, WebP, TIFF, BMP, PPM or AVIF.

    Raises:
      MediaError: not an image, damaged, cut short, or of more than MAX_PIXELS pixels, which is seen before anything
        is decoded.
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
        raise MediaError("damaged", f"the image cannot be decoded: {error or type(error).__name__}") from error
    if max(image.size) > _MAX_SIDE:
        raise MediaError("too_large", f"{image.width} x {image.height} pixels after scaling; a JPEG cannot hold it")
    file = io.BytesIO()
    # An empty comment, or Pillow would hand the source's on.
    image.save(file, "JPEG", quality=settings.quality, comment=b"")
    return file.getvalue()


def _open(data: bytes) -> Image.Image:
    """Reads the header and judges the size by it."""
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise MediaError("too_large", f"more than {MAX_PIXELS:,} pixels by its header") from error
    except UnidentifiedImageError as error:
        known = ", ".join(_FORMATS)
        raise MediaError("not_an_image", f"not an image, or damaged at its head; known formats: {known}") from error
    except Exception as error:  # as above
        raise MediaError("damaged", f"the image's header cannot be read: {error or type(error).__name__}") from error
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
    # More than its raw pixels: that is a camera's preview and notes, not the picture.
    if len(data) > 3 * image.width * image.height + 2**16 or _orientation(image) != 1:
        return False
    try:
        # The decoder that training will use; strict: nothing missing, nothing odd.
        simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError:
        return False
    return True


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; a damaged EXIF block says nothing."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # as above
        return 1


def _rgb(image: Image.Image, size: int) -> Image.Image:
    """Decodes, scales, turns upright; mode RGB."""
    scale = min(1.0, size / min(image.size))
    wanted = tuple(max(1, round(side * scale)) for side in image.size)
    # libjpeg decodes at 1/2, 1/4 or 1/8 with little loss (48 dB against decoding all) at four times the speed.
    image.draft(None, wanted)
    image.load()
    turn = _UPRIGHT.get(_orientation(image))  # after load: TIFF files are turned by then
    image = _eight_bit_rgb(image)
    if scale < 1:
        # TIFF may have swapped its sides in load.
        wanted = wanted if (image.width > image.height) == (wanted[0] > wanted[1]) else wanted[::-1]
        image = image.resize(wanted, Image.Resampling.BICUBIC, reducing_gap=3.0)
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
