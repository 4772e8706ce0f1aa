"""Decodes JPEG files completely or not at all.

libjpeg reports missing data as a warning and fills the rest of the picture with gray. Here a warning is an error,
unless it concerns bytes that do not belong to the picture: metadata, and stray bytes between segments.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import simplejpeg

from capjax.data.media_file import REMEDY, MediaError
from capjax.data.media_formats import MAX_PIXELS

# Decoding time grows with the number of scans, which may be empty. Encoders make about ten.
_MAX_SCANNED_PIXELS = 12 * MAX_PIXELS
_MAX_SCANS_TO_REPAIR = 64
_MAX_SEGMENTS = 100_000

_SOI, _EOI, _SOS, _APP0, _APP1, _APP14 = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD})
# A marker that ends entropy-coded data: neither a stuffed byte, nor a restart marker, nor a fill byte.
_END_OF_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_EXTRANEOUS = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
_JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
_COLORSPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}


class UnknownSubsampling(ValueError):
    """TurboJPEG does not decode files with these sampling factors; libjpeg does."""


def decode(data: bytes, mode: str, min_size: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Decodes a JPEG file that `check_scans` found complete.

    The picture is reduced to 1/2, 1/4 or 1/8 as far as it stays at least as large as `min_size`.

    Args:
      data: The file.
      mode: Pillow's mode of the image: L, RGB or CMYK.
      min_size: (width, height); (0, 0) for the full size.

    Returns:
      uint8 [h, w] or [h, w, c].

    Raises:
      MediaError: Data are missing or damaged.
      UnknownSubsampling: See there.
    """
    try:
        return _decode(data, mode, min_size)
    except UnknownSubsampling:
        raise
    except ValueError:
        return _decode(_without_stray_bytes(data, mode), mode, min_size)


def check_strip(data: bytes, mode: str, max_pixels: int):
    """Raises MediaError if the JPEG of a strip or tile of a TIFF file is incomplete, or has more pixels than that."""
    check_scans(data)
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        if height * width > max_pixels:
            raise MediaError("damaged", f"{width} x {height} pixels in a strip or tile for {max_pixels}")
        decode(data, mode, (1, 1))
    except UnknownSubsampling:
        return
    except ValueError as error:
        if "subsampling" not in str(error):
            raise MediaError("damaged", f"a strip or tile is damaged or cut short ({error}); {REMEDY}") from error


def is_intact(data: bytes) -> bool:
    """Whether libjpeg has no warning about a color JPEG file."""
    try:
        # The decoder of training; `strict` raises an error on warnings.
        simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError:
        return False
    return True


def _decode(data: bytes, mode: str, min_size: tuple[int, int]) -> np.ndarray:
    width, height = min_size
    try:
        pixels = simplejpeg.decode_jpeg(data, _COLORSPACES[mode], min_height=height, min_width=width, strict=True)
    except ValueError as error:
        if "subsampling" in str(error):
            raise UnknownSubsampling(str(error)) from error
        raise MediaError("damaged", f"the JPEG is damaged or cut short ({error}); {REMEDY}") from error
    if mode == "CMYK":  # stored inverted, by Adobe's convention
        np.subtract(255, pixels, out=pixels)
    return pixels[..., 0] if mode == "L" else pixels


def check_scans(data: bytes):
    """Raises MediaError if scans of a JPEG file are missing, or if there are so many scans or segments that reading
    them would take long.

    A progressive file that is cut between two scans lacks detail or color, and libjpeg has no warning about it.
    """
    frame = pixels = scans = 0
    missing: dict[int, list[int]] = {}  # of each component, the lowest bit of each coefficient that is known
    for marker, start, end in _segments(data):
        if marker in _FRAMES:
            frame, header = marker, data[start + 4 : end]
            pixels = int.from_bytes(header[1:3]) * int.from_bytes(header[3:5])
            missing = {id: [16] * 64 for id in header[6::3]}
        elif marker == _SOS:
            scans += 1
            if scans * pixels > _MAX_SCANNED_PIXELS:
                raise MediaError("too_large", f"a JPEG of {pixels:,} pixels in {scans} scans or more; save it anew")
            header = data[start + 4 : end]
            components = header[1 : 1 + 2 * header[0] : 2] if header else b""
            if frame not in _PROGRESSIVE:
                missing = {id: bits for id, bits in missing.items() if id not in components}
                if not missing:
                    return
                continue
            first, last, bits = header[-3:] if len(header) >= 3 else (0, 0, 0)
            for id in components:
                if id in missing:
                    missing[id][first : last + 1] = [bits & 15] * len(missing[id][first : last + 1])
    if any(any(bits) for bits in missing.values()):
        raise MediaError("damaged", "the JPEG is cut short: its last scans are missing")


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields the marker, the start and the end of each segment up to the end of the image; entropy-coded data follow
    that of a scan. Stray bytes between segments are passed over, as libjpeg does."""
    position, count = 2, 0
    while (position := data.find(b"\xff", position)) >= 0 and position + 4 <= len(data):
        marker = data[position + 1]
        if marker == _EOI:
            return
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker <= 0x01 or 0xD0 <= marker <= _SOI:  # without a length
            position += 2
            continue
        end = min(position + 2 + max(2, data[position + 2] << 8 | data[position + 3]), len(data))
        count += 1
        if count > _MAX_SEGMENTS:  # Pillow reads them one by one in Python
            raise MediaError("damaged", f"a JPEG of more than {_MAX_SEGMENTS:,} segments; save it anew")
        yield marker, position, end
        position = _end_of_scan(data, end) if marker == _SOS else end


def _end_of_scan(data: bytes, start: int) -> int:
    match = _END_OF_SCAN.search(data, start)
    return match.start() if match else len(data)


@dataclass
class _Scan:
    """Tables and header of a scan, and its entropy-coded data."""

    header: bytes
    coded: bytes


def without_metadata(data: bytes) -> bytes:
    """Returns a JPEG file without metadata, except EXIF."""
    head, scans = _parts(data)
    return head + b"".join(scan.header + scan.coded for scan in scans) + b"\xff\xd9"


def with_longer_scan(data: bytes) -> bytes:
    """Returns a JPEG file with arbitrary bytes after the entropy-coded data of its last scan."""
    head, scans = _parts(data)
    if not scans:
        raise MediaError("damaged", "the JPEG has no picture")
    scans[-1].coded += b"\x35\xca\x5a\x96" * 2**14
    return head + b"".join(scan.header + scan.coded for scan in scans) + b"\xff\xd9"


def _without_stray_bytes(data: bytes, mode: str) -> bytes:
    """Returns a JPEG file that decodes to the same pixels without a warning.

    Raises:
      MediaError: Data of the picture are missing or damaged.
    """
    head, scans = _parts(data)
    if len(scans) > _MAX_SCANS_TO_REPAIR:
        raise MediaError("damaged", f"the JPEG is damaged, and has {len(scans)} scans")
    written = head
    # libjpeg tells the first warning only: scans are checked one by one, so that none hides another.
    for scan in scans:
        for _ in range(3):
            warning = _first_warning(written + scan.header + scan.coded + b"\xff\xd9", mode)
            match = _EXTRANEOUS.fullmatch(warning)
            if match is None:
                break
            scan.coded = scan.coded[: -int(match[1])]
        if warning:
            raise MediaError("damaged", f"the JPEG is damaged or cut short ({warning}); {REMEDY}")
        written += scan.header + scan.coded
    return written + b"\xff\xd9"


def _first_warning(data: bytes, mode: str) -> str:
    """Returns libjpeg's first warning or error about a file; an empty text if there is none."""
    try:
        simplejpeg.decode_jpeg(data, _COLORSPACES[mode], min_height=1, min_width=1, strict=True)
    except ValueError as error:
        return "" if "subsampling" in str(error) else str(error)
    return ""


def _parts(data: bytes) -> tuple[bytes, list[_Scan]]:
    """Returns the part of a JPEG file before its first scan without other metadata than EXIF, and the scans."""
    head, adobe, tables, scans = [b"\xff\xd8"], b"", b"", []
    frame, components = 0, 3
    for marker, start, end in _segments(data):
        content = data[start:end]
        if marker == _APP0 and content[4:9] == b"JFIF\0":
            head.append(_JFIF)  # libjpeg warns of versions that it does not know
        elif marker == _APP1 and content[4:10] == b"Exif\0\0":
            head.append(content)
        elif marker == _APP14 and content[4:9] == b"Adobe" and len(content) >= 16:
            adobe = content
        elif marker in _FRAMES or marker in _TABLES:
            if marker in _FRAMES:
                frame, components = marker, content[9]
            tables += content
        elif marker == _SOS:
            if frame not in _PROGRESSIVE | _LOSSLESS:
                content = content[:-3] + b"\0\x3f\0"  # of no meaning there, and not always written
            scans.append(_Scan(tables + content, data[end : _end_of_scan(data, end)]))
            tables = b""
    if adobe:
        # Any color transform other than none is the one for this number of components.
        transform = 0 if not adobe[15] else 1 if components == 3 else 2
        head.append(adobe[:15] + bytes([transform]) + adobe[16:])
    return b"".join(head), scans
