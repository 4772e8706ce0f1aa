"""Encodes pictures as an mp4 file."""

import io
from collections.abc import Iterable
from fractions import Fraction
from typing import cast

import av
import cv2
import numpy as np

# No B-frames: frames are stored in display order. No lookahead (macroblock trees, scene cuts, weighted P-frames): for
# small pictures its results depend on memory addresses.
_NO_LOOKAHEAD = "rc-lookahead=0:mbtree=0:scenecut=0:weightp=0"
_CODECS = {
    "libx264": {"preset": "veryfast", "bf": "0", "g": "50", "x264-params": _NO_LOOKAHEAD},
    "mpeg4": {"qmin": "2", "qmax": "2", "bf": "0", "g": "50"},
}


def frame_rate(fps: float) -> Fraction:
    """Frame rate as the fraction that the file stores: 12.5 as 25/2, 29.97 as 30000/1001."""
    rate = Fraction(fps).limit_denominator(100)
    if float(rate) == fps:
        return rate
    ntsc = Fraction(round(fps * 1.001) * 1000, 1001)
    return ntsc if abs(ntsc - fps) < 0.005 else rate


def encode(pictures: Iterable[np.ndarray], fps: float, crf: int = 12) -> bytes:
    """Encodes RGB pictures, uint8 [h, w, 3] with even sides, as an mp4 file with a constant frame rate.

    The codec is H.264 if this build of FFmpeg can encode it, otherwise MPEG-4. The same pictures give the same bytes,
    because the encoder runs in one thread and stores no dates.

    Args:
      fps: frames per second.
      crf: constant rate factor of x264; 0 is lossless, 23 is its default.

    Raises:
      ValueError: there are no pictures, their sizes differ, or a side is odd.
    """
    rate = frame_rate(fps)
    codec = next(name for name in _CODECS if name in av.codecs_available)
    options = dict(_CODECS[codec]) | ({"crf": str(crf)} if codec == "libx264" else {})
    file, shape = io.BytesIO(), None
    with av.open(file, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        for index, picture in enumerate(pictures):
            if shape is None:
                shape = picture.shape
                if shape[0] % 2 or shape[1] % 2:
                    raise ValueError(f"pictures of {shape[1]}x{shape[0]}; a video's sides should be even")
                stream = cast(av.VideoStream, container.add_stream(codec, rate=rate, options=options))
                stream.height, stream.width, stream.pix_fmt = *shape[:2], "yuv420p"
                stream.codec_context.thread_count = 1
                stream.codec_context.time_base = 1 / rate
            if picture.shape != shape:
                raise ValueError(f"picture {index} is {picture.shape}, the first was {shape}")
            # OpenCV converts faster than FFmpeg through PyAV.
            yuv = cast(np.ndarray, cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420))
            frame = av.VideoFrame.from_ndarray(yuv, format="yuv420p")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        if shape is None:
            raise ValueError("a video should have at least one picture")
        container.mux(stream.encode())
    return file.getvalue()
