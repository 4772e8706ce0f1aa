"""MSR-VTT's videodatainfo.json."""

import json
from collections import Counter

import pytest

from capjax.data.record import RecordCaption
from data_prep.readers import InputError
from tests.helpers.reader_results import found, put


def video(number: int, split: str = "train", **more) -> dict:
    url = f"https://www.youtube.com/watch?v={number:011d}"
    row = {"id": number, "video_id": f"video{number}", "category": 9, "split": split, "url": url}
    return row | {"start time": 10.5, "end time": 20.25} | more


def sentence(number: int, caption, **more) -> dict:
    return {"video_id": f"video{number}", "caption": caption, "sen_id": 0} | more


def write(folder, videos, sentences, name="train_val_videodatainfo.json"):
    (folder / name).write_text(json.dumps({"info": {}, "videos": videos, "sentences": sentences}))
    return folder


def test_clips_come_with_their_captions_from_both_files(tmp_path):
    write(tmp_path, [video(0), video(1, "validate")], [sentence(1, "a  dog"), sentence(0, "a car\n"), sentence(1, "b")])
    write(tmp_path, [video(2, "test")], [sentence(2, "c")], "test_videodatainfo.json")
    put(tmp_path, "TrainValVideo/video0.mp4", "TrainValVideo/video1.mp4", "TestVideo/video2.MP4")
    items, problems = found("msrvtt", tmp_path)
    assert not problems
    assert {item.id: (item.split, [c.text for c in item.captions]) for item in items} == {
        "video0": ("train", ["a car"]), "video1": ("val", ["a dog", "b"]), "video2": ("test", ["c"]),
    }  # fmt: skip
    assert all(item.video and item.clip is None for item in items)
    assert {item.id: item.where for item in items}["video1"] == "train_val_videodatainfo.json videos[1]"


@pytest.mark.parametrize(
    "url", ["https://www.youtube.com/watch?v=-_345678901", "https://youtu.be/-_345678901?t=3",
            "https://www.youtube.com/embed/-_345678901", "http://youtube.com/watch?a=b&v=-_345678901&t=1"],
)  # fmt: skip
def test_of_the_whole_youtube_video_the_clip_is_taken(tmp_path, url):
    write(tmp_path, [video(0, url=url)], [sentence(0, "x")])
    (item,), _ = found("msrvtt", put(tmp_path, "-_345678901.webm"))
    assert (item.id, item.media.name, item.clip) == ("video0", "-_345678901.webm", (10.5, 20.25))


def test_the_clip_itself_comes_before_the_whole_video(tmp_path):
    write(tmp_path, [video(0)], [sentence(0, "x")])
    (item,), _ = found("msrvtt", put(tmp_path, "00000000000.mp4", "video0.mp4"))
    assert (item.media.name, item.clip) == ("video0.mp4", None)


def test_a_clip_without_times_cannot_be_cut(tmp_path):
    write(tmp_path, [video(0, **{"end time": 3})], [sentence(0, "x")])
    _, (problem,) = found("msrvtt", put(tmp_path, "00000000000.mp4"))
    assert (problem.kind, problem.costs, problem.id) == ("bad_times", "video", "video0")
    assert "[10.5, 3]" in problem.message


def test_absent_clips_are_listed_with_their_split_and_cost_no_captions(tmp_path):
    write(tmp_path, [video(0), video(1, "test")], [sentence(0, "x"), sentence(1, ""), sentence(1, "y")])
    (item,), (problem,) = found("msrvtt", put(tmp_path, "video0.mp4"))
    assert (problem.kind, problem.costs, problem.split, problem.id) == ("missing_video", "absent", "test", "video1")
    assert "video1 or 00000000001" in problem.message


def test_bad_rows_are_listed_by_their_place(tmp_path):
    videos = [video(0), video(1, "tset"), {"split": "train"}, "video", video(2, video_id=7)]
    sentences = [sentence(9, "of none"), sentence(0, ""), sentence(0, 5), "x", {"caption": "x"}, sentence(0, "\ud83d")]
    items, problems = found("msrvtt", put(write(tmp_path, videos, sentences), "video0.mp4", "video1.mp4"))
    assert [item.id for item in items] == ["video0"]
    file = "train_val_videodatainfo.json"
    assert {(p.kind, p.where.removeprefix(f"{file} "), p.costs) for p in problems} == {
        ("caption_without_video", "sentences[0]", "caption"), ("empty_caption", "sentences[1]", "caption"),
        ("malformed", "sentences[2]", "caption"), ("malformed", "sentences[3]", "caption"),
        ("malformed", "sentences[4]", "caption"), ("encoding", "sentences[5]", "caption"),
        ("unknown_split", "videos[1]", "video"), ("malformed", "videos[2]", "video"),
        ("malformed", "videos[3]", "video"), ("malformed", "videos[4]", "video"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ("[]", r"expected an object, found \[\]"), ('{"videos": []}', "sentences: expected a list"),
     ('{"sentences": []}', "videos: expected a list"), ("\xff\xfe{", "not JSON")],
)  # fmt: skip
def test_a_broken_file_is_named(tmp_path, text, message):
    (tmp_path / "test_videodatainfo.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=f"test_videodatainfo.*{message}"):
        found("msrvtt", tmp_path)


def test_a_folder_without_annotations_says_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match="train_val_videodatainfo.json.*--annotations"):
        found("msrvtt", tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        found("msrvtt", tmp_path / "nowhere")


def test_the_real_file_in_italian(tmp_path, shared_data):
    folder = shared_data / "msrvtt"
    (path,) = folder.glob("*.json")
    data = json.loads(path.read_text())
    present_ids = [row["video_id"] for row in data["videos"]][::2]
    items, problems = found("msrvtt", folder, videos=put(tmp_path, *(f"{id}.mp4" for id in present_ids)), lang="it")
    caption_counts = Counter(row["video_id"] for row in data["sentences"])
    assert {item.id: len(item.captions) for item in items} == {id: caption_counts[id] for id in present_ids}
    assert len(problems) == len(data["videos"]) - len(present_ids)
    assert {problem.costs for problem in problems} == {"absent"}
    first = next(row["caption"] for row in data["sentences"] if row["video_id"] == present_ids[0])
    assert items[0].captions[0] == RecordCaption(" ".join(first.split()), "it")
