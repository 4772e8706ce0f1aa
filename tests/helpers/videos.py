"""Videos for the tests, in which every frame tells its number."""

import struct
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import simplejpeg
from av.stream import Disposition

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
    unit: Fraction = Fraction(1, 90_000), audio_seconds: float = 1.0, fps: int = 25,
    container_options=None, colors=None,
) -> Path:  # fmt: skip
    """Frame k is shown from `times[k]` seconds on; or the pictures given.

    Args:
      colors: Values of the encoder's attributes, such as `color_trc`.
    """
    with av.open(str(path), "w", format=format, options=container_options or {}) as out:
        stream = out.add_stream(codec, rate=fps, options=options or {"g": "12", "bf": "2"})
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.time_base = stream.codec_context.time_base = unit
        if pixel_shape:
            stream.codec_context.sample_aspect_ratio = pixel_shape
        for name, value in (colors or {}).items():
            setattr(stream.codec_context, name, value)
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
            for k in range(round(audio_seconds * 16_000 / 1024)):
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                frame.sample_rate, frame.time_base = 16_000, Fraction(1, 16_000)
                frame.pts = round(audio_from * 16_000) + 1024 * k
                out.mux(sound.encode(frame))
            out.mux(sound.encode())
    return path


def copy_streams(sources, path: Path, *, default: int | None = None, filters=None) -> Path:
    """Copies the video streams of files into one file, in their order; raw ones at 25 frames per second.

    Args:
      default: Index of the stream with the default flag; None leaves the choice to FFmpeg.
      filters: Bitstream filter for all packets.
    """
    with ExitStack() as stack:
        out = stack.enter_context(av.open(str(path), "w"))
        copies = []
        for number, source in enumerate(sources):
            file = stack.enter_context(av.open(str(source)))
            copy = out.add_stream_from_template(file.streams.video[0])
            if default is not None:
                copy.disposition = Disposition.default if number == default else Disposition(0)
            bitstream = av.BitStreamFilterContext(filters, file.streams.video[0], copy) if filters else None
            copies.append((file, copy, bitstream))
        packets = []
        for file, copy, bitstream in copies:
            for number, packet in enumerate(file.demux(video=0)):
                if packet.pts is None and packet.size:
                    packet.pts = packet.dts = round(number / 25 / packet.time_base)
                for filtered in bitstream.filter(packet) if bitstream and packet.size else [packet]:
                    if filtered.size:
                        filtered.stream = copy
                        packets.append((float((filtered.dts or 0) * filtered.time_base), filtered))
        for _, packet in sorted(packets, key=lambda pair: pair[0]):
            out.mux(packet)
    return path


def set_display_matrix(path: Path, matrix) -> Path:
    """Writes the first four values of the display matrix, a, b, c and d, of the first track of an MP4 or MOV file."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40  # version, dates, id, duration, layer, group and volume come first
    a, b, c, d = (round(value * 65_536) for value in matrix)
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def packed_avi(path: Path, count: int, rate: int) -> Path:
    """Writes an AVI file as DivX does: each B-frame is in the packet of the P-frame that it depends on."""
    plain = write_video(
        path.with_name("plain.avi"), np.arange(count) / rate, codec="mpeg4", unit=Fraction(1, rate),
        options={"g": "1000", "bf": "1", "b_strategy": "0", "b": "20M"},
    )  # fmt: skip
    frame, not_coded = b"\x00\x00\x01\xb6", b"\x00\x00\x01\xb6\x50\x0f"
    with av.open(str(plain)) as file, av.open(str(path), "w") as out:
        copy = out.add_stream_from_template(file.streams.video[0])
        frames = [bytes(packet) for packet in file.demux(video=0) if packet.size]
        head = frames[0].index(frame)
        frames[0] = frames[0][:head] + b"\x00\x00\x01\xb2DivX503b1393p" + frames[0][head:]
        is_b = [data[data.index(frame) + 4] >> 6 == 2 for data in frames]
        packets = []
        for data, b in zip(frames, is_b, strict=True):
            if b:
                packets[-1] += data
                packets.append(not_coded)
            else:
                packets.append(data)
        for number, data in enumerate(packets):
            packet = av.Packet(data)
            packet.stream, packet.time_base = copy, Fraction(1, rate)
            packet.pts = packet.dts = number
            packet.is_keyframe = number == 0
            out.mux(packet)
    return path


def pixels(jpeg: bytes) -> np.ndarray:
    return simplejpeg.decode_jpeg(jpeg)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    b = cv2.resize(b, a.shape[1::-1], interpolation=cv2.INTER_AREA) if a.shape != b.shape else b
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9)))
