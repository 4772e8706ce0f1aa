"""Keys and columns: one table of names for all readers."""

import json

import pytest

from capjax.data.record import RecordCaption
from data_prep.readers.keys import NAMES, read_fields, resolve_keys
from tests.helpers.reader_results import found, put


def jsonl(folder, *rows, name="captions.jsonl", **options):
    (folder / name).write_text("\n".join(json.dumps(row) for row in rows))
    return found("jsonl", folder, **options)


def test_the_language_of_a_caption_may_be_called_language(tmp_path):
    (item,), problems = jsonl(tmp_path, {"image": "a.jpg", "captions": [{"text": "Eine Katze.", "language": "de"}]})
    assert (item.captions, problems) == ((RecordCaption("Eine Katze.", "de"),), [])
    (item,), problems = jsonl(tmp_path, {"file_name": "a.jpg", "text": "Eine Katze.", "language": "de"})
    assert (item.captions, problems) == ((RecordCaption("Eine Katze.", "de"),), [])


@pytest.mark.parametrize("image", [*NAMES["image"], *NAMES["file"], "Image", "File Name", "FILE-NAME"])
@pytest.mark.parametrize("caption", [*NAMES["caption"], "Caption"])
@pytest.mark.parametrize("lang", [*NAMES["lang"], "Language"])
def test_a_key_means_the_same_in_json_lines_and_in_tables(tmp_path, image, caption, lang):
    row = {image: "a.jpg", caption: "Eine Katze.", lang: "de", "split": "val"}
    (item,), problems = jsonl(tmp_path, row)
    (tmp_path / "captions.csv").write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
    (same,), more = found("csv", tmp_path)
    assert not problems + more
    for one in (item, same):
        assert (one.id, one.split, one.captions) == ("a.jpg", "val", (RecordCaption("Eine Katze.", "de"),))


def test_metadata_of_hugging_face_is_read(tmp_path):
    rows = [{"file_name": "0.png", "text": "A dog."}, {"file_name": "1.png", "text": "A cat."}]
    items, problems = jsonl(tmp_path, *rows, name="metadata.jsonl")
    assert not problems
    assert [(item.id, item.captions) for item in items] == [
        ("0.png", (RecordCaption("A dog."),)), ("1.png", (RecordCaption("A cat."),)),
    ]  # fmt: skip


def test_folders_of_hugging_face_are_splits(tmp_path):
    put(tmp_path, "train/0.png", "validation/0.png", "test/0.mp4", "other/metadata.jsonl")
    for folder, name in (("train", "0.png"), ("validation", "0.png"), ("test", "0.mp4")):
        (tmp_path / folder / "metadata.jsonl").write_text(json.dumps({"file_name": name, "text": folder}))
    items, problems = found("jsonl", tmp_path)
    assert not problems
    assert [(item.id, item.split, item.media, item.video, item.where) for item in items] == [
        ("train/0.png", "train", tmp_path / "train/0.png", False, "train/metadata.jsonl:1"),
        ("validation/0.png", "val", tmp_path / "validation/0.png", False, "validation/metadata.jsonl:1"),
        ("test/0.mp4", "test", tmp_path / "test/0.mp4", True, "test/metadata.jsonl:1"),
    ]  # fmt: skip


def test_a_file_is_a_photo_or_a_video_by_its_extension(tmp_path):
    items, problems = jsonl(
        put(tmp_path, "a.mp4"), {"file_name": "a.mp4", "text": "x"}, {"file_name": "a.jpg", "text": "y"}
    )
    assert not problems
    assert [(item.id, item.video) for item in items] == [("a.mp4", True), ("a.jpg", False)]


def test_times_beside_a_single_caption_are_those_of_the_caption(tmp_path):
    (item,), problems = jsonl(put(tmp_path, "a.mp4"), {"video": "a.mp4", "caption": "jumps", "start": 1, "end": 2.5})
    assert (item.captions, problems) == ((RecordCaption("jumps", "en", 1.0, 2.5, "event"),), [])


@pytest.mark.parametrize("key", ["caption_de", "alt_text", "captionFr", "title", "languages", "subset", "bbox"])
def test_an_unknown_key_that_looks_meaningful_is_reported_once(tmp_path, key):
    rows = [{"image": f"{k}.jpg", "caption": "A dog.", key: "x"} for k in range(3)]
    items, (problem,) = jsonl(tmp_path, *rows)
    assert len(items) == 3
    assert (problem.kind, problem.costs, problem.where) == ("unknown_key", "nothing", "captions.jsonl:1")
    assert f"'{key}' (3 times) is not read" in problem.message
    (tmp_path / "captions.csv").write_text(f"image,caption,{key}\na.jpg,A dog.,x\n")
    _, (problem,) = found("csv", tmp_path)
    assert (problem.kind, problem.where) == ("unknown_key", "captions.csv:1")


@pytest.mark.parametrize(
    "key", ["width", "height", "fps", "license", "url", "caption_id", "text_length", "Unnamed: 0", "set", "kind"]
)
def test_other_unknown_keys_are_not_reported(tmp_path, key):
    assert jsonl(tmp_path, {"image": "a.jpg", "caption": "A dog.", key: 3})[1] == []
    (tmp_path / "captions.csv").write_text(f"{key},image,caption\n3,a.jpg,A dog.\n")
    assert found("csv", tmp_path)[1] == []


def test_unknown_keys_of_captions_are_reported_too(tmp_path):
    row = {"image": "a.jpg", "captions": [{"text": "A dog.", "translation": "Ein Hund.", "start": 3}]}
    (item,), problems = jsonl(tmp_path, row)
    assert len(item.captions) == 1
    assert sorted(problem.message.split()[0] for problem in problems) == ["'start'", "'translation'"]


def test_a_second_name_of_a_field_is_reported(tmp_path):
    row = {"image": "a.jpg", "path": "b.jpg", "captions": ["A dog."], "text": "A cat.", "lang": "en", "language": None}
    (item,), (problem,) = jsonl(tmp_path, row)
    assert (item.name, item.captions) == ("a.jpg", (RecordCaption("A dog."),))
    assert problem.kind == "unknown_key"


def test_of_several_names_the_preferred_one_is_read():
    assert resolve_keys(["path", "text", "Caption"], ("file", "caption")) == {"file": "path", "caption": "Caption"}
    assert read_fields({"text": "x", "caption": None, "other": 1}, ("caption",)) == ({"caption": "x"}, ["other"])


def test_a_null_is_like_a_missing_key(tmp_path):
    row = {"image": "a.jpg", "video": None, "id": None, "split": None, "lang": None, "labels": None, "clip": None,
           "captions": None, "caption": {"text": "A dog.", "lang": None, "start": None}}  # fmt: skip
    (item,), problems = jsonl(tmp_path, row)
    assert (item.id, item.captions, problems) == ("a.jpg", (RecordCaption("A dog."),), [])


def test_published_formats_have_the_same_names(tmp_path):
    put(tmp_path, "annotations/x", "val2017/a.jpg", "images/a.jpg", "v.mp4", "12345678901.mp4")
    coco = {"images": [{"id": 1, "filename": "a.jpg"}], "annotations": [{"image_id": 1, "text": "A dog."}]}
    karpathy = {"images": [{"file_name": "a.jpg", "split": "val", "sentences": [{"raw": "A dog."}]}]}
    url = "https://youtu.be/12345678901"
    msrvtt = {"videos": [{"video_id": "x", "split": "val", "url": url, "start_time": 1, "end_time": 2}],
              "sentences": [{"video_id": "x", "sentence": "A dog."}]}  # fmt: skip
    steps = [{"segment": [1, 2], "caption": "A dog."}]
    youcook = {"database": {"v": {"duration": 9, "subset": "validation", "annotations": steps}}}
    for reader, file, data in (
        ("coco", "annotations/captions_val2017.json", coco), ("karpathy", "dataset_mine.json", karpathy),
        ("msrvtt", "test_videodatainfo.json", msrvtt), ("youcook2", "youcookii_annotations.json", youcook),
    ):  # fmt: skip
        (tmp_path / file).write_text(json.dumps(data))
        (item,), problems = found(reader, tmp_path)
        assert ([caption.text for caption in item.captions], problems) == (["A dog."], []), reader
