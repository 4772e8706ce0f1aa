"""Values of a wrong type, and numbers that are none, cost their own item and give a reason."""

import json
import math

import pytest

from capjax.data.record import Label, RecordCaption
from data_prep.readers.values import id_text, is_number
from tests.helpers.reader_results import found, put

NAN = math.nan
BAD_TYPES = [None, [], [[]], {}, "x", NAN, math.inf, -math.inf, True, 10**400, [1, 2, 3], [NAN] * 4, {"a": [1]}]


def coco(folder, images=None, captions=None, categories=None, sizes=None, objects=None):
    """The items, and the problems, of COCO's files with one photo."""
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "val2017").mkdir(exist_ok=True)
    captions_file = {
        "images": images or [{"id": 7, "file_name": "7.jpg"}],
        "annotations": captions or [{"image_id": 7, "caption": "A dog."}],
    }
    instances = {
        "categories": categories or [{"id": 4, "name": "dog"}],
        "images": sizes or [{"id": 7, "width": 100, "height": 50}],
        "annotations": objects or [{"image_id": 7, "category_id": 4, "bbox": [10, 10, 50, 30]}],
    }
    for name, data in (("captions", captions_file), ("instances", instances)):
        (folder / "annotations" / f"{name}_val2017.json").write_text(json.dumps(data))
    return found("coco", folder)


def test_the_undamaged_files(tmp_path):
    (item,), problems = coco(tmp_path)
    assert (item.labels, problems) == ((Label("dog", (0.1, 0.2, 0.6, 0.8)),), [])


@pytest.mark.parametrize("name", [[[]], {}, None, 3, NAN, "\ud800"])
def test_a_category_without_a_name_costs_its_labels(tmp_path, name):
    categories = [{"id": 4, "name": name}, {"id": 5, "name": "cat"}]
    objects = [{"image_id": 7, "category_id": id, "bbox": [0, 0, 50, 25]} for id in (4, 5)]
    (item,), problems = coco(tmp_path, categories=categories, objects=objects)
    assert item.labels == (Label("cat", (0.0, 0.0, 0.5, 0.5)),)
    assert [(p.kind, p.costs, p.where) for p in problems] == [
        ("bad_label", "nothing", "annotations/instances_val2017.json categories[0]"),
        ("bad_label", "nothing", "annotations/instances_val2017.json annotations[0]"),
    ]


@pytest.mark.parametrize(
    "box", [*BAD_TYPES, [NAN, 0, 1, 1], [0, 0, math.inf, 1], [0, 0, -1, 5], ["0", 0, 1, 1], [True, 0, 1, 1]]
)
def test_a_box_that_is_none_costs_its_label(tmp_path, box):
    objects = [{"image_id": 7, "category_id": 4, "bbox": each} for each in (box, [0, 0, 50, 25])]
    (item,), (problem,) = coco(tmp_path, objects=objects)
    assert item.labels == (Label("dog", (0.0, 0.0, 0.5, 0.5)),)
    assert "bbox: expected four numbers" in problem.message


@pytest.mark.parametrize("width", [*BAD_TYPES, 0, -3])
def test_a_photo_without_a_size_costs_its_labels(tmp_path, width):
    (item,), problems = coco(tmp_path, sizes=[{"id": 7, "width": width, "height": 50}])
    assert item.labels == ()
    assert [problem.kind for problem in problems] == ["bad_label"] * 2


def test_huge_numbers_in_boxes_do_not_overflow(tmp_path):
    (item,), problems = coco(tmp_path, objects=[{"image_id": 7, "category_id": 4, "bbox": [10**308, 0, 10**308, 50]}])
    assert (item.labels, problems) == ((Label("dog", (1.0, 0.0, 1.0, 1.0)),), [])


@pytest.mark.parametrize("ids", [("7", 7), (7, "7"), (7.0, 7), (7, 7.0), ("x", "x")])
def test_ids_match_as_text(tmp_path, ids):
    of_image, of_caption = ids
    (item,), problems = coco(
        tmp_path, [{"id": of_image, "file_name": "7.jpg"}], [{"image_id": of_caption, "caption": "A dog."}]
    )
    assert (item.captions, problems) == ((RecordCaption("A dog."),), [])
    assert item.id == str(of_caption).removesuffix(".0")


@pytest.mark.parametrize("id", [None, NAN, math.inf, True, [], {}, 7.5, "", " ", "\ud800", 10**400])
def test_an_id_that_is_none_is_bad(tmp_path, id):
    captions = [{"image_id": id, "caption": "A cat."}, {"image_id": 7, "caption": "A dog."}]
    images = [{"id": id, "file_name": "1.jpg"}, {"id": 7, "file_name": "7.jpg"}]
    (item,), problems = coco(tmp_path, images, captions)
    assert (item.id, item.captions) == ("7", (RecordCaption("A dog."),))
    assert [(p.kind, p.costs, p.where.rpartition(" ")[2]) for p in problems] == [
        ("malformed", "caption", "annotations[0]"), ("malformed", "photo", "images[0]"),
    ]  # fmt: skip


def karpathy(folder, **values):
    row = {"filename": "1.jpg", "split": "val", "sentences": [{"raw": "Dogs run."}]} | values
    (folder / "dataset_flickr8k.json").write_text(
        json.dumps({"images": [row, row | {"filename": "2.jpg", "cocoid": 2}]})
    )
    return found("karpathy", folder)


def test_a_null_cocoid_is_none(tmp_path):
    items, problems = karpathy(tmp_path, cocoid=None)
    assert ([item.id for item in items], problems) == (["1.jpg", "2"], [])


@pytest.mark.parametrize("value", [NAN, [], True, {}, 1.5])
def test_another_cocoid_is_bad(tmp_path, value):
    (item,), (problem,) = karpathy(tmp_path, cocoid=value)
    assert (item.id, problem.kind) == ("2", "malformed")
    assert "cocoid: expected" in problem.message


def jsonl(folder, row):
    (folder / "captions.jsonl").write_text(json.dumps(row) + '\n{"image": "b.jpg", "caption": "x", "lang": "de"}')
    items, problems = found("jsonl", folder)
    return {item.id: item for item in items}, problems


@pytest.mark.parametrize("lang", [NAN, 3, True, [], {}, ["de"]])
def test_a_language_that_is_no_text_is_bad(tmp_path, lang):
    items, (problem,) = jsonl(tmp_path, {"image": "a.jpg", "captions": [{"text": "A dog.", "lang": lang}]})
    assert items.keys() == {"a.jpg", "b.jpg"}
    assert (problem.kind, problem.costs) == ("malformed", "caption")
    assert "language should be a code as text" in problem.message
    items, problems = jsonl(tmp_path, {"image": "a.jpg", "captions": ["A dog."], "lang": lang})
    assert items["a.jpg"].captions == () and [p.costs for p in problems] == ["caption"]


@pytest.mark.parametrize(
    "box", [[NAN, 0, 1, 1], [0, 0, 1, NAN], [0, True, 1, 1], [0, 0, 10**400, 1], NAN, "x", [[]] * 4]
)
def test_a_box_of_json_lines_that_is_none_costs_its_photo(tmp_path, box):
    items, (problem,) = jsonl(
        tmp_path, {"image": "a.jpg", "caption": "A dog.", "labels": [{"name": "dog", "box": box}]}
    )
    assert items.keys() == {"b.jpg"}
    assert "in fractions" in problem.message


@pytest.mark.parametrize("id", [NAN, True, 1.5, [], "", math.inf])
def test_an_id_of_json_lines_that_is_none_costs_its_photo(tmp_path, id):
    items, (problem,) = jsonl(tmp_path, {"image": "a.jpg", "caption": "A dog.", "id": id})
    assert items.keys() == {"b.jpg"}
    assert "id: expected text or a whole number" in problem.message


@pytest.mark.parametrize("value", [NAN, math.inf, True, "1"])
def test_times_that_are_no_numbers_are_bad(tmp_path, value):
    put(tmp_path, "a.mp4")
    for row in ({"caption": {"text": "x", "start": value, "end": 3}}, {"caption": "x", "start": 0, "end": value}):
        items, (problem,) = jsonl(tmp_path, {"video": "a.mp4"} | row)
        assert (items["a.mp4"].captions, problem.kind) == ((), "bad_times")
    items, (problem,) = jsonl(tmp_path, {"video": "a.mp4", "caption": "x", "clip": [0, value]})
    assert items.keys() == {"b.jpg"}


@pytest.mark.parametrize(
    "row", [[None], None, 3, "x", NAN, {"video_id": [None]}, {"video_id": NAN}, {"video_id": None}]
)
def test_rows_of_msrvtt_that_are_no_objects_are_bad(tmp_path, row):
    videos = [row, {"video_id": "v", "split": "val"}]
    data = {"videos": videos, "sentences": [row, {"video_id": "v", "caption": "A dog."}]}
    (tmp_path / "test_videodatainfo.json").write_text(json.dumps(data))
    (item,), problems = found("msrvtt", put(tmp_path, "v.mp4"))
    assert item.captions == (RecordCaption("A dog."),)
    assert [(p.kind, p.costs) for p in problems] == [("malformed", "caption"), ("malformed", "video")]


def test_a_caption_with_a_nul_is_bad(tmp_path):
    items, (problem,) = jsonl(tmp_path, {"image": "a.jpg", "captions": ["A\0 dog.", "A dog."]})
    assert items["a.jpg"].captions == (RecordCaption("A dog."),)
    assert (problem.kind, problem.costs) == ("malformed", "caption")


def test_ids_and_numbers():
    assert [id_text(value) for value in (7, 7.0, "7", "07", 0, -1)] == ["7", "7", "7", "07", "0", "-1"]
    assert not any(map(is_number, BAD_TYPES))
    assert all(map(is_number, (0, -1, 2.5, 10**300)))
