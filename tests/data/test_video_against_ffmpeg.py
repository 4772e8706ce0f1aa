"""At every time we give the frame that FFmpeg's own program gives, and it looks the same."""

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from capjax.data.photo import MediaSettings
from capjax.data.video import VideoFile
from tests.helpers.videos import number_of, pixels, psnr, write_video

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg program here")

PICTURE, FPS = MediaSettings(256, 95), 2.0
FIFTH = np.arange(0, 4, 0.04)
_RNG = np.random.default_rng(0)

MADE = {
    "variable.mkv": (np.round(np.cumsum(_RNG.uniform(0.02, 0.7, 40)), 3), {}),
    "variable.mp4": (np.round(np.cumsum(_RNG.uniform(0.02, 0.7, 40)), 3), {"options": {"g": "7", "bf": "3"}}),
    "late.ts": (FIFTH + 7.3, {}),
    "late.mkv": (FIFTH + 0.37, {}),
    "open.mp4": (FIFTH, {"options": {"bf": "3", "x264-params": "open-gop=1:keyint=20"}}),
    "refresh.mov": (FIFTH, {"options": {"x264-params": "intra-refresh=1:keyint=20:bframes=0"}}),
    "vp9.webm": (FIFTH, {"codec": "libvpx-vp9", "options": {"g": "20", "deadline": "realtime"}}),
    "mpeg4.avi": (FIFTH, {"codec": "mpeg4", "options": {"g": "12"}, "unit": Fraction(1, 25)}),
    "mpeg4b.avi": (FIFTH, {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}, "unit": Fraction(1, 25)}),
    "ten.mkv": (FIFTH, {"codec": "ffv1", "pix_fmt": "yuv420p10le", "options": {}}),
    "sound.mp4": (FIFTH, {"audio_from": 0.0}),
}


def of_ffmpeg(path: Path, height: int, width: int) -> np.ndarray:
    """uint8 [n, h, w, 3]: what is shown at n / FPS: the last frame that came up by then (`round=up`)."""
    chain = f"fps={FPS}:round=up:start_time=0,scale={width}:{height}:flags=bicubic"
    command = ["ffmpeg", "-v", "error", "-i", path, "-map", "0:v:0", "-vf", chain, "-f", "rawvideo"]
    done = subprocess.run([*command, "-pix_fmt", "rgb24", "-"], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)


def ours(path: Path) -> dict[int, bytes]:
    """The frame shown at n / FPS as JPEG."""
    video = VideoFile(path)
    moments = np.arange(0, video.duration - 1e-4, 1 / FPS)
    return {index: video.jpeg(shown.frame, PICTURE) for shown in video.frames_at(moments) for index in shown.indices}


@pytest.mark.parametrize("name", MADE)
def test_the_frame_at_a_time_is_the_one_that_ffmpeg_shows_then(tmp_path, name):
    times, how = MADE[name]
    path = write_video(tmp_path / name, times, **how)
    mine = ours(path)
    theirs = of_ffmpeg(path, *pixels(mine[0]).shape[:2])
    assert len(mine) >= 8
    # FFmpeg leaves out the last moment where the last frame lasts for less than half a step.
    assert abs(len(theirs) - len(mine)) <= 1
    for index in range(min(len(theirs), len(mine))):
        assert number_of(mine[index]) == number_of(theirs[index]), index / FPS


def real_clips(folder: Path) -> list[Path]:
    return sorted((folder / "msvd" / "YouTubeClips").glob("*.avi")) + [folder / "video" / "women_long_jump.mp4"]


def test_frames_of_real_clips_are_those_of_ffmpeg_at_their_times(shared_data):
    for path in real_clips(shared_data):
        mine = {index: pixels(jpeg) for index, jpeg in ours(path).items()}
        theirs = of_ffmpeg(path, *mine[0].shape[:2])
        assert abs(len(theirs) - len(mine)) <= 1, path.name
        for index in range(min(len(theirs), len(mine))):
            assert psnr(mine[index], theirs[index]) > 30, (path.name, index / FPS)
