"""Videos that lie, or are damaged: a MediaError with a reason, or all that is good in them; never anything else."""

import struct
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capjax.data.photo import MediaError, MediaSettings
from capjax.data.video import VideoFile
from tests.helpers.videos import number_of, pixels, psnr, write_video

PICTURE = MediaSettings(256, 95)
FIFTH = np.arange(0, 4, 0.04)


def numbers(video: VideoFile, moments) -> list[int]:
    return [number_of(video.jpeg(shown.frame, PICTURE)) for shown in video.frames_at(moments)]


KINDS = {
    "a.mp4": {"audio_from": 0.0},
    "b.avi": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}, "unit": Fraction(1, 25)},
    "c.webm": {"codec": "libvpx-vp9", "options": {"g": "20", "deadline": "realtime"}},
    "d.ts": {"options": {"g": "10"}},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    return {
        name: write_video(folder / name, FIFTH[:40], size=(96, 48), **how).read_bytes() for name, how in KINDS.items()
    }


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_no_damage_gives_anything_but_frames_or_a_reason(files, tmp_path_factory, data):
    name = data.draw(st.sampled_from(sorted(files)))
    content = bytearray(files[name])
    for _ in range(data.draw(st.sampled_from([0, 1, 3, 20, 200]))):
        # Headers are where it hurts: at the start, and in mp4 at the end.
        place = data.draw(st.integers(0, 700) | st.integers(-1500, -1) | st.integers(0, len(content) - 1))
        content[place % len(content)] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))]
    path = tmp_path_factory.getbasetemp() / f"damaged{Path(name).suffix}"
    path.write_bytes(bytes(content))
    start = time.perf_counter()
    try:
        video = VideoFile(path)
        assert 0 < video.duration <= 48 * 3600
        for shown in video.frames_at(np.arange(0, min(video.duration, 100), 0.5)):
            assert min(pixels(video.jpeg(shown.frame, PICTURE)).shape[:2]) <= 256
    except MediaError as error:
        assert str(path) in str(error)
    assert time.perf_counter() - start < 20


def test_a_clock_that_runs_for_years_is_told(tmp_path):
    path = write_video(tmp_path / "a.mkv", [0.0, 0.04, 1e7])
    with pytest.raises(MediaError, match=r"a.mkv lasts 1e\+07 s by its clock; at most 48 hours"):
        VideoFile(path)


def test_pixels_that_are_absurdly_wide_are_taken_for_square(tmp_path):
    path = write_video(tmp_path / "a.mp4", FIFTH[:3], pixel_shape=Fraction(2, 1))
    content, box = path.read_bytes(), b"pasp" + struct.pack(">II", 2, 1)
    assert box in content
    path.write_bytes(content.replace(box, b"pasp" + struct.pack(">II", 50_000, 1)))
    video = VideoFile(path)
    (shown,) = video.frames_at([0.0])
    assert pixels(video.jpeg(shown.frame, PICTURE)).shape == (96, 192, 3)


def test_a_codec_that_nobody_has_is_told(tmp_path):
    path = write_video(tmp_path / "a.mp4", FIFTH[:3])
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(MediaError, match="a.mp4: this build of FFmpeg has no decoder for its video"):
        VideoFile(path)


@pytest.mark.parametrize("codec", ["flac", "mp3", "aac"])
def test_sound_under_the_name_of_a_video_has_no_video_stream(tmp_path, codec):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", format={"aac": "adts"}.get(codec, codec)) as out:
        stream = out.add_stream({"mp3": "libmp3lame"}.get(codec, codec), rate=16_000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.int16), "s16", "mono")
        frame.sample_rate = 16_000
        for part in av.AudioResampler(stream.format, stream.layout, 16_000, stream.codec_context.frame_size).resample(
            frame
        ):
            out.mux(stream.encode(part))
        out.mux(stream.encode())
    with pytest.raises(MediaError, match="a.mp4 has no video stream") as error:
        VideoFile(path)
    assert error.value.kind == "no_video"


@pytest.mark.parametrize("claim", [0.0, 1.0, 4_000_000.0])
def test_what_the_header_says_of_the_duration_is_not_believed(tmp_path, claim):
    path = write_video(tmp_path / "a.mkv", FIFTH)
    content = path.read_bytes()
    mark = b"\x44\x89\x88"  # Matroska's Duration, a float of 8 bytes, here in milliseconds
    place = content.index(mark) + len(mark)
    assert struct.unpack(">d", content[place : place + 8])[0] == pytest.approx(4000, abs=50)
    path.write_bytes(content[:place] + struct.pack(">d", claim) + content[place + 8 :])
    video = VideoFile(path)
    assert video.duration == pytest.approx(4.0, abs=0.05)
    assert numbers(video, [0.0, 1.0, 3.9]) == [0, 25, 97]


def test_a_single_frame_has_a_duration(tmp_path):
    video = VideoFile(write_video(tmp_path / "a.mp4", [0.0]))
    assert 0.01 < video.duration < 1
    assert numbers(video, [0.0]) == [0]


def test_of_an_mp4_whose_end_is_missing_the_rest_is_kept(tmp_path):
    path = tmp_path / "a.mp4"
    whole = write_video(tmp_path / "whole.mp4", FIFTH, options={"g": "10"})
    with av.open(str(whole)) as file, av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream_from_template(file.streams.video[0])
        for packet in file.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    content = path.read_bytes()
    path.write_bytes(content[: int(0.7 * len(content))])
    video = VideoFile(path)
    assert 1.5 < video.duration < 3.6
    assert video.promised == pytest.approx(4.0, abs=0.1)
    moments = np.arange(0, video.duration - 0.2, 0.5)
    assert numbers(video, moments) == [int(25 * moment + 1e-6) for moment in moments]


def spoiled(path: Path, place: float, size: int = 40) -> Path:
    """Overwrites bytes of the packet at a share of the file."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as file:
        packets = [packet for packet in file.demux(video=0) if packet.size]
    packet = packets[int(place * len(packets))]
    data = bytes(packet)
    start = content.index(data) + len(data) // 3
    content[start : start + size] = bytes(255 - byte for byte in content[start : start + size])
    path.write_bytes(content)
    return path


def noise_pictures(count: int) -> list[np.ndarray]:
    """Pictures with detail everywhere, so that each packet has data of every part."""
    rng = np.random.default_rng(0)
    large = np.kron(rng.integers(0, 255, (12, 60, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    return [np.ascontiguousarray(np.roll(large, 3 * k, axis=1)[:, :192]) for k in range(count)]


@pytest.mark.parametrize("all_frames", [False, True])
@pytest.mark.parametrize("place", [0.0, 0.3, 0.52])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mpeg2video"])
def test_a_frame_that_lacks_data_is_left_out_and_reported(tmp_path, codec, place, all_frames):
    pictures = noise_pictures(50)
    path = write_video(
        tmp_path / "a.mkv", FIFTH[:50], codec=codec, pictures=pictures, unit=Fraction(1, 25),
        options={"g": "10", "bf": "0", "b": "20M"},
    )  # fmt: skip
    video = VideoFile(spoiled(path, place))
    shown = list(video.frames_at(FIFTH[:50], all_frames=all_frames))
    kinds = [kind for kind, _ in video.notes()]
    assert kinds == ["damaged_frames"]
    # No frame that is far from the drawn one is displayed before the next key frame has passed unreported.
    spoiled_group = int(place * 50) // 10
    for each in shown:
        number = round(each.time * 25)
        if number // 10 != spoiled_group:
            assert psnr(pixels(video.jpeg(each.frame, PICTURE)), pictures[number]) > 17


def test_a_damaged_frame_is_a_note_in_the_report(tmp_path, caplog):
    from capjax.data.media_reader import MediaReader
    from capjax.data.record import RecordCaption
    from data_prep.media import Storage, read_video
    from data_prep.readers.item import Item, Problem

    path = write_video(tmp_path / "a.mp4", FIFTH[:50], pictures=noise_pictures(50), options={"g": "10", "bf": "0"})
    spoiled(path, 0.5)
    item = Item("v", path, "train", (RecordCaption("a video"),), name="a.mp4", video=True, where="list.csv:2")
    *records, note = read_video([item], Storage(fps=25.0), lambda share: None, tmp_path / "spool")
    assert len(records) == 1
    assert isinstance(note, Problem)
    assert (note.kind, note.costs, note.where) == ("damaged_frames", "nothing", "list.csv:2")
    assert "a.mp4: " in note.message
    MediaReader(PICTURE, 25.0, 50).read(path)
    assert "a.mp4: " in caplog.text
    assert "damaged" in caplog.text


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_cut_frame_of_motion_jpeg_is_not_half_a_picture(tmp_path, share):
    path = write_video(
        tmp_path / "a.avi", FIFTH[:10], codec="mjpeg", pix_fmt="yuvj420p", options={"b": "20M"}, unit=Fraction(1, 25),
        pictures=noise_pictures(10),
    )  # fmt: skip
    with av.open(str(path)) as file:
        packets = [bytes(packet) for packet in file.demux(video=0) if packet.size]
    cut = tmp_path / "cut.mjpeg"
    packets[4] = packets[4][: int(share * len(packets[4]))] + b"\xff\xd9"
    cut.write_bytes(b"".join(packets))
    video = VideoFile(cut)
    times = [shown.time for shown in video.frames_at((), all_frames=True)]
    assert len(times) == 9
    assert 4 / 25 not in np.round(times, 3)
    assert [kind for kind, _ in video.notes()] == ["damaged_frames"]


@pytest.mark.parametrize("kind", KINDS)
def test_of_an_intact_file_nothing_is_reported(files, tmp_path, kind):
    path = tmp_path / kind
    path.write_bytes(files[kind])
    video = VideoFile(path)
    assert len(list(video.frames_at((), all_frames=True))) == 40
    assert len(list(video.frames_at(np.arange(0, 1.6, 0.3)))) == 6
    assert list(video.notes()) == []


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.gif", "gif", "rgb8"), ("a.avi", "mjpeg", "yuvj420p"), ("a.flv", "flv", "yuv420p"),
        ("a.ivf", "libvpx", "yuv420p"), ("a.h264", "libx264", "yuv420p"),
    ],
)  # fmt: skip
def test_the_half_frame_at_the_end_of_a_cut_file_is_left_out(tmp_path, name, codec, pix_fmt):
    path = write_video(
        tmp_path / name, FIFTH[:10], codec=codec, pix_fmt=pix_fmt, unit=Fraction(1, 25), pictures=noise_pictures(10),
        options={"libvpx": {"deadline": "good", "b": "4M"}, "gif": {}, "libx264": {"bf": "0"}}.get(codec, {"b": "20M"}),
    )  # fmt: skip
    content = path.read_bytes()
    with av.open(str(path)) as file:
        packet = [bytes(packet) for packet in file.demux(video=0) if packet.size][7]
    start = content.index(packet)
    path.write_bytes(content[: start + len(packet) // 2])
    video = VideoFile(path)
    assert len(list(video.frames_at((), all_frames=True))) == 7
    assert "damaged_frames" in [kind for kind, _ in video.notes()]
