"""Display times and durations of files whose clock restarts, jumps or is not stored at all."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from capjax.data import video as video_module
from capjax.data.photo import MediaSettings
from capjax.data.video import VideoFile
from tests.helpers.videos import number_of, packed_avi, write_video

PICTURE = MediaSettings(256, 95)


def rate(fps: int, seconds: float) -> np.ndarray:
    return np.arange(round(seconds * fps)) / fps


def all_frames(video: VideoFile) -> list[tuple[float, int]]:
    """(seconds, number) of every frame."""
    return [(shown.time, number_of(video.jpeg(shown.frame, PICTURE))) for shown in video.frames_at((), all_frames=True)]


def numbers_at(video: VideoFile, times) -> list[int | None]:
    """The number displayed at each time; None before the first frame."""
    numbers: list[int | None] = [None] * len(times)
    for shown in video.frames_at(times):
        for index in shown.indices:
            numbers[index] = number_of(video.jpeg(shown.frame, PICTURE))
    return numbers


def notes(video: VideoFile) -> list[str]:
    return [kind for kind, _ in video.notes()]


def join(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(
    ("name", "options", "more"),
    [
        ("a.ts", {"g": "12", "bf": "0"}, {}),
        ("a.ts", {"g": "12", "bf": "3"}, {}),
        ("a.ts", {"g": "12", "bf": "2"}, {"audio_from": 0.0, "audio_seconds": 2.0}),
        ("a.mpg", {"g": "12", "bf": "2", "b": "20M"}, {"codec": "mpeg2video"}),
        ("a.mkv", {"g": "12", "bf": "2"}, {}),
    ],
)
def test_parts_that_restart_the_clock_are_joined(tmp_path, monkeypatch, keep, name, options, more):
    monkeypatch.setattr(video_module, "_KEPT", 2**20 if keep else 0)
    part = write_video(tmp_path / name, rate(25, 2), options=options, unit=Fraction(1, 25), **more)
    count = 2 if name == "a.mkv" else 3  # of Matroska files, FFmpeg reads two
    video = VideoFile(join(tmp_path / f"c{part.suffix}", *[part] * count))
    assert video.duration == pytest.approx(2.0 * count, abs=0.1)
    # The middle between two frames; parts lie a frame apart, or as far as the sound plays on.
    times = np.arange(0.1, 2 * count - 0.1, 0.2)
    for time, number in zip(times, numbers_at(video, times), strict=True):
        assert number == pytest.approx(time % 2 * 25, abs=5 if more.get("audio_from") is not None else 2)
    frames = all_frames(video)
    assert len(frames) >= 50 * count - 2
    assert np.diff([time for time, _ in frames]).max() < 0.13
    assert notes(video) == ["clock"]


@pytest.mark.parametrize("suffix", ["flv", "mp4", "mov", "wmv"])
def test_a_file_that_follows_another_in_a_format_that_ends_with_the_first_is_reported(tmp_path, suffix):
    codec = "wmv2" if suffix == "wmv" else "libx264"
    part = write_video(tmp_path / f"a.{suffix}", rate(25, 2), unit=Fraction(1, 25), codec=codec, options={"bf": "0"})
    assert notes(VideoFile(part)) == []
    video = VideoFile(join(tmp_path / f"c.{suffix}", part, part))
    assert video.duration == pytest.approx(2.0, abs=0.1)
    assert notes(video) == ["joined"]


def test_headers_between_joined_ogg_files_are_no_frames(tmp_path):
    part = write_video(tmp_path / "a.ogv", rate(25, 2), unit=Fraction(1, 25), codec="libvpx", options={"g": "12"})
    video = VideoFile(join(tmp_path / "c.ogv", part, part))
    assert (video.frames, len(all_frames(video))) == (100, 100)
    assert video.duration == pytest.approx(4.0)
    assert notes(video) == ["clock"]


def test_no_frame_is_lost_where_gif_files_were_joined(tmp_path):
    part = write_video(tmp_path / "a.gif", rate(25, 2), unit=Fraction(1, 25), codec="gif", pix_fmt="rgb8")
    assert len(all_frames(VideoFile(join(tmp_path / "c.gif", part, part)))) == 100


def test_events_in_the_second_part_are_not_beyond_the_end(tmp_path):
    from capjax.data.record import RecordCaption
    from data_prep.media import Storage, read_video
    from data_prep.readers.item import Item, Problem

    part = write_video(tmp_path / "a.ts", rate(25, 4), unit=Fraction(1, 25))
    path = join(tmp_path / "c.ts", part, part)
    item = Item("v", path, "train", (RecordCaption("late", "en", 5.0, 7.0, "event"),), name="c.ts", video=True)
    record, note = read_video([item], Storage(), lambda share: None, tmp_path / "spool")
    assert record.duration == pytest.approx(8.0, abs=0.1)
    assert record.captions[0].end == 7.0
    assert isinstance(note, Problem)
    assert (note.kind, note.costs) == ("clock", "nothing")
    assert "c.ts: the clock of the file restarts or jumps at 4.0 s" in note.message


def test_a_jump_of_the_clock_of_a_transport_stream_lasts_for_no_time(tmp_path):
    first = write_video(tmp_path / "a.ts", rate(25, 2), unit=Fraction(1, 25))
    second = write_video(tmp_path / "b.ts", rate(25, 2) + 7000, unit=Fraction(1, 25))
    for parts in ((first, second), (second, first)):
        video = VideoFile(join(tmp_path / "c.ts", *parts))
        assert video.duration == pytest.approx(4.0, abs=0.1)
        assert len(all_frames(video)) >= 99
        assert notes(video) == ["clock"]


def patched_clusters(path: Path, times: list[int]) -> Path:
    """Gives the clusters of a Matroska file, of a second each, other timestamps in milliseconds."""
    content, place = bytearray(path.read_bytes()), 0
    for time in times:
        place = content.index(b"\x1f\x43\xb6\x75", place) + 4
        place += 8 if content[place] == 1 else 1 + (content[place] < 0x80)
        while content[place] != 0xE7:
            place += 1
        size = content[place + 1] & 0x7F
        if time >= 0:
            content[place + 2 : place + 2 + size] = time.to_bytes(size, "big")
    path.write_bytes(content)
    return path


def clustered(path: Path) -> Path:
    """Four seconds in clusters of one second."""
    return write_video(
        path, rate(25, 4), options={"g": "25", "bf": "0"}, unit=Fraction(1, 25),
        container_options={"cluster_time_limit": "990"},
    )  # fmt: skip


def test_a_damaged_timestamp_that_jumps_does_not_make_the_file_longer(tmp_path):
    path = patched_clusters(clustered(tmp_path / "a.mkv"), [-1, -1, 60_000])
    video = VideoFile(path)
    # The last two seconds lie a minute later: the header contradicts it.
    assert video.duration < 6
    assert notes(video) == ["clock"]


def test_a_picture_that_stands_still_for_a_minute_is_reported_and_kept(tmp_path):
    times = np.concatenate([rate(25, 1), rate(25, 1) + 90])
    video = VideoFile(write_video(tmp_path / "a.mp4", times))
    assert video.duration == pytest.approx(91.0, abs=0.1)
    ((kind, message),) = video.notes()
    assert kind == "clock"
    assert "no frame comes between 1.0 and 90.0 s" in message


@pytest.mark.parametrize("same", [2, 3, 5, 50])
def test_no_frame_is_lost_where_timestamps_collide(tmp_path, same):
    """A Matroska file in which runs of frames have the timestamp of the first of them."""
    path = write_video(tmp_path / "a.mkv", rate(25, 2), options={"g": "50", "bf": "0"}, unit=Fraction(1, 25))
    content, block = bytearray(path.read_bytes()), 0
    with av.open(str(path)) as file:
        packets = [(packet.pts, bytes(packet)) for packet in file.demux(video=0) if packet.size]
    for number, (pts, data) in enumerate(packets):
        block = content.index(data[:40], block)  # after the track, the timestamp in 16 bits, and flags
        assert int.from_bytes(content[block - 3 : block - 1], "big") == pts
        content[block - 3 : block - 1] = packets[number // same * same][0].to_bytes(2, "big")
    path.write_bytes(content)
    video = VideoFile(path)
    frames = all_frames(video)
    assert [number for _, number in frames] == list(range(50))
    for time, number in frames:
        assert time == pytest.approx(number / 25, abs=0.05)
    assert video.duration == pytest.approx(2.0, abs=0.05 * same if same < 50 else 0.05)


@pytest.mark.parametrize("fps", [5, 10, 25])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "packed"])
def test_all_frames_of_an_avi_with_b_frames_come_in_order_and_one_at_the_start(tmp_path, codec, fps):
    if codec == "packed":
        path = packed_avi(tmp_path / "a.avi", 61, fps)
    else:
        path = write_video(
            tmp_path / "a.avi", rate(fps, 61 / fps), codec=codec, unit=Fraction(1, fps),
            options={"g": "30", "bf": "2" if codec == "mpeg4" else "3"},
        )  # fmt: skip
    video = VideoFile(path)
    frames = all_frames(video)
    assert [number for _, number in frames] == list(range(61))
    for time, number in frames:  # AVI stores no presentation times; FFmpeg's lag by a frame
        assert time * fps == pytest.approx(number, abs=1.01)
    times = np.arange(0, video.duration, 1 / fps)
    numbers = numbers_at(video, times)
    assert numbers[0] == 0
    assert numbers == pytest.approx(list(range(len(times))), abs=1)
    grouped = video.group_by_frame(times)
    assert sum(len(group) for group in grouped) == len(times)


@pytest.mark.parametrize("fps", [10, 50])
@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.h264", "libx264", {"bf": "2"}),
        ("a.hevc", "libx265", {"x265-params": "log-level=none"}),
        ("a.m2v", "mpeg2video", {"bf": "2", "b": "20M"}),
    ],
)
def test_a_raw_stream_is_read_at_the_rate_in_its_headers(tmp_path, name, codec, options, fps):
    if codec == "mpeg2video" and fps == 10:
        fps = 30  # which MPEG-2 can say
    path = write_video(tmp_path / name, rate(fps, 2), codec=codec, options=options, unit=Fraction(1, fps), fps=fps)
    video = VideoFile(path)
    assert video.duration == pytest.approx(2.0, abs=2 / fps)
    times = np.arange(0.5 / fps, 1.9, 0.1)
    assert numbers_at(video, times) == [int(time * fps) for time in times]


def test_a_still_picture_lasts_as_long_as_its_sound(tmp_path):
    for name in ("a.mp4", "a.mkv", "a.ts"):
        video = VideoFile(write_video(tmp_path / name, [0.0], audio_from=0.0, audio_seconds=30.0))
        assert video.duration == pytest.approx(30.0, abs=0.2), name
        assert numbers_at(video, [0.0, 15.0, 29.0]) == [0, 0, 0]
        assert notes(video) == []


def test_a_last_frame_lasts_as_long_as_the_container_says(tmp_path):
    short = write_video(tmp_path / "short.mp4", rate(25, 1), options={"bf": "0"}, unit=Fraction(1, 25))
    with av.open(str(short)) as file, av.open(str(tmp_path / "a.mp4"), "w") as out:
        copy = out.add_stream_from_template(file.streams.video[0])
        for packet in file.demux(video=0):
            if packet.size:
                packet.stream = copy
                if packet.pts * packet.time_base >= 0.95:
                    packet.duration = round(15 / packet.time_base)
                out.mux(packet)
    video = VideoFile(tmp_path / "a.mp4")
    assert video.duration == pytest.approx(15.96, abs=0.1)
    assert numbers_at(video, [0.5, 1.0, 15.0]) == [12, 24, 24]


@pytest.mark.parametrize("suffix", ["mkv", "nut", "mp4", "ts", "flv"])
def test_a_file_whose_clock_starts_late_is_complete(tmp_path, suffix):
    video = VideoFile(write_video(tmp_path / f"a.{suffix}", rate(25, 2) + 30, unit=Fraction(1, 1000)))
    assert video.duration == pytest.approx(2.0, abs=0.1)
    assert notes(video) == []


def test_sound_that_jumps_does_not_make_the_file_longer(tmp_path):
    first = write_video(tmp_path / "a.ts", rate(25, 2), unit=Fraction(1, 25), audio_from=0.0, audio_seconds=2.0)
    second = write_video(tmp_path / "b.ts", rate(25, 2) + 900, unit=Fraction(1, 25), audio_from=900.0, audio_seconds=2)
    video = VideoFile(join(tmp_path / "c.ts", first, second))
    assert video.duration == pytest.approx(4.0, abs=0.2)
