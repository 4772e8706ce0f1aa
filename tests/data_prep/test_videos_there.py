"""How many of the videos that the annotations name are there: counted once each, whatever becomes of their parts."""

import json

import pytest

from capjax.data.record import RecordSource
from data_prep.build import BuildError
from data_prep.clips import CUTS, ClipSettings
from data_prep.media import Storage
from data_prep.readers import READERS
from tests.helpers.built_records import build_records
from tests.helpers.videos import write_video


@pytest.fixture
def folder(tmp_path):
    """Two videos of 4 s, one of them with two clips; one that is absent, and one that is no video."""
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", [k / 5 for k in range(20)])
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    events = [{"text": "first", "start": 0, "end": 2}, {"text": "then", "start": 2, "end": 9}]
    rows = [
        {"video": "a.mp4", "captions": events},
        {"video": "b.mp4", "clip": [0, 2], "captions": [*events[:1]]},
        {"video": "b.mp4", "clip": [1, 4], "captions": [*events, {"text": "late", "start": 5, "end": 6}]},
        {"video": "gone.mp4", "captions": events},
        {"video": "broken.mp4", "captions": events},
    ]
    (tmp_path / "captions.jsonl").write_text("\n".join(json.dumps(row | {"split": "val"}) for row in rows))
    return tmp_path


def build(folder, cut: str = "whole", **options):
    settings = Storage(clips=ClipSettings(cut, window=1.5, overlap=0.0))
    build_records("jsonl", READERS.make("jsonl", folder), folder / "out", settings=settings, **options)
    return json.loads((folder / "out" / "report.json").read_text()), RecordSource(folder / "out", "val")


@pytest.mark.parametrize("cut", CUTS)
def test_the_share_that_is_there_does_not_depend_on_the_parts(folder, cut):
    report, source = build(folder, cut, max_bad=0.5)
    assert report["there"] == {"val": {"named": 5, "there": 3}}
    assert source.videos == (3, 5)
    assert len(source) == {"whole": 3, "events": 5, "windows": 7, "shots": 3}[cut]
    absent = [(p["kind"], p["id"]) for p in report["problems"] if p["costs"] == "absent"]
    assert absent == [("missing_video", "gone.mp4")]
    assert {(p["kind"], p["id"]) for p in report["problems"] if p["costs"] in ("video", "caption")} == {
        ("damaged", "broken.mp4"), ("beyond_end", "b.mp4@1-4"),
    }  # fmt: skip


def test_events_end_with_the_video_that_is_really_there(folder):
    _, source = build(folder, max_bad=0.5)
    ends = {record.id: [c.end for c in record.captions] for record in (source[i] for i in range(3))}
    assert ends["a.mp4"] == [2.0, pytest.approx(4.0)]
    assert ends["b.mp4@1-4"] == [2.0, pytest.approx(3.0)]


def test_absent_videos_do_not_count_as_bad_and_broken_ones_do(folder):
    with pytest.raises(BuildError, match="1 of 4 videos are bad"):
        build(folder, max_bad=0.2)


def test_an_id_that_stands_twice_names_one_video(folder):
    with (folder / "captions.jsonl").open("a") as file:
        file.write('\n{"video": "a.mp4", "caption": "x", "split": "val"}')
    report, _ = build(folder, max_bad=0.5)
    assert report["there"] == {"val": {"named": 5, "there": 3}}


def test_no_video_at_all_is_told(tmp_path):
    (tmp_path / "captions.jsonl").write_text('{"video": "gone.mp4", "caption": "x"}')
    with pytest.raises(BuildError, match="none of the 1 videos that the annotations name exists.*gone.mp4"):
        build(tmp_path)
