"""Frames and times of generated videos against FFmpeg's own program: within a frame, and within 3 of 255."""

import shutil
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from capjax.data.photo import MediaSettings
from capjax.data.video import VideoFile
from tests.helpers.videos import copy_streams, pixels, set_display_matrix, write_video

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg program here")

COUNT, FAST = 200, 16
PICTURE = MediaSettings(256, 100)
# By suffix: codecs with their options and pixel formats.
X264 = ("libx264", {"crf": "12", "preset": "veryfast"}, "yuv420p")
X265 = ("libx265", {"x265-params": "log-level=none:crf=12", "preset": "ultrafast"}, "yuv420p")
VP8 = ("libvpx", {"deadline": "realtime", "cpu-used": "8", "b": "4M"}, "yuv420p")
VP9 = ("libvpx-vp9", {"deadline": "good", "cpu-used": "8", "b": "4M"}, "yuv420p")
MPEG1, MPEG2, MPEG4, WMV2, FLV1 = (
    (name, {"b": "20M"}, "yuv420p") for name in ("mpeg1video", "mpeg2video", "mpeg4", "wmv2", "flv")
)
MJPEG = ("mjpeg", {"b": "20M"}, "yuvj420p")
CODECS = {
    "mp4": [X264, X265, VP9, MPEG4, MPEG2],
    "mov": [X264, MJPEG, ("prores_ks", {}, "yuv422p10le"), ("qtrle", {}, "rgb24"), ("png", {}, "rgb24")],
    "mkv": [X264, X265, VP8, VP9, MPEG4, ("ffv1", {}, "yuv420p10le"), ("ffv1", {}, "yuv444p")],
    "webm": [VP8, VP9],
    "avi": [MPEG4, X264, MJPEG, ("huffyuv", {}, "yuv422p"), ("rawvideo", {}, "yuv420p")],
    "ts": [X264, X265, MPEG2],
    "mpg": [MPEG1, MPEG2],
    "flv": [X264, FLV1],
    "wmv": [WMV2],
    "nut": [X264],
    "h264": [X264],
    "hevc": [X265],
    "m2v": [MPEG2],
    "mjpeg": [MJPEG],
    "ivf": [VP8, VP9],
}  # fmt: skip
RAW, CONSTANT = ("h264", "hevc", "m2v", "mjpeg"), ("avi", "mpg", "wmv", "h264", "hevc", "m2v", "mjpeg")
MATRICES = [
    (1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1),
    (0, 1, 1, 0), (0, 1, -1, 0), (0, -1, 1, 0), (0, -1, -1, 0),
]  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """What a generated video is like.

    Attributes:
      clock: `constant`, `late`, `variable`, or `joined` of two parts, each of which starts at 0.
      sound: start of the sound in seconds; None for none.
      streams: `one`, or `thumbnail first` or `thumbnail second` beside the film, which has the default flag.
    """

    suffix: str
    codec: tuple
    fps: int
    frames: int
    bframes: int
    group: int
    clock: str
    sound: float | None
    matrix: tuple
    streams: str


def recipe(seed: int) -> Recipe:
    rng = np.random.default_rng(seed)
    suffix = list(CODECS)[seed % len(CODECS)]
    codec = CODECS[suffix][rng.integers(len(CODECS[suffix]))]
    clocks = ["constant"]
    if suffix in ("ts", "mpg"):
        clocks += ["joined", "joined"]
    if suffix not in CONSTANT:
        # MPEG-2 has no variable rates, and FFmpeg 5 takes them in transport streams for restarts of the clock.
        clocks += ["late"] if codec is MPEG2 or suffix == "ts" else ["late", "variable"]
    streams = ["one", "one", "thumbnail first", "thumbnail second"] if suffix in ("mp4", "mkv", "mov") else ["one"]
    clock, has_sound = str(rng.choice(clocks)), suffix in ("mp4", "mkv", "ts", "mov") and rng.random() < 0.4
    return Recipe(
        suffix=suffix,
        codec=codec,
        fps=int(rng.choice([24, 25, 30] if codec[0].startswith("mpeg") else [5, 12, 25, 50])),
        frames=int(rng.integers(12 if clock == "joined" else 8, 60)),
        bframes=int(rng.integers(0, 4)),
        group=int(rng.choice([1, 7, 25, 250])),
        clock=clock,
        sound=float(rng.choice([0.0, 0.2])) if has_sound else None,
        matrix=MATRICES[rng.integers(8)] if suffix in ("mp4", "mov") else MATRICES[0],
        streams=str(rng.choice(streams)),
    )


def drawn(number: int, width: int, height: int) -> np.ndarray:
    """uint8 [h, w, 3]: the number in gray bars, above a smooth change of color that no codec alters much."""
    rows, columns = np.mgrid[:height, :width]
    picture = np.stack([60 + 90 * columns // width, 170 - 80 * rows // height, 90 + 0 * rows], -1).astype(np.uint8)
    for bit in range(8):
        picture[: height // 2, bit * width // 8 : (bit + 1) * width // 8] = 200 if number >> bit & 1 else 40
    return picture


def generate(made: Recipe, folder: Path, seed: int) -> Path:
    codec, options, pix_fmt = made.codec
    options = dict(options)
    if codec in ("libx264", "mpeg2video", "mpeg1video", "mpeg4"):
        options |= {"g": str(made.group), "bf": str(min(made.bframes, 2) if codec != "libx264" else made.bframes)}
    unit = Fraction(1, made.fps)
    times = np.arange(made.frames) / made.fps
    if made.clock == "late":
        times += 3.0
    elif made.clock == "variable":
        unit = Fraction(1, 1000)
        times = np.round(np.cumsum(np.random.default_rng(seed).uniform(0.02, 0.5, made.frames)), 3)

    def write(name: str, size, first: int, **more) -> Path:
        pictures = [drawn(first + k, *size) for k in range(made.frames)]
        return write_video(
            folder / name, times, codec=codec, options=options, pix_fmt=pix_fmt, size=size, unit=unit, fps=made.fps,
            pictures=pictures, **more,
        )  # fmt: skip

    path = write(f"film.{made.suffix}", (128, 80), 0, audio_from=made.sound, audio_seconds=made.frames / made.fps)
    if made.clock == "joined":
        second = write(f"second.{made.suffix}", (128, 80), 100)
        path.write_bytes(path.read_bytes() + second.read_bytes())
    if made.streams != "one":
        sources = [path, write(f"thumbnail.{made.suffix}", (64, 40), 100)]
        first = made.streams == "thumbnail first"
        path = copy_streams(sources[:: -1 if first else 1], folder / f"both.{made.suffix}", default=int(first))
    return set_display_matrix(path, made.matrix) if made.matrix != MATRICES[0] else path


def frames_of_ffmpeg(path: Path, has_sound: bool) -> tuple[np.ndarray, np.ndarray]:
    """Seconds [n] and pictures uint8 [n, h, w, 3] of the stream that FFmpeg chooses, upright."""
    outputs = ["-an", "-fps_mode", "passthrough", "-enc_time_base", "1:1000000", "-pix_fmt", "rgb24"]
    raw = path.with_suffix(".raw")
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-y",
        "-i",
        path,
        *outputs,
        "-f",
        "rawvideo",
        raw,
        *outputs,
        "-f",
        "framecrc",
        "-",
    ]
    if has_sound:  # time starts with the sound only if that is used
        command += ["-vn", "-f", "null", "-"]
    lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    header = dict(line[1:].split(" 0: ") for line in lines if line.startswith("#") and " 0: " in line)
    width, height = map(int, header["dimensions"].split("x"))
    times = [int(line.split(",")[2]) * float(Fraction(header["tb"])) for line in lines if not line.startswith("#")]
    return np.array(times), np.fromfile(raw, np.uint8).reshape(-1, height, width, 3)


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[pytest.mark.slow] if seed >= FAST else []) for seed in range(COUNT)]
)
def test_a_generated_video_has_the_frames_and_times_of_ffmpeg(tmp_path, seed):
    made = recipe(seed)
    if made.codec[0] not in av.codecs_available:
        pytest.skip(f"PyAV has no {made.codec[0]}")
    path = generate(made, tmp_path, seed)
    times, pictures = frames_of_ffmpeg(path, made.sound is not None and made.streams == "one")
    video = VideoFile(path)
    ours = [(shown.time, pixels(video.jpeg(shown.frame, PICTURE))) for shown in video.frames_at((), all_frames=True)]
    if kinds := {kind for kind, _ in video.notes()} - {"clock"}:
        pytest.fail(f"{made}: reported {kinds} of an intact file")
    # Program streams give two frames one timestamp now and then; the first of them is displayed for no time.
    assert 0 <= len(times) - len(ours) <= (2 if made.suffix == "mpg" else 0), made
    assert ours[0][1].shape == pictures[0].shape, made
    usual = np.median(np.diff(times)) if len(times) > 1 else 1 / made.fps
    # The lag of frames in AVI, which FFmpeg counts, does not make the file longer.
    end, tolerance = times[-1] + usual, (2.5 if made.suffix == "avi" else 1.5) * usual
    assert video.duration > end - tolerance, made
    if made.sound is None:
        assert video.duration < end + tolerance, made
    # FFmpeg 5 counts the samples that an audio encoder needs to start, which no player plays.
    priming = 1024 / 16_000 if made.suffix == "mkv" and made.sound is not None else 0.0

    def difference(picture: np.ndarray, time: float) -> float:
        """Smallest mean difference to the frame that FFmpeg displays at a time, the one before it and the one after."""
        first, last = np.searchsorted(times, [time - 1e-3, time + priming + 1e-3], side="right") - 1
        near = pictures[max(first - 1, 0) : last + 2].astype(int)
        return np.abs(near - picture).mean((1, 2, 3)).min()

    for time, picture in ours:
        assert difference(picture, time) <= 3, (made, time)
    moments = np.arange(0.5 * usual, video.duration - usual, 3 * usual)
    for shown in video.frames_at(moments):
        picture = pixels(video.jpeg(shown.frame, PICTURE))
        for index in shown.indices:
            assert difference(picture, moments[index]) <= 3, (made, moments[index])
