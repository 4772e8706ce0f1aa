"""Opens and decodes image files: at a bounded cost, completely or not at all, whatever their metadata."""

import io
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import cv2
import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from capjax.data import gif_file, jpeg_file, png_file
from capjax.data.media_file import REMEDY, MediaError
from capjax.data.media_formats import MAX_PIXELS, MediaFormat, format_of, photo_format_names, webp_chunks

# Tags of TIFF files; offsets and lengths are of strips or of tiles.
_COMPRESSION, _JPEG_TABLES, _JPEG_COMPRESSION = 259, 347, 7
_OFFSETS, _LENGTHS = (273, 324), (279, 325)
_BITS, _ROWS, _TILE_WIDTH, _TILE_LENGTH = 258, 278, 322, 323
_MAX_STRIP_BYTES = 768 * 2**20
# 16-bit color with a transparent value takes eight bytes a pixel.
_MAX_DEEP_PIXELS = 100_000_000
# Pillow decodes these in Python.
_MAX_PLAIN_SAMPLES = 8_000_000
_MAX_RUN_LENGTH_BYTES = 16 * 2**20

# MAX_PIXELS is checked with an error, and metadata are hardly used, so Pillow's warnings are redundant.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def open_image(data: bytes) -> tuple[ImageFile.ImageFile, bytes]:
    """Opens an image file without decoding it, and checks the cost of decoding by its headers.

    Returns:
      The image and its file, from which metadata are removed if Pillow cannot read them.

    Raises:
      MediaError: The file is not an image, its head is damaged, it has too many pixels, or Pillow needs a package for
        its format.
    """
    if not data:
        raise MediaError("empty_file", "the image has no bytes")
    image_format = format_of(data[:4096])
    if image_format is None or image_format.kind != "photo":
        raise MediaError("not_an_image", f"not an image, or damaged at its head; known formats: {photo_format_names()}")
    with decoding_errors():
        if image_format.name in _BEFORE_OPENING:
            _BEFORE_OPENING[image_format.name](data, image_format)
        if image_format.name == "GIF":
            data = gif_file.without_comments(data)
        try:
            image = _open(data, image_format)
        except MediaError:
            if (stripped := _without_metadata(data, image_format)) is None:
                raise
            data = stripped
            image = _open(data, image_format)
        _check_size(image.size, image_format)
        if image_format.name in _AFTER_OPENING:
            _AFTER_OPENING[image_format.name](image, data)
    return image, data


def load_image(image: ImageFile.ImageFile, data: bytes, min_size: tuple[int, int]) -> Image.Image:
    """Decodes an image that `open_image` opened.

    Args:
      data: The file, as `open_image` returned it.
      min_size: (width, height): a JPEG is decoded at 1/2, 1/4 or 1/8 of its size if that is at least as large, which is
        faster, with little loss.

    Raises:
      MediaError: The file is damaged or cut short.
    """
    with decoding_errors():
        if image.format in ("JPEG", "MPO"):
            return _load_jpeg(image, data, min_size)
        if image.format == "PNG":
            return _load_png(image, data)
        if image.format == "PPM" and image.tile[0][0] == "ppm":
            return _load_ppm(image, data)
        image.load()
        return image


@contextmanager
def decoding_errors() -> Iterator[None]:
    """Converts the exceptions of Pillow's decoders, which are nearly all there are, to MediaError."""
    try:
        yield
    except MediaError:
        raise
    except Exception as error:
        raise MediaError(
            "damaged", f"the image cannot be decoded: {error or type(error).__name__}; {REMEDY}"
        ) from error


def _open(data: bytes, image_format: MediaFormat) -> ImageFile.ImageFile:
    try:
        return Image.open(io.BytesIO(data), formats=(image_format.name,))
    except Image.DecompressionBombError as error:
        raise MediaError("too_large", f"more than {MAX_PIXELS:,} pixels by its header") from error
    except UnidentifiedImageError as error:
        raise MediaError(
            "damaged", f"the head of the {image_format.name} image is damaged, or of an unsupported kind; {REMEDY}"
        ) from error
    except Exception as error:  # as above
        raise MediaError(
            "damaged",
            f"the header of the {image_format.name} image cannot be read: {error or type(error).__name__}; {REMEDY}",
        ) from error


def _check_size(size: tuple[int, int], image_format: MediaFormat):
    width, height = size
    if width * height > image_format.max_pixels:
        raise MediaError(
            "too_large",
            f"{width:,} x {height:,} pixels by its header; at most {image_format.max_pixels:,} are decoded of a "
            f"{image_format.name} image",
        )
    if not width or not height:
        raise MediaError("damaged", "the image has no pixels")


def _without_metadata(data: bytes, image_format: MediaFormat) -> bytes | None:
    """The file without metadata other than EXIF; None if it has none, or its format is not known in this respect."""
    if image_format.name == "JPEG":
        return jpeg_file.without_metadata(data)
    return png_file.without_metadata(data) if image_format.name == "PNG" else None


# ---- PNG


def _scale_transparent_value(image: ImageFile.ImageFile, data: bytes):
    """Scales the transparent gray value of a PNG file of 2 or 4 bits as Pillow scales its samples."""
    value, depth = image.info.get("transparency"), png_file.depth(data)
    if image.mode == "L" and depth in (2, 4) and isinstance(value, int):
        image.info["transparency"] = value * 255 // (2**depth - 1)


def _load_png(image: ImageFile.ImageFile, data: bytes) -> Image.Image:
    if image.mode == "RGB" and png_file.depth(data) == 16 and "transparency" in image.info:
        return _load_deep_png(image, data)
    try:
        image.load()
    except Exception:  # as in `decoding_errors`
        # Metadata after the pixels may be damaged.
        if (stripped := png_file.without_metadata(data)) is None:
            raise
        info, image = image.info, Image.open(io.BytesIO(stripped), formats=("PNG",))
        image.load()
        image.info.update(info)
    png_file.check_rows(image, data)
    return image


def _load_deep_png(image: Image.Image, data: bytes) -> Image.Image:
    """Decodes 16-bit color with a transparent value, which Pillow would compare with the upper 8 bits alone."""
    if image.width * image.height > _MAX_DEEP_PIXELS:
        raise MediaError(
            "too_large", f"at most {_MAX_DEEP_PIXELS:,} pixels of 16 bits with a transparent value are read"
        )
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.shape != (image.height, image.width, 4):
        raise MediaError("damaged", f"the image cannot be decoded; {REMEDY}")
    decoded = Image.fromarray((np.asarray(pixels, np.uint16)[..., [2, 1, 0, 3]] >> 8).astype(np.uint8))
    decoded.info.update({key: value for key, value in image.info.items() if key != "transparency"})
    png_file.check_rows(decoded, data)
    return decoded


# ---- JPEG


def _load_jpeg(image: ImageFile.ImageFile, data: bytes, min_size: tuple[int, int]) -> Image.Image:
    image.draft(None, min_size)
    try:
        pixels = jpeg_file.decode(data, image.mode, image.size)
    except jpeg_file.UnknownSubsampling:
        return _load_unusual_jpeg(image, data, min_size)
    decoded = Image.frombuffer(image.mode, pixels.shape[1::-1], pixels, "raw", image.mode, 0, 1)
    decoded.info.update(image.info)
    return decoded


def _load_unusual_jpeg(image: ImageFile.ImageFile, data: bytes, min_size: tuple[int, int]) -> Image.Image:
    """Decodes a file that TurboJPEG does not decode, and checks that bytes after its end would not change its pixels:
    if data are missing, libjpeg takes them for the picture."""
    longer = Image.open(io.BytesIO(jpeg_file.with_longer_scan(data)), formats=("JPEG",))
    longer.draft(None, min_size)
    image.load()
    longer.load()
    if image.tobytes() != longer.tobytes():
        raise MediaError("damaged", "the JPEG is cut short")
    return image


# ---- WebP, HEIC, TIFF, PPM, BMP


def _check_webp_size(data: bytes, image_format: MediaFormat):
    """Checks the largest width and height that the headers declare, of the canvas and of frames. Pillow allocates
    memory for them when it opens a file."""
    width = height = 0
    for name, start in webp_chunks(io.BytesIO(data)):
        fields = start.ljust(16, b"\0")
        if name == b"VP8X":
            size = int.from_bytes(fields[4:7], "little") + 1, int.from_bytes(fields[7:10], "little") + 1
        elif name == b"ANMF":
            size = int.from_bytes(fields[6:9], "little") + 1, int.from_bytes(fields[9:12], "little") + 1
        elif name == b"VP8L":
            bits = int.from_bytes(fields[1:5], "little")
            size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif name == b"VP8 ":
            size = int.from_bytes(fields[6:8], "little") & 0x3FFF, int.from_bytes(fields[8:10], "little") & 0x3FFF
        else:
            continue
        width, height = max(width, size[0]), max(height, size[1])
    _check_size((width, height), image_format)


def _import_heif(data: bytes, image_format: MediaFormat):
    try:
        import pillow_heif
    except ModuleNotFoundError as error:
        raise MediaError(
            "missing_package", "a HEIC photo, for which pillow-heif is needed: pip install 'capjax[heic]'"
        ) from error
    pillow_heif.register_heif_opener()


def _check_tiff(image: ImageFile.ImageFile, data: bytes):
    """Raises MediaError for tiles or strips that take much memory, as libtiff decodes them whole, and for those that
    are compressed as JPEG and cut short, of which libtiff only warns."""
    tags = getattr(image, "tag_v2", {})
    width = tags.get(_TILE_WIDTH, image.width)
    rows = tags.get(_TILE_LENGTH) or min(tags.get(_ROWS, image.height), image.height)
    size = width * rows * sum(tags.get(_BITS, (1,))) // 8
    if size > _MAX_STRIP_BYTES:
        raise MediaError(
            "too_large",
            f"a tile or strip of {width:,} x {rows:,} pixels; at most {_MAX_STRIP_BYTES // 2**20} MB are decoded",
        )
    if tags.get(_COMPRESSION) != _JPEG_COMPRESSION:
        return
    count = -(-image.height // rows) * -(-image.width // width) * len(image.getbands())
    tables, mode = tags.get(_JPEG_TABLES, b""), image.mode if image.mode in ("L", "CMYK") else "RGB"
    offsets, lengths = ([value for tag in pair for value in tags.get(tag, ())] for pair in (_OFFSETS, _LENGTHS))
    for offset, size in list(zip(offsets, lengths, strict=False))[:count]:
        strip = data[offset : offset + size]
        jpeg_file.check_strip(tables.removesuffix(b"\xff\xd9") + strip[2:] if tables else strip, mode, width * rows)


def _check_ppm(image: ImageFile.ImageFile, data: bytes):
    samples = image.width * image.height * len(image.getbands())
    if image.tile[0][0] == "ppm_plain" and samples > _MAX_PLAIN_SAMPLES:
        raise MediaError(
            "too_large", f"{samples:,} samples as text; at most {_MAX_PLAIN_SAMPLES:,} are read. Save the image as PNG"
        )


def _load_ppm(image: ImageFile.ImageFile, data: bytes) -> Image.Image:
    """Decodes a binary PPM or PGM file of an unusual range as Pillow does, but not sample by sample in Python."""
    _, _, offset, args = image.tile[0]
    maxval, shape = int(cast(tuple, args)[-1]), (image.height, image.width, 3)[: 2 if len(image.getbands()) == 1 else 3]
    white, dtype = (65535, np.uint16) if image.mode == "I" else (255, np.uint8)
    # The scale of each value, by Python's rounding.
    table = np.array(
        [min(white, round(value / maxval * white)) for value in range(2**16 if maxval > 255 else 256)], dtype
    )
    samples = np.frombuffer(data, ">u2" if maxval > 255 else np.uint8, math.prod(shape), offset)
    return Image.fromarray(table[samples].reshape(shape))


def _check_bmp(image: ImageFile.ImageFile, data: bytes):
    if image.tile and image.tile[0][0] == "bmp_rle" and len(data) > _MAX_RUN_LENGTH_BYTES:
        raise MediaError(
            "too_large", f"at most {_MAX_RUN_LENGTH_BYTES:,} bytes of run lengths are decoded of a BMP image"
        )


_BEFORE_OPENING: dict[str, Callable[[bytes, MediaFormat], None]] = {
    "JPEG": lambda data, image_format: jpeg_file.check_scans(data),
    "PNG": lambda data, image_format: png_file.check_chunks(data),
    "WEBP": _check_webp_size,
    "HEIF": _import_heif,
}
_AFTER_OPENING: dict[str, Callable[[ImageFile.ImageFile, bytes], None]] = {
    "PNG": _scale_transparent_value, "TIFF": _check_tiff, "PPM": _check_ppm, "BMP": _check_bmp,
}  # fmt: skip
