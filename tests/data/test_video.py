"""Frames of videos, held against what was drawn into them."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capjax.data.frame_jpeg import encode_yuv
from capjax.data.photo import MediaError, MediaSettings
from capjax.data.video import VideoFile, _plan
from tests.helpers.videos import number_of, numbered, pixels, psnr, write_video

PICTURE = MediaSettings(256, 95)
FIFTH = np.arange(0, 4, 0.04)


def frames_at(video: VideoFile, moments) -> list[tuple[float, int, list[int]]]:
    """(time, number, moments) of each frame shown."""
    return [
        (shown.time, number_of(video.jpeg(shown.frame, PICTURE)), list(shown.indices))
        for shown in video.frames_at(moments)
    ]


def expected(times, moments) -> list[tuple[float, int, list[int]]]:
    """By the definition: at each moment the last frame that has come up."""
    times = np.asarray(times) - min(times)
    shown: dict[int, list[int]] = {}
    for index, moment in enumerate(moments):
        shown.setdefault(int(np.flatnonzero(times <= moment + 1e-5)[-1]), []).append(index)
    return [(float(times[k]), k, indices) for k, indices in shown.items()]


def same(found, wanted):
    assert [(k, indices) for _, k, indices in found] == [(k, indices) for _, k, indices in wanted]
    np.testing.assert_allclose([time for time, _, _ in found], [time for time, _, _ in wanted], atol=2e-4)


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        ("mp4", "libx264", {"g": "12", "bf": "2"}),
        ("mp4", "libx264", {"g": "250", "bf": "3", "x264-params": "open-gop=1:keyint=20"}),
        ("mkv", "libx264", {"g": "10", "bf": "0"}),
        ("ts", "libx264", {"g": "25", "bf": "3"}),
        ("mov", "libx264", {"x264-params": "intra-refresh=1:keyint=20:bframes=0"}),
        ("mp4", "libx265", {"x265-params": "keyint=20:bframes=3:log-level=none"}),
        ("webm", "libvpx-vp9", {"g": "20", "deadline": "realtime"}),
        ("avi", "mpeg4", {"g": "12", "bf": "2"}),
        ("mp4", "mpeg4", {"g": "12", "bf": "2", "q:v": "2"}),
    ],
)
def test_at_each_moment_the_frame_on_the_screen_is_given_once(tmp_path, suffix, codec, options):
    if codec not in av.codec.codec.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    unit = Fraction(1, 25 if codec == "mpeg4" else 90_000)
    video = VideoFile(write_video(tmp_path / f"a.{suffix}", FIFTH, codec=codec, options=options, unit=unit))
    assert video.frames == 100
    assert video.duration == pytest.approx(4.0, abs=0.05)
    moments = np.arange(0, video.duration - 0.03, 0.5)
    frames = frames_at(video, moments)
    if suffix == "avi":  # which has no presentation times: a delay of the decoder's frame or two
        assert [number for _, number, _ in frames] == pytest.approx([moment * 25 for moment in moments], abs=2)
    else:
        same(frames, expected(FIFTH, moments))


@settings(max_examples=25, deadline=None)
@given(
    gaps=st.lists(st.floats(0.02, 1.5), min_size=3, max_size=40),
    fps=st.sampled_from([1.0, 2.0, 3.7, 5.0]),
    start=st.floats(0, 3),
    key=st.integers(1, 15),
    bframes=st.integers(0, 3),
)
def test_variable_frame_rates_are_read_by_their_true_times(tmp_path_factory, gaps, fps, start, key, bframes):
    times = np.round(np.cumsum([0.0, *gaps]), 3)
    path = tmp_path_factory.mktemp("v") / "a.mkv"  # whose clock counts milliseconds
    video = VideoFile(write_video(path, times, options={"g": str(key), "bf": str(bframes)}, size=(96, 48)))
    moments = np.arange(start, times[-1], 1 / fps)
    # A moment within a millisecond of a change may fall on either side of it.
    moments = moments[np.abs(moments[:, None] - times).min(1, initial=9) > 2e-3]
    same(frames_at(video, moments), expected(times, moments))


def test_no_more_is_decoded_than_what_the_wanted_frames_depend_on():
    keys = np.zeros(100, bool)
    keys[::25] = True
    plan = _plan(np.arange(100), keys, np.array([30, 31]))
    assert np.flatnonzero(plan.send).tolist() == [25, 26, 27, 28, 29, 30, 31]
    # Shown before the key frame that it follows in the file: it builds on the group before.
    order = np.arange(100)
    order[50:53] = [52, 50, 51]
    plan = _plan(order, keys, np.array([51]))
    assert np.flatnonzero(plan.send).tolist() == list(range(25, 53))


def test_time_begins_where_players_begin_it(tmp_path):
    late = VideoFile(write_video(tmp_path / "late.ts", FIFTH + 7.3))
    assert frames_at(late, [0.0, 1.0])[1][:2] == (pytest.approx(1.0, abs=1e-3), 25)
    # Sound that begins a second before the picture: until then the screen is black.
    sound = VideoFile(write_video(tmp_path / "sound.mkv", FIFTH + 1, audio_from=0.0))
    (time, number, moments), *_ = frames_at(sound, [0.0, 0.5, 1.0, 2.0])
    assert (round(time, 2), number, moments) == (1.0, 0, [2])


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_turned_video_comes_out_upright(tmp_path, turn):
    video = VideoFile(write_video(tmp_path / "a.mp4", FIFTH[:5], rotate=turn))
    (shown,) = video.frames_at([0.0])
    out = pixels(video.jpeg(shown.frame, PICTURE))
    upright = np.rot90(numbered(0, 192, 96), turn // 90)
    assert out.shape == upright.shape
    marked = np.zeros((96, 192, 3), np.uint8)
    marked[:48, :96] = 255
    video = VideoFile(write_video(tmp_path / "b.mp4", [0.0, 0.1], rotate=turn, pictures=[marked, marked]))
    (shown,) = video.frames_at([0.0])
    # A rotation in the file is what a player turns counter-clockwise.
    assert psnr(pixels(video.jpeg(shown.frame, PICTURE)), np.ascontiguousarray(np.rot90(marked, turn // 90))) > 25


def test_pixels_come_out_square_and_the_short_side_is_reduced(tmp_path):
    path = write_video(tmp_path / "a.mp4", FIFTH[:3], pixel_shape=Fraction(2, 1))
    video = VideoFile(path)
    (shown,) = video.frames_at([0.0])
    assert pixels(video.jpeg(shown.frame, MediaSettings(48))).shape == (48, 192, 3)


def test_a_picture_of_odd_sides_ends_where_it_ends():
    """Its JPEG depends on its own pixels alone: not on the row's next pixel, nor on what else is in memory."""
    files = set()
    for garbage in (0, 128, 255):
        y = np.full((40, 48), garbage, np.uint8)
        y[:35, :41] = 0
        y[:35, :20] = 255  # which comes next in memory after each row's end
        chroma = np.full((20, 24), garbage, np.uint8)
        chroma[:18, :21] = 128
        files.add(encode_yuv(y[:35, :41], chroma[:18, :21], chroma[:18, :21], 75))
        files.add(encode_yuv(*(plane.copy() for plane in (y[:35, :41], chroma[:18, :21], chroma[:18, :21])), 75))
    (jpeg,) = files
    assert pixels(jpeg).shape == (35, 41, 3)
    assert pixels(jpeg)[:, 36:].max() <= 1


@pytest.mark.parametrize("turn", [0, 90])
def test_a_frame_gives_the_same_bytes_each_time(tmp_path, turn):
    video = VideoFile(write_video(tmp_path / "a.mp4", FIFTH, rotate=turn, size=(192, 96)))
    for size in (85, 95):  # 170 x 85, 190 x 95
        files = [
            [video.jpeg(shown.frame, MediaSettings(size)) for shown in video.frames_at(np.arange(start, 4, 0.2))]
            for start in (0.0, 1.0, 0.0, 2.0)
        ]
        assert files[0] == files[2]
        assert files[0][5:] == files[1]
        assert files[0][10:] == files[3]


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv422p", "yuv444p", "gray"])
def test_ten_bits_and_other_colors_come_out_as_eight_bit_rgb(tmp_path, pix_fmt):
    video = VideoFile(write_video(tmp_path / "a.mkv", FIFTH[:3], codec="ffv1", pix_fmt=pix_fmt, options={}))
    shown = next(video.frames_at([0.08]))
    picture = numbered(2)
    if pix_fmt == "gray":
        picture = np.repeat((picture @ [0.299, 0.587, 0.114]).astype(np.uint8)[..., None], 3, 2)
    assert psnr(pixels(video.jpeg(shown.frame, PICTURE)), picture) > 25


def test_interlaced_frames_show_no_comb(tmp_path):
    """Two fields of a moving edge, woven: with one of them alone the edge is straight."""
    even, odd = (np.full((96, 192, 3), 30, np.uint8) for _ in range(2))
    even[:, 40:80], odd[:, 100:140] = 220, 220
    woven = even.copy()
    woven[1::2] = odd[1::2]
    options = {"flags": "+ildct+ilme", "g": "1"}
    video = VideoFile(write_video(tmp_path / "a.mkv", FIFTH[:3], pictures=[woven] * 3, options=options))
    (shown,) = video.frames_at([0.0])
    assert shown.frame.interlaced_frame
    out = pixels(video.jpeg(shown.frame, PICTURE)).astype(int)
    assert np.abs(np.diff(out, axis=0)).mean() < 3
    assert out.shape == (96, 192, 3)


def bad_file(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.mp4"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("no video at all " * 100)
    elif kind == "list":
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    elif kind == "concat":
        path.write_text("ffconcat version 1.0\nfile other.mp4\n")
    elif kind == "sound":
        with av.open(str(path), "w") as out:
            stream = out.add_stream("aac", rate=16_000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate = 16_000
            out.mux(stream.encode(frame))
            out.mux(stream.encode())
    elif kind == "headless":
        whole = write_video(folder / "whole.mp4", FIFTH).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])  # what says where frames are stands at the end
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("empty", "empty_file"), ("text", "damaged"), ("list", "damaged"), ("concat", "damaged"), ("sound", "no_video"),
        ("headless", "damaged"), ("folder", "not_a_video"), ("missing", "missing_video"),
    ],
)  # fmt: skip
def test_what_is_no_video_is_told_with_its_name(tmp_path, kind, named):
    with pytest.raises(MediaError, match=f"{kind}.mp4") as error:
        VideoFile(bad_file(kind, tmp_path))
    assert error.value.kind == named


def test_of_a_file_with_a_damaged_tail_all_that_is_good_is_kept(tmp_path):
    path = write_video(tmp_path / "a.mkv", FIFTH, options={"g": "10"})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(0.6 * len(whole))])
    video = VideoFile(path)
    assert 1.5 < video.duration < 3.5
    assert video.promised == pytest.approx(4.0, abs=0.1)
    moments = np.arange(0, video.duration - 0.1, 0.5)
    same(frames_at(video, moments), expected(FIFTH, moments))


def test_noise_in_the_middle_loses_no_more_than_what_builds_on_it(tmp_path):
    path = write_video(tmp_path / "a.ts", FIFTH, options={"g": "10"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 600] = np.random.default_rng(0).bytes(600)
    path.write_bytes(bytes(data))
    frames = frames_at(VideoFile(path), np.arange(0, 3.9, 0.2))
    assert sum(number == round(time * 25) for time, number, _ in frames) >= 16


def test_a_name_is_only_a_name(tmp_path):
    folder = tmp_path / "concat:x|y"
    folder.mkdir()
    assert VideoFile(write_video(folder / "http:--a%d b.mp4", FIFTH[:3])).frames == 3


def test_a_frame_of_an_odd_size_gives_the_same_bytes_every_time(tmp_path):
    video = VideoFile(write_video(tmp_path / "a.mp4", FIFTH[:1]))
    (shown,) = video.frames_at([0.0])
    made = set()
    for _ in range(20):
        junk = np.random.default_rng(len(made)).integers(0, 255, (95, 190), dtype=np.uint8)
        made.add(video.jpeg(shown.frame, MediaSettings(size=95)))
        del junk  # other bytes where the next picture will lie
    (jpeg,) = made
    assert pixels(jpeg).shape == (95, 190, 3)
    assert number_of(jpeg) == 0
