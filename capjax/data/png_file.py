"""Chunks of PNG files: their metadata, and whether their pixels are complete."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from capjax.data.media_file import MediaError

# Pixels depend on these; eXIf has the orientation.
_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Pillow reads chunks one by one in Python. Encoders write chunks of 4 kB or more.
_MAX_CHUNKS = 200_000
# First column and row, and distances of columns and rows, of each pass of an interlaced file.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_BUFFER = 2**20


def depth(data: bytes) -> int:
    """Returns the number of bits of a sample."""
    return data[24]


def without_metadata(data: bytes) -> bytes | None:
    """Returns a file without metadata other than EXIF; None if it has none."""
    chunks = list(_chunks(data))
    kept = [
        chunk
        for name, chunk in chunks
        if name in _KEPT and (name != b"eXIf" or zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:]))
    ]
    return _SIGNATURE + b"".join(kept) if len(kept) < len(chunks) else None


def check_chunks(data: bytes):
    """Raises MediaError if a file has more chunks than are read."""
    for _ in _chunks(data):
        pass


def check_rows(image: Image.Image, data: bytes):
    """Raises MediaError if the compressed data of a decoded file end before its last row: Pillow leaves the rest black.

    Only if one of the last two rows is black need the data be decompressed once more. An interlaced file ends with the
    odd rows.
    """
    last = np.asarray(image.crop((0, max(0, image.height - 2), image.width, image.height)))
    if image.height > 2 and last.any(axis=tuple(range(1, last.ndim))).all():
        return
    decompressor, left = zlib.decompressobj(), _count_bytes(data[16:29])
    for name, chunk in _chunks(data):
        compressed = chunk[8:-4] if name == b"IDAT" else b""
        while compressed and left > 0 and not decompressor.eof:
            left -= len(decompressor.decompress(compressed, _BUFFER))
            compressed = decompressor.unconsumed_tail
    if left > 0:
        raise MediaError("damaged", f"the PNG image ends {left:,} bytes before its last row; copy the file again")


def _count_bytes(header: bytes) -> int:
    """Number of bytes of the rows before compression."""
    width, height, depth, color, _, _, is_interlaced = struct.unpack(">IIBBBBB", header)
    bits, sizes = depth * _CHANNELS[color], [(width, height)]
    if is_interlaced:
        sizes = [
            (-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in _PASSES if width > x and height > y
        ]
    return sum((1 + -(-columns * bits // 8)) * rows for columns, rows in sizes)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the name of each chunk, and the chunk with its length and checksum."""
    position = len(_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if position + 12 > len(data):
            return
        end = position + 12 + int.from_bytes(data[position : position + 4])
        yield data[position + 4 : position + 8], data[position:end]
        position = end
    raise MediaError("damaged", f"a PNG image of more than {_MAX_CHUNKS:,} chunks; save it anew")
