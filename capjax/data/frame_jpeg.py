"""Encodes decoded frames of videos as JPEG files.

Colors are converted from the stream's matrix and range to JPEG's. Interlaced frames are reduced to one field.
"""

from fractions import Fraction
from typing import cast

import av
import cv2
import numpy as np
import simplejpeg
from av.video.reformatter import VideoReformatter

from capjax.data.photo import MediaSettings

_REFORMATTER = VideoReformatter()


def frame_to_jpeg(frame: av.VideoFrame, settings: MediaSettings, pixel_shape: float) -> bytes:
    """Encodes a frame as an upright RGB JPEG with square pixels and a short side of at most `settings.size` pixels.

    Args:
      pixel_shape: Width of a pixel, relative to its height.
    """
    shape = (frame.height, frame.width * pixel_shape)
    scale = min(1.0, settings.size / min(shape))
    height, width = (max(1, round(side * scale)) for side in shape)
    turns = round(frame.rotation / 90) % 4
    if frame.interlaced_frame and frame.height > 2:
        frame = _one_field(frame)
    frame = _REFORMATTER.reformat(
        frame, width, height, "yuvj420p", interpolation="BICUBIC",
        dst_colorspace="ITU601",  # type: ignore[arg-type]  # PyAV's annotation lacks the names
        dst_color_range="JPEG", threads=1,
    )  # fmt: skip
    planes = [_pixels(plane) for plane in frame.planes]
    if turns:
        planes = [np.ascontiguousarray(np.rot90(plane, turns)) for plane in planes]
    y, u, v = planes
    return encode_yuv(y, u, v, settings.quality)


def _pixels(plane) -> np.ndarray:
    """Returns a view of a plane without row padding, uint8 [height, width]."""
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]


def encode_yuv(y: np.ndarray, u: np.ndarray, v: np.ndarray, quality: int) -> bytes:
    """Encodes 4:2:0 planes, uint8 [h, w] and twice [ceil(h / 2), ceil(w / 2)], as a JPEG file.

    TurboJPEG always reads an even number of rows and columns of luma. Planes of odd size are therefore padded:
    otherwise it would read memory beyond them, which differs from run to run.
    """
    height, width = y.shape
    if height % 2 or width % 2:
        y = cv2.copyMakeBorder(y, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)[:height, :width]
    return simplejpeg.encode_jpeg_yuv_planes(y, u, v, quality)


def _one_field(frame: av.VideoFrame) -> av.VideoFrame:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
    )
    field, sink = graph.add("field", "type=top"), graph.add("buffersink")
    source.link_to(field)
    field.link_to(sink)
    graph.configure()
    source.push(frame)
    return cast(av.VideoFrame, sink.pull())
