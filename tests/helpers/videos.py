"""Videos for the tests, in which every frame tells its number."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import simplejpeg

BITS = 12


def numbered(number: int, width: int = 192, height: int = 96) -> np.ndarray:
    """uint8 [h, w, 3]: the number in black and white bars, most significant left; the upper half is red, the lower
    blue where the bar is white."""
    bars = [(number >> (BITS - 1 - bit)) & 1 for bit in range(BITS)]
    picture = np.zeros((height, width, 3), np.uint8)
    for bit, on in enumerate(bars):
        columns = slice(bit * width // BITS, (bit + 1) * width // BITS)
        picture[: height // 2, columns] = (235, 60, 60) if on else (20, 20, 20)
        picture[height // 2 :, columns] = (60, 60, 235) if on else (20, 20, 20)
    return picture


def number_of(frame: bytes | np.ndarray) -> int:
    """The number that a frame (a JPEG, or uint8 [h, w, 3]) tells."""
    shown = (frame if isinstance(frame, np.ndarray) else simplejpeg.decode_jpeg(frame)).astype(int).max(-1)
    row = shown[shown.shape[0] // 4]
    width = len(row)
    bits = [row[round((bit + 0.5) * width / BITS)] > 128 for bit in range(BITS)]
    return int("".join("01"[bool(bit)] for bit in bits), 2)


def write_video(
    path: Path, times, *, codec: str = "libx264", options=None, size=(192, 96), pix_fmt: str = "yuv420p",
    format: str | None = None, rotate: int = 0, audio_from: float | None = None, pixel_shape=None, pictures=None,
    unit: Fraction = Fraction(1, 90_000),
) -> Path:  # fmt: skip
    """Frame k is shown from `times[k]` seconds on; or the pictures given."""
    with av.open(str(path), "w", format=format) as out:
        stream = out.add_stream(codec, rate=25, options=options or {"g": "12", "bf": "2"})
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.time_base = stream.codec_context.time_base = unit
        if pixel_shape:
            stream.codec_context.sample_aspect_ratio = pixel_shape
        sound = None
        if audio_from is not None:
            sound = out.add_stream("aac", rate=16_000)
            sound.layout = "mono"
        if rotate:
            stream.set_display_rotation(rotate)
        for k, time in enumerate(times):
            picture = pictures[k] if pictures is not None else numbered(k, *size)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = round(time / unit), unit
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
        if sound is not None:
            for k in range(16):
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                frame.sample_rate, frame.time_base = 16_000, Fraction(1, 16_000)
                frame.pts = round(audio_from * 16_000) + 1024 * k
                out.mux(sound.encode(frame))
            out.mux(sound.encode())
    return path


def pixels(jpeg: bytes) -> np.ndarray:
    return simplejpeg.decode_jpeg(jpeg)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    b = cv2.resize(b, a.shape[1::-1], interpolation=cv2.INTER_AREA) if a.shape != b.shape else b
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9)))
