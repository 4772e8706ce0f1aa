"""Animations of every format are videos, with the frames and times of the file."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from capjax.data import animation
from capjax.data.media_reader import MediaReader
from capjax.data.photo import MediaError, MediaSettings
from capjax.data.video import VideoFile
from tests.helpers.pictures import encode, picture

COLORS = [(200, 30, 40), (20, 180, 60), (30, 40, 220), (240, 240, 20)]
LENGTHS = [100, 300, 40, 500]


def moving(kind: str, **options) -> bytes:
    frames = [Image.new("RGB", (64, 48), color) for color in COLORS]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=LENGTHS, **options)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_every_frame_is_shown_at_its_time(kind, tmp_path):
    path = tmp_path / "moving"
    path.write_bytes(moving(kind, **({"lossless": True} if kind == "WEBP" else {})))
    video = VideoFile(path)
    frames = list(video.frames_at((), all_frames=True))
    np.testing.assert_allclose([frame.time for frame in frames], np.cumsum([0, *LENGTHS[:-1]]) / 1000, atol=0.002)
    assert video.duration == pytest.approx(sum(LENGTHS) / 1000, abs=0.11)
    for frame, color in zip(frames, COLORS, strict=True):
        shown = np.asarray(Image.open(io.BytesIO(video.jpeg(frame.frame, MediaSettings()))), int)
        assert np.abs(shown[24, 32] - color).max() < 12


def test_a_small_animation_of_huge_frames_is_refused_before_it_is_decoded(tmp_path):
    frame = b"," + struct.pack("<HHHH", 0, 0, 9000, 9000) + b"\0\2\2\x4c\1\0"
    path = tmp_path / "huge.gif"
    path.write_bytes(b"GIF89a" + struct.pack("<HH", 9000, 9000) + b"\x80\0\0" + bytes(6) + frame * 3 + b";")
    with pytest.raises(MediaError, match=r"huge\.gif.*9,000 x 9,000") as error:
        VideoFile(path)
    assert error.value.kind == "too_large"


def test_transparent_frames_are_on_white(tmp_path):
    frames = [Image.new("RGBA", (64, 48), (0, 0, 0, alpha)) for alpha in (0, 255)]
    data = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=500, lossless=True)
    sample = MediaReader(MediaSettings(), 2.0, 8).read(data)
    shown = [np.asarray(Image.open(io.BytesIO(frame))).mean() for frame in sample.frames]
    np.testing.assert_allclose(shown, [255, 0], atol=2)


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_a_cut_animation_is_refused_by_name(kind, tmp_path):
    frames = [picture(200, 120, seed).effect_spread(5) for seed in range(4)]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    for share in (0.4, 0.6, 0.95):
        path = tmp_path / "cut.webp"
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(MediaError, match=r"cut\.webp"):
            MediaReader(MediaSettings(), 2.0, 8).read(path)


def test_an_animation_with_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(animation, "_MAX_ANIMATED_PIXELS", 4 * 64 * 48 - 1)
    path = tmp_path / "large.webp"
    path.write_bytes(moving("WEBP"))
    with pytest.raises(MediaError, match="4 frames of 64 x 48 pixels") as error:
        VideoFile(path)
    assert error.value.kind == "too_large"
