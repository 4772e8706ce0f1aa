"""Raw media are looked at as the records made of them are."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capjax.data.media_reader import MediaReader
from capjax.data.photo import MediaError, MediaSettings
from capjax.data.record import RecordCaption
from capjax.data.transforms import pick_frames
from capjax.data.video import VideoFile
from capjax.data.windows import WindowSettings
from data_prep.clips import ClipSettings
from data_prep.media import Storage, read_video
from data_prep.readers.item import Item
from tests.helpers.real_data import find_real_data
from tests.helpers.videos import number_of, write_video

REAL = find_real_data()
CUTS = {"whole": ClipSettings(), "windows": ClipSettings("windows", 4.0, 1.5), "short": ClipSettings(max_frames=5)}


def check_same(path: Path, clips: ClipSettings, fps: float, most: int, spool: Path):
    """Parts as prediction reads them are the records of data_prep, frame by frame and byte by byte."""
    item = Item("v", path, "val", (RecordCaption("x", "en", 0.0, 1e4, "event"),), video=True)
    records = list(read_video([item], Storage(fps=fps, clips=clips), lambda share: None, spool))
    video = VideoFile(path)
    parts = MediaReader(MediaSettings(), fps, most).read_windows(
        video, WindowSettings(*clips.windows(fps)).split(video.duration)
    )
    for record, part in zip(records, parts, strict=True):
        picked = pick_frames(len(record.frames), most)
        assert part.frames == tuple(record.frames[i] for i in picked)
        np.testing.assert_array_equal(part.times, record.frame_times[picked])
        assert (part.start, part.duration) == (record.start, record.duration)
    return records


@settings(max_examples=8, deadline=None)
@given(
    gaps=st.lists(st.sampled_from([0.01, 0.04, 0.1, 0.9, 2.3]), min_size=1, max_size=30),
    cut=st.sampled_from(list(CUTS)), fps=st.sampled_from([1.0, 2.0, 3.7]), most=st.integers(1, 9),
)  # fmt: skip
def test_parts_are_those_of_the_records_whatever_the_frame_rate(tmp_path_factory, gaps, cut, fps, most):
    folder = tmp_path_factory.mktemp("raw")
    path = write_video(folder / "a.mp4", np.concatenate([[0.0], np.cumsum(gaps)]))
    check_same(path, CUTS[cut], fps, most, folder / "spool")


@pytest.mark.skipif(REAL is None, reason="the real clips are not here")
@pytest.mark.parametrize("cut", CUTS)
def test_parts_are_those_of_the_records_of_real_clips(tmp_path, cut):
    for path in sorted((REAL / "msvd" / "YouTubeClips").glob("*.avi")):
        records = check_same(path, CUTS[cut], 2.0, 6, tmp_path / "spool")
        assert cut == "whole" or len(records) > 1


@pytest.fixture
def encoded(monkeypatch) -> list:
    """The times of the frames that are encoded."""
    times, jpeg = [], VideoFile.jpeg
    monkeypatch.setattr(VideoFile, "jpeg", lambda self, frame, size: times.append(frame.pts) or jpeg(self, frame, size))
    return times


def test_frames_that_are_not_looked_at_are_not_encoded(tmp_path, encoded):
    path = write_video(tmp_path / "a.mp4", np.arange(400) / 10)
    sample = MediaReader(MediaSettings(), 5.0, 4).read(path)
    assert len(encoded) == 4
    assert [number_of(frame) for frame in sample.frames] == [50, 150, 250, 350]
    np.testing.assert_allclose(sample.times, [5, 15, 25, 35], atol=1e-3)
    assert (sample.start, sample.duration) == (0.0, pytest.approx(40.0))


def test_a_video_is_read_part_by_part(tmp_path, encoded):
    path = write_video(tmp_path / "a.mp4", np.arange(400) / 10)
    video = VideoFile(path)
    parts = MediaReader(MediaSettings(), 2.0, 100).read_windows(video, WindowSettings(4.0, 2.0).split(video.duration))
    counts = []
    for _ in parts:
        counts.append(len(encoded))
    assert len(counts) == 19
    assert counts[0] <= 9, "the first part is there before the second is read"
    assert counts[-1] == 80, "each frame once, though windows share some"
    assert max(np.diff(counts)) <= 5


def test_a_video_of_which_nothing_can_be_decoded_is_told(tmp_path):
    path = write_video(tmp_path / "a.mp4", np.arange(30) / 10)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    with pytest.raises(MediaError, match=r"a\.mp4: not one frame could be decoded"):
        MediaReader(MediaSettings(), 2.0, 4).read(path)


def test_a_video_that_is_cut_short_is_read_as_far_as_it_goes_with_a_warning(tmp_path, caplog):
    path = write_video(tmp_path / "a.mkv", [k / 25 for k in range(100)], options={"g": "10"})
    reader = MediaReader(MediaSettings(), 2.0, 100)
    whole = reader.read(path)
    assert not caplog.records
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    part = reader.read(path)
    assert 1 < len(part.frames) < len(whole.frames)
    assert part.frames == whole.frames[: len(part.frames)]
    (warning,) = caplog.messages
    assert warning.startswith(f"{path} ends after {part.duration:.1f} s; its header says 4.0 s")
    assert warning.endswith("copy it again to caption all of it")
