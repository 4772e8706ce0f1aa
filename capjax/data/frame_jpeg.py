"""Encodes decoded frames of videos as JPEG files.

The output is upright 8-bit RGB. Colors are converted from the stream's matrix and range to JPEG's, HDR to the standard
range, transparency is composed on white, and interlaced frames are reduced to one field.
"""

import functools
import struct
import threading
from collections.abc import Mapping
from fractions import Fraction
from typing import cast

import av
import cv2
import numpy as np
import simplejpeg
from av.sidedata.sidedata import Type
from av.video.reformatter import VideoReformatter

from capjax.data.photo import MediaSettings
from capjax.data.tone_map import HLG, PQ, to_sdr

_BT2020 = 9


class _Reformatters(threading.local):
    """The reformatter of each thread. It keeps its tables from frame to frame, and must not be used by two at once."""

    own: VideoReformatter

    def __init__(self):
        self.own = VideoReformatter()


_REFORMATTERS = _Reformatters()


def frame_to_jpeg(frame: av.VideoFrame, settings: MediaSettings, pixel_shape: float) -> bytes:
    """Encodes a frame as an upright RGB JPEG with square pixels and a short side of at most `settings.size` pixels.

    Args:
      pixel_shape: Width of a pixel, relative to its height.
    """
    shape = (frame.height, frame.width * pixel_shape)
    scale = min(1.0, settings.size / min(shape))
    height, width = (max(1, round(side * scale)) for side in shape)
    orientation = _orientation(frame)
    if frame.interlaced_frame and frame.height > 2:
        frame = _filtered(frame, "field", "type=top")
    if frame.color_trc in (PQ, HLG):
        frame = _standard_range(frame, width, height)
    elif _has_alpha(frame.format.name):
        frame = _on_white(frame)
    frame = _REFORMATTERS.own.reformat(
        frame, width, height, "yuvj420p", interpolation="BICUBIC",
        dst_colorspace="ITU601",  # type: ignore[arg-type]  # PyAV's annotation lacks the names
        dst_color_range="JPEG", threads=1,
    )  # fmt: skip
    planes = [_pixels(plane) for plane in frame.planes]
    if orientation != _UPRIGHT:
        planes = [_turn(plane, *orientation) for plane in planes]
    y, u, v = planes
    return encode_yuv(y, u, v, settings.quality)


_UPRIGHT = (False, False, False)


def _orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """Returns how a frame comes upright: (rows and columns change places, then flip columns, then flip rows).

    A display matrix moves the pixel in column x and row y to column a * x + c * y and row b * x + d * y, with the
    first values a, b, 0, c, d; FFmpeg's command and players reduce it to quarter turns and reflections as well.
    """
    matrix = _side_data(frame, Type.DISPLAYMATRIX)
    if matrix is None:
        return _UPRIGHT
    a, b, _, c, d = struct.unpack_from("5i", matrix)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, a < 0, d < 0
    return True, c < 0, b < 0


def _side_data(frame: av.VideoFrame, kind: Type):
    for _ in range(8):
        try:
            return cast(Mapping, frame.side_data).get(kind)
        # PyAV gives none if there is a type that it does not know, such as EXIF, and its error starts with the number.
        except ValueError as error:
            frame = _filtered(frame, "sidedata", f"mode=delete:type={str(error).split()[0]}")
    return None


def _turn(plane: np.ndarray, transposed: bool, flip_columns: bool, flip_rows: bool) -> np.ndarray:
    plane = plane.T if transposed else plane
    return np.ascontiguousarray(plane[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


def _standard_range(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """Returns an HDR frame at another size, as an SDR frame."""
    unspecified = frame.colorspace == 2
    rgb = _REFORMATTERS.own.reformat(
        frame, width, height, "rgb48le", interpolation="BICUBIC", threads=1,
        src_colorspace=_BT2020 if unspecified else None, dst_color_range="JPEG",
    )  # fmt: skip
    return av.VideoFrame.from_ndarray(
        to_sdr(rgb.to_ndarray(), frame.color_trc, frame.color_primaries, _peak(frame)), "rgb24"
    )


def _peak(frame: av.VideoFrame) -> float | None:
    """Returns the luminance of the brightest white of the mastering display in cd/m²; None if unknown."""
    data = _side_data(frame, Type.MASTERING_DISPLAY_METADATA)
    if data is None:
        return None
    # AVMasteringDisplayMetadata: ten fractions, the last of them the largest luminance, then which are known.
    *_, numerator, denominator, _, has_luminance = struct.unpack_from("22i", data)
    return numerator / denominator if has_luminance and denominator else None


@functools.cache
def _has_alpha(pixel_format: str) -> bool:
    return pixel_format == "pal8" or any(part.is_alpha for part in av.VideoFormat(pixel_format).components)


def _on_white(frame: av.VideoFrame) -> av.VideoFrame:
    """Returns a frame composed on white, as photos are; the frame itself if it is opaque."""
    plane = _REFORMATTERS.own.reformat(frame, format="rgba", dst_color_range="JPEG", threads=1).planes[0]
    rgba = _pixels(plane, 4).reshape(frame.height, frame.width, 4)
    if rgba[..., 3].min() == 255:
        return frame
    rgb = np.empty((*rgba.shape[:2], 3), np.uint8)
    for row, out in zip(rgba, rgb, strict=True):  # by rows, as a frame can be large
        alpha = row[:, 3:].astype(np.uint16)
        out[:] = (row[:, :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return av.VideoFrame.from_ndarray(rgb, "rgb24")


def _pixels(plane, channels: int = 1) -> np.ndarray:
    """Returns a view of a plane without row padding, uint8 [height, width * channels]."""
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : channels * plane.width]


def encode_yuv(y: np.ndarray, u: np.ndarray, v: np.ndarray, quality: int) -> bytes:
    """Encodes 4:2:0 planes, uint8 [h, w] and twice [ceil(h / 2), ceil(w / 2)], as a JPEG file.

    TurboJPEG always reads an even number of rows and columns of luma. Planes of odd size are therefore padded:
    otherwise it would read memory beyond them, which differs from run to run.
    """
    height, width = y.shape
    if height % 2 or width % 2:
        y = cv2.copyMakeBorder(y, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)[:height, :width]
    return simplejpeg.encode_jpeg_yuv_planes(y, u, v, quality)


def _filtered(frame: av.VideoFrame, name: str, options: str) -> av.VideoFrame:
    """Applies a filter of FFmpeg."""
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
    )
    applied, sink = graph.add(name, options), graph.add("buffersink")
    source.link_to(applied)
    applied.link_to(sink)
    graph.configure()
    source.push(frame)
    return cast(av.VideoFrame, sink.pull())
