"""Which stream of a file is the film, and which files are videos whatever their names."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from capjax.data.photo import MediaError, MediaSettings
from capjax.data.video import VideoFile
from tests.helpers.videos import copy_streams, number_of, write_video

PICTURE = MediaSettings(256, 95)
TIMES = np.arange(0, 2, 0.04)
LARGE, SMALL = (192, 96), (96, 48)


def film(path: Path, size, first: int = 0, frames: int = 50) -> Path:
    """A video whose frames are numbered from `first` on."""
    from tests.helpers.videos import numbered

    pictures = [numbered(first + k, *size) for k in range(frames)]
    return write_video(path, TIMES[:frames], size=size, pictures=pictures, unit=Fraction(1, 25))


def first_number(path: Path) -> int:
    (shown,) = VideoFile(path).frames_at([0.0])
    return number_of(VideoFile(path).jpeg(shown.frame, PICTURE))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize(
    ("sizes", "default", "chosen"),
    [
        ((SMALL, LARGE), 1, 1),  # a thumbnail in front of the film
        ((LARGE, SMALL), 0, 0),
        ((LARGE, SMALL), 1, 1),  # the flag counts more than the size
        ((SMALL, LARGE), 0, 0),
        ((LARGE, LARGE), 1, 1),
    ],
)
def test_the_default_stream_is_the_film(tmp_path, suffix, sizes, default, chosen):
    sources = [film(tmp_path / f"{k}.mp4", size, 100 * k) for k, size in enumerate(sizes)]
    path = copy_streams(sources, tmp_path / f"a.{suffix}", default=default)
    assert first_number(path) == 100 * chosen


def test_of_streams_without_flags_the_largest_is_the_film(tmp_path):
    sources = [film(tmp_path / f"{k}.ts", size, 100 * k) for k, size in enumerate((SMALL, LARGE, SMALL))]
    assert first_number(copy_streams(sources, tmp_path / "a.ts")) == 100


def test_a_stream_without_frames_is_not_the_film(tmp_path):
    sources = [film(tmp_path / f"{k}.mp4", size, 100 * k) for k, size in enumerate((LARGE, SMALL))]
    with (
        av.open(str(sources[0])) as large,
        av.open(str(sources[1])) as small,
        av.open(str(tmp_path / "a.mp4"), "w") as out,
    ):
        out.add_stream_from_template(large.streams.video[0])
        copy = out.add_stream_from_template(small.streams.video[0])
        for packet in small.demux(video=0):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    assert first_number(tmp_path / "a.mp4") == 100


@pytest.mark.parametrize("with_film", [True, False])
def test_cover_art_is_never_the_film(tmp_path, with_film):
    """An MP4 file with a JPEG as its cover; the same cover on a file of sound."""
    path = tmp_path / "a.mp4"
    picture = write_video(tmp_path / "cover.mjpeg", [0.0], codec="mjpeg", pix_fmt="yuvj420p", options={"b": "20M"})
    with av.open(str(path), "w") as out, av.open(str(picture)) as cover:
        sound = out.add_stream("aac", rate=16_000)
        sound.layout = "mono"
        art = out.add_stream_from_template(cover.streams.video[0])
        art.disposition = av.stream.Disposition.attached_pic
        if with_film:
            source = av.open(str(film(tmp_path / "film.mp4", SMALL, 100)))
            copy = out.add_stream_from_template(source.streams.video[0])
        out.start_encoding()
        (packet, *_) = cover.demux(video=0)
        packet.stream = art
        out.mux(packet)
        if with_film:
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = copy
                    out.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16_000
        out.mux(sound.encode(frame))
        out.mux(sound.encode())
    if with_film:
        assert first_number(path) == 100
    else:
        with pytest.raises(MediaError, match="a.mp4 has no video stream"):
            VideoFile(path)


RAW = {
    "h264": ("libx264", {"g": "12"}, "yuv420p"),
    "hevc": ("libx265", {"x265-params": "log-level=none"}, "yuv420p"),
    "mjpeg": ("mjpeg", {"b": "20M"}, "yuvj420p"),
    "m2v": ("mpeg2video", {"b": "20M"}, "yuv420p"),
    "ivf": ("libvpx-vp9", {"deadline": "good", "cpu-used": "8"}, "yuv420p"),
    "mkv": ("libx264", {"g": "12"}, "yuv420p"),
    "ts": ("libx264", {"g": "12"}, "yuv420p"),
    "gif": ("gif", {}, "rgb8"),
}


@pytest.mark.parametrize("suffix", ["", ".bin", ".mp4"])
@pytest.mark.parametrize("kind", RAW)
def test_a_video_is_known_by_its_content(tmp_path, kind, suffix):
    codec, options, pix_fmt = RAW[kind]
    path = write_video(
        tmp_path / f"a.{kind}", TIMES[:25], codec=codec, options=options, pix_fmt=pix_fmt, unit=Fraction(1, 25)
    )
    path = path.rename(tmp_path / f"b{suffix}")
    video = VideoFile(path)
    assert video.duration == pytest.approx(1.0, abs=0.05)
    shown = list(video.frames_at([0.02, 0.5, 0.9]))
    assert [number_of(video.jpeg(each.frame, PICTURE)) for each in shown] == [0, 12, 22]
