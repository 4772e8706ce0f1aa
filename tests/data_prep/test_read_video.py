"""Videos to records: one decode, whatever is cut from it, and no frame lost by an interruption."""

from pathlib import Path

import numpy as np
import pytest

from capjax.data import video
from capjax.data.record import Record, RecordCaption
from capjax.data.video import VideoFile
from data_prep import media
from data_prep.clips import ClipSettings
from data_prep.media import Storage, read_video
from data_prep.readers.item import Item, Problem
from data_prep.shards import Shard, make_records
from tests.helpers.videos import number_of, numbered, write_video

SAID, AS_USUAL = RecordCaption("a video"), Storage()
TIMES = np.arange(0, 10, 0.1)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "a.mp4", TIMES)


@pytest.fixture
def decodes(monkeypatch) -> list:
    """An entry for each decode of a video."""
    starts, decode = [], VideoFile._decode
    monkeypatch.setattr(VideoFile, "_decode", lambda *args: starts.append(1) or decode(*args))
    return starts


def item(path: Path, id: str = "v", clip=None, captions=(SAID,)) -> Item:
    return Item(id, path, "train", tuple(captions), clip=clip, where="a.json:1", name=path.name, video=True)


def read(items, spool: Path, storage: Storage = AS_USUAL, on_share=lambda share: None) -> list[Record | Problem]:
    return list(read_video(items, storage, on_share, spool))


def test_a_record_has_the_frames_their_times_and_the_duration(path, tmp_path):
    (record,) = read([item(path)], tmp_path / "spool")
    assert record.duration == pytest.approx(10.0, abs=0.01)
    np.testing.assert_allclose(record.frame_times, np.arange(0, 10, 0.5), atol=1e-3)
    assert [number_of(frame) for frame in record.frames] == list(range(0, 100, 5))
    assert record.frame_times.dtype == np.float32


def test_many_clips_of_a_video_are_cut_in_one_decode(path, tmp_path, decodes):
    spans = [(0.0, 2.0), (1.25, 4.0), (1.3, 1.5), (3.0, 9.9), (3.0, 5.0), (8.0, 10.0)]
    records = read([item(path, str(k), span) for k, span in enumerate(spans)], tmp_path / "spool")
    assert len(decodes) == 1
    assert sorted(record.id for record in records) == list("012345")
    for record in records:
        start, end = spans[int(record.id)]
        moments = start + np.arange(0, end - start - 1e-4, 0.5)
        assert [number_of(frame) for frame in record.frames] == [int(m * 10 + 1e-3) for m in moments]
        assert record.frame_times[0] == 0


def test_shots_are_found_and_cut_in_one_decode(tmp_path, decodes):
    pictures = [np.full((96, 192, 3), 200 * (k // 15 % 2), np.uint8) for k in range(90)]
    path = write_video(tmp_path / "a.mp4", np.arange(90) * 0.1, pictures=pictures)
    events = [RecordCaption("a shot", "en", 1.5 * k, 1.5 * k + 1.5, "event") for k in range(6)]
    records = read([item(path, captions=events)], tmp_path / "spool", Storage(clips=ClipSettings("shots")))
    assert len(records) == 6
    assert len(decodes) == 1


@pytest.mark.parametrize("long", [512, 4])
@pytest.mark.parametrize("max_frames", [1024, 5])
@pytest.mark.parametrize("fps", [2.0, 3.7])
def test_shots_have_the_frames_that_were_on_the_screen(tmp_path, monkeypatch, fps, max_frames, long):
    """Of a variable frame rate, whether or not a shot is too long for a record, and the item begins within one."""
    monkeypatch.setattr(media, "_LONG", long)
    rng = np.random.default_rng(0)
    times = np.round(np.cumsum(rng.uniform(0.02, 0.3, 120)) - 0.02, 3)  # Matroska counts milliseconds
    pictures = [numbered(k) for k in range(120)]
    for k, picture in enumerate(pictures):
        picture[48:] = 235 * (k // 20 % 2)
    path = write_video(tmp_path / "a.mkv", times, pictures=pictures)
    clip = (1.3, float(times[-1]) - 1.0)
    events = [RecordCaption(f"{at}", "en", at, at + 1.0, "event") for at in np.arange(0, clip[1] - clip[0] - 1)]
    shares = []
    records = read(
        [item(path, clip=clip, captions=events)], tmp_path / "spool",
        Storage(fps=fps, clips=ClipSettings("shots", max_frames=max_frames)), on_share=shares.append,
    )  # fmt: skip
    assert len(records) >= 5
    assert sum(shares) == pytest.approx(1)
    for record in records:
        start = clip[0] + record.start
        moments = start + np.arange(0, record.duration - 1e-4, 1 / fps)
        shown = np.searchsorted(times - times[0], np.round(moments, 6) + 1e-5, side="right") - 1
        assert [number_of(frame) for frame in record.frames] == list(dict.fromkeys(shown.tolist()))


def test_windows_that_overlap_are_cut_in_one_decode(path, tmp_path, decodes):
    storage = Storage(clips=ClipSettings("windows", window=4.0, overlap=2.0))
    records = read([item(path, captions=[RecordCaption("all", "en", 0.0, 10.0, "event")])], tmp_path / "spool", storage)
    assert [(record.start, record.duration) for record in records] == [
        (pytest.approx(start, abs=0.01), pytest.approx(4)) for start in (0, 2, 4, 6)
    ]
    assert [number_of(record.frames[0]) for record in records] == [0, 20, 40, 60]
    assert len(decodes) == 1


def test_a_file_that_goes_away_while_it_is_read_is_a_problem_of_each_clip(path, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "_KEPT", 0)  # a large one: what is small is in memory by then
    gone = tmp_path / "gone.mp4"
    gone.write_bytes(path.read_bytes())
    index = VideoFile(gone)
    gone.unlink()
    problems = list(
        media._read_clips(index, (), [item(gone, "1"), item(gone, "2")], AS_USUAL, lambda share: None, tmp_path / "s")
    )
    assert [(problem.kind, problem.id) for problem in problems] == [("damaged", "1"), ("damaged", "2")]


def test_every_share_of_the_work_is_told_once(path, tmp_path):
    shares = []
    read([item(path)], tmp_path / "spool", on_share=shares.append)
    assert sum(shares) == pytest.approx(1)
    assert len(shares) > 10


class Killed(Exception):
    pass


@pytest.mark.parametrize("damage", [False, True])
def test_an_interrupted_long_video_goes_on_where_it_stood(path, tmp_path, monkeypatch, damage):
    monkeypatch.setattr(media, "_LONG", 4)
    whole = read([item(path)], tmp_path / "whole")
    progress = [0.0]

    def stop(share):
        progress[0] += share
        if progress[0] > 0.5:
            raise Killed

    with pytest.raises(Killed):
        read([item(path)], tmp_path / "spool", on_share=stop)
    if damage:  # half a frame at the end
        with (tmp_path / "spool").open("r+b") as file:
            file.truncate((tmp_path / "spool").stat().st_size - 7)
    sent = []
    frames_at = VideoFile.frames_at
    monkeypatch.setattr(
        VideoFile, "frames_at", lambda self, m, **more: sent.append(len(m)) or frames_at(self, m, **more)
    )
    (record,) = read([item(path)], tmp_path / "spool")
    assert sent[0] < 12
    assert record.frames == whole[0].frames
    np.testing.assert_array_equal(record.frame_times, whole[0].frame_times)


def test_the_bar_gets_to_its_end_whatever_could_not_be_had(path, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    items = (item(tmp_path / "bad.mp4", "1"), item(tmp_path / "bad.mp4", "2"), item(path, "3"))
    shard = Shard(tmp_path / "shard", tmp_path / "shard.json", "fingerprint", tmp_path / "frames", items, AS_USUAL)
    shares = []
    made = list(make_records(shard, shares.append))
    assert [isinstance(one, Problem) for one in made] == [True, True, False]
    assert sum(shares) == pytest.approx(3)


def test_what_a_cut_file_lacks_is_told_and_the_rest_kept(tmp_path):
    path = write_video(tmp_path / "a.mkv", TIMES, options={"g": "10"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    made = read([item(path, "late", (9.0, 9.9)), item(path, "early", (0.0, 2.0))], tmp_path / "spool")
    (early,) = [record for record in made if not isinstance(record, Problem)]
    note, late = sorted((one for one in made if isinstance(one, Problem)), key=lambda problem: problem.costs)
    assert [number_of(frame) for frame in early.frames] == [0, 5, 10, 15]
    assert (note.kind, note.costs) == ("truncated", "nothing")
    assert (late.kind, late.costs, late.id) == ("beyond_end", "video", "late")


def test_a_file_that_is_no_video_is_a_problem_of_each_of_its_items(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"no video")
    problems = read([item(path, "1"), item(path, "2")], tmp_path / "spool")
    assert [(p.kind, p.id, p.costs, p.where) for p in problems] == [
        ("damaged", "1", "video", "a.json:1"), ("damaged", "2", "video", "a.json:1"),
    ]  # fmt: skip


def test_shots_are_found_where_the_picture_changes(tmp_path):
    rng = np.random.default_rng(0)
    scenes = [rng.integers(0, 255, (12, 24, 3), np.uint8) for _ in range(3)]
    pictures = []
    for scene in scenes:  # each pans slowly over its own picture
        large = np.kron(scene, np.ones((16, 16, 1), np.uint8))
        pictures += [np.roll(large, 2 * k, axis=1)[:96, :192] for k in range(25)]
    path = write_video(tmp_path / "a.mp4", np.arange(75) * 0.1, pictures=pictures)
    events = [RecordCaption(f"scene {k}", "en", 2.5 * k, 2.5 * k + 2.5, "event") for k in range(3)]
    records = read([item(path, captions=events)], tmp_path / "spool", Storage(clips=ClipSettings("shots")))
    assert [(round(r.start, 1), round(r.duration, 1)) for r in records] == [(0.0, 2.5), (2.5, 2.5), (5.0, 2.5)]
    assert [[c.text for c in r.captions] for r in records] == [["scene 0"], ["scene 1"], ["scene 2"]]


def test_drawn_videos_go_the_same_way(path, tmp_path):
    drawn = Item("v", path.read_bytes, "train", (RecordCaption("a video"),), name="v.mp4", video=True)
    (record,) = read([drawn], tmp_path / "spool")
    assert [number_of(frame) for frame in record.frames] == list(range(0, 100, 5))
