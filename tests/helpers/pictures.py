"""Pictures for tests."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colors, as photos have."""
    small = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    """The image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    width: int, height: int, depth: int, color: int, rows: bytes, before: bytes = b"", after: bytes = b"",
    interlaced: bool = False,
) -> bytes:  # fmt: skip
    """A PNG file by hand, for what Pillow does not write: chunks before and after the pixels are given."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    pixels = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + before + pixels + after + png_chunk(b"IEND", b"")


def png_rows(samples: np.ndarray, depth: int) -> bytes:
    """The rows of an unfiltered PNG file: samples [h, w] or [h, w, c] of 1, 2, 4, 8 or 16 bits."""
    samples = samples.reshape(len(samples), -1)
    if depth >= 8:
        return b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in samples)
    bits = (samples[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    return b"".join(b"\0" + np.packbits(row.astype(np.uint8)).tobytes() for row in bits.reshape(len(samples), -1))
