"""Animations for FFmpeg: those that it does not read are decoded with Pillow and written as a video in memory."""

import io
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from PIL import Image

from capjax.data.image_file import decoding_errors, open_image
from capjax.data.image_modes import eight_bit_rgb
from capjax.data.media_file import MediaError, read_file
from capjax.data.media_formats import MAX_FRAME_PIXELS, demuxer_of, format_of, media_kind

# Pixels of all frames together; more take too long.
_MAX_ANIMATED_PIXELS = 1_000_000_000
_MILLISECOND = Fraction(1, 1000)


def video_source(path: Path) -> tuple[str | BinaryIO, str | None]:
    """Returns what FFmpeg is to open for a video file, and its demuxer (None: FFmpeg finds it).

    Raises:
      MediaError: An animation is damaged, or has too many pixels.
      OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    name = media_format.name if (media_format := format_of(head)) is not None else ""
    if name in ("WEBP", "AVIF") and media_kind(path) == "video":
        return _as_video(read_file(path)), "matroska"
    if name == "GIF":
        _check_frame(*struct.unpack("<HH", head[6:10].ljust(4, b"\0")))
    elif name == "PNG":
        _check_frame(*struct.unpack(">II", head[16:24].ljust(8, b"\0")))
    return f"file:{path}", demuxer_of(path)


def _check_frame(width: int, height: int):
    if width * height > MAX_FRAME_PIXELS:
        raise MediaError(
            "too_large", f"frames of {width:,} x {height:,} pixels; at most {MAX_FRAME_PIXELS:,} are decoded of a video"
        )


def _as_video(data: bytes) -> BinaryIO:
    """Returns an animation as a lossless video in a Matroska file, with transparency composed on white."""
    file = io.BytesIO()
    image, _ = open_image(data)
    count = getattr(image, "n_frames", 1)
    if count * image.width * image.height > _MAX_ANIMATED_PIXELS:
        raise MediaError(
            "too_large",
            f"{count:,} frames of {image.width:,} x {image.height:,} pixels; of an animation in {image.format} at most "
            f"{_MAX_ANIMATED_PIXELS:,} pixels are decoded; convert it to a video",
        )
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("ffv1", rate=1000, width=image.width, height=image.height, pix_fmt="bgr0")
        stream.time_base = stream.codec_context.time_base = _MILLISECOND
        for start, length, shown in _frames(image, count):
            frame = av.VideoFrame.from_image(shown).reformat(format="bgr0")
            frame.pts, frame.time_base = start, _MILLISECOND
            for packet in stream.encode(frame):
                packet.duration = length
                output.mux(packet)
        output.mux(stream.encode(None))
    file.seek(0)
    return file


def _frames(image: Image.Image, count: int) -> Iterator[tuple[int, int, Image.Image]]:
    """Yields the start and the duration in milliseconds of each frame, and the frame as RGB."""
    start = 0
    for number in range(count):
        with decoding_errors():
            image.seek(number)
            image.load()
            frame = eight_bit_rgb(image)
        length = int(image.info.get("duration", 0))
        length = length if length > 10 else 100  # as browsers do
        yield start, length, frame
        start += length
