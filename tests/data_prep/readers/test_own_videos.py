"""One's own videos in JSON lines; and the folders that drawn datasets write, read back."""

import json
from dataclasses import replace

import pytest

from capjax.data.record import RecordCaption, TranscriptSegment
from data_prep.readers import READERS
from tests.helpers.reader_results import found, put


def jsonl(folder, *rows, **options):
    (folder / "captions.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return found("jsonl", folder, **options)


def test_the_least_that_a_line_of_a_video_needs(tmp_path):
    (item,), problems = jsonl(put(tmp_path, "in/a.mp4"), {"video": "in/a.mp4", "caption": "A dog."})
    assert not problems
    assert (item.id, item.media, item.name, item.video, item.clip) == (
        "in/a.mp4", tmp_path / "in/a.mp4", "in/a.mp4", True, None,
    )  # fmt: skip
    assert item.captions == (RecordCaption("A dog."),)


def test_all_that_a_line_of_a_video_may_say(tmp_path):
    row = {
        "video": "a.mp4", "split": "test", "lang": "de", "clip": [10, 30.5], "fps": 25,
        "captions": [
            "Ein Hund.", {"text": "A dog.", "lang": "EN"}, {"text": "Er läuft.", "start": 0, "end": 2.5, "set": 1},
            {"text": "All of it.", "lang": "en", "kind": "summary"},
        ],
        "transcript": [{"text": "Platz!", "start": 1, "end": 2}, {"text": "Sit!", "start": 3, "end": 4, "lang": "en"}],
    }  # fmt: skip
    (item,), problems = jsonl(put(tmp_path, "a.mp4"), row)
    assert not problems
    assert (item.id, item.split, item.clip) == ("a.mp4@10-30.5", "test", (10.0, 30.5))
    assert item.captions == (
        RecordCaption("Ein Hund.", "de"), RecordCaption("A dog.", "en"),
        RecordCaption("Er läuft.", "de", 0.0, 2.5, "event", 1),
        RecordCaption("All of it.", "en", kind="summary"),
    )  # fmt: skip
    assert item.transcript == (TranscriptSegment("Platz!", 1.0, 2.0, "de"), TranscriptSegment("Sit!", 3.0, 4.0, "en"))


def test_clips_of_one_video_are_of_one_split(tmp_path):
    rows = [{"video": "a.mp4", "clip": [k, k + 1], "caption": "x"} for k in range(30)]
    items, _ = jsonl(put(tmp_path, "a.mp4"), *rows)
    assert len({item.id for item in items}) == 30
    assert len({item.split for item in items}) == 1


def test_photos_and_videos_may_stand_in_one_file(tmp_path):
    items, problems = jsonl(
        put(tmp_path, "a.mp4"), {"image": "a.jpg", "caption": "x"}, {"video": "a.mp4", "caption": "y"}
    )
    assert not problems
    assert [(item.id, item.video) for item in items] == [("a.jpg", False), ("a.mp4", True)]


def test_videos_may_lie_elsewhere(tmp_path):
    put(tmp_path, "films/a.mp4")
    (item,), _ = jsonl(tmp_path, {"video": "a.mp4", "caption": "x"}, videos=tmp_path / "films")
    assert item.media == tmp_path / "films" / "a.mp4"


def test_a_missing_video_is_absent(tmp_path):
    row = {"video": "a.mp4", "captions": ["x", ""], "split": "val"}
    _, problems = jsonl(tmp_path, row, row | {"video": "a" * 5000})
    assert [(p.kind, p.costs, p.split) for p in problems[:1]] == [("missing_video", "absent", "val")]
    assert problems[1].kind == "missing_video"


@pytest.mark.parametrize(
    ("row", "kind", "message"),
    [
        ({"video": 3}, "malformed", "the video's name should be text"),
        ({"video": "../a.mp4"}, "unsafe_path", "out of the folder of the videos"),
        ({"video": "a.mp4", "captoin": "x"}, "malformed", "did you mean 'caption'"),
        ({"video": "a.mp4", "clips": [0, 1]}, "malformed", "did you mean 'clip'"),
        ({"video": "a.mp4", "clip": [3, 1]}, "malformed", "clip should be"),
        ({"video": "a.mp4", "clip": "0-3"}, "malformed", "clip should be"),
        ({"video": "a.mp4", "captions": "x"}, "malformed", "captions: expected a list"),
        ({"video": "a.mp4", "split": "tset"}, "unknown_split", "tset"),
        ({"video": "a.mp4", "transcript": "hello"}, "malformed", "transcript"),
        ({"video": "a.mp4", "transcript": [{"text": "x", "start": 2, "end": 1}]}, "malformed", "transcript"),
    ],
)
def test_a_bad_line_costs_its_video(tmp_path, row, kind, message):
    items, (problem,) = jsonl(put(tmp_path, "a.mp4"), row)
    assert not items
    assert (problem.kind, problem.costs, problem.where) == (kind, "video", "captions.jsonl:1")
    assert message in problem.message


@pytest.mark.parametrize(
    ("caption", "kind", "message"),
    [
        ({"text": "x", "start": 3, "end": 1}, "bad_times", "0 <= start < end"),
        ({"text": "x", "start": 3}, "bad_times", "(3, None)"),
        ({"text": "x", "start": "0", "end": 3}, "bad_times", "seconds"),
        ({"text": "x", "start": 0, "end": 3, "kind": "summary"}, "malformed", "kind should be event"),
        ({"text": "x", "kind": "event"}, "malformed", "kind should be event with a start and end"),
        ({"text": "x", "kind": ["event"]}, "malformed", "kind should be"),
        ({"text": "x", "set": -1}, "malformed", "set: expected a number from 0"),
        ({"text": "x", "set": 2**40}, "malformed", "set: expected a number from 0"),
        ({"text": "x", "strat": 0, "end": 3}, "malformed", "did you mean 'start'"),
        ({"start": 0, "end": 3}, "malformed", "should be text"),
        ("", "empty_caption", "no text"),
    ],
)
def test_a_bad_caption_of_a_video_costs_itself(tmp_path, caption, kind, message):
    (item,), (problem,) = jsonl(put(tmp_path, "a.mp4"), {"video": "a.mp4", "captions": ["fine", caption]})
    assert item.captions == (RecordCaption("fine"),)
    assert (problem.kind, problem.costs) == (kind, "caption")
    assert message in problem.message


def test_a_folder_of_drawn_videos_is_read_back_as_it_was(tmp_path):
    options = {"count": 2, "size": 32, "videos": tmp_path, "all_videos": True, "languages": ["en", "zh"]}
    drawn = list(READERS.make("moving", **options))
    items, problems = found("jsonl", tmp_path)
    assert not problems
    assert {c.kind for item in items for c in item.captions} == {"caption", "event", "summary"}
    for item, before in zip(items, drawn, strict=True):
        assert item.media.read_bytes() == before.media()
        assert item == replace(
            before, id=before.name, media=item.media, labels=(), where=item.where,
        )  # fmt: skip
