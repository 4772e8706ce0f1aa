"""Labels of objects: COCO's instances with boxes, or categories alone; other files are errors that name the place."""

import json

import pytest

from capjax.analyze.labels import LabeledObject, read_objects

INSTANCES = {
    "images": [{"id": 1, "width": 200, "height": 100}, {"id": 2}],
    "categories": [{"id": 7, "name": "dog"}, {"id": 8, "name": "cat"}],
    "annotations": [
        {"image_id": 1, "category_id": 7, "bbox": [20, 10, 100, 50]},
        {"image_id": 1, "category_id": 8, "bbox": [0, 0, 200, 100], "iscrowd": 1, "score": 0.5},
        {"image_id": 2, "category_id": 7, "bbox": [20, 10, 100, 50]},
        {"image_id": 2, "category_id": 7},
    ],
}


def write(tmp_path, data):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(data))
    return path


def test_boxes_are_fractions_of_the_picture(tmp_path):
    objects = read_objects(write(tmp_path, INSTANCES))
    assert objects == {
        1: [LabeledObject("dog", (0.1, 0.1, 0.6, 0.6)), LabeledObject("cat", (0.0, 0.0, 1.0, 1.0), 0.5, True)],
        2: [LabeledObject("dog"), LabeledObject("dog")],
    }


def test_categories_alone_are_objects_without_boxes(tmp_path):
    objects = read_objects(write(tmp_path, {"a.jpg": ["dog", "dog"], "12": []}))
    assert objects == {"a.jpg": [LabeledObject("dog")] * 2, 12: []}


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"image_id": 3, "category_id": 7}, r"annotations\[0\]: 3 is not the id of an image of the file"),
        ({"image_id": 1, "category_id": 9}, r"annotations\[0\]: 9 is not the id of a category of the file"),
        (
            {"image_id": 1, "category_id": 7, "bbox": [1, 2, 3]},
            r"annotations\[0\]: bbox: expected \[x, y, width, height\], found",
        ),
        (
            {"image_id": 1, "category_id": 7, "bbox": [1, 2, -3, 4]},
            r"annotations\[0\]: bbox: expected \[x, y, width, height\], found",
        ),
        ({"image_id": 1, "category_id": 7, "bbox": "all"}, r"annotations\[0\]: bbox: expected a list, found 'all'"),
        ({"image_id": 1, "category_id": 7, "score": "high"}, r"annotations\[0\]: score: expected a number"),
    ],
)
def test_a_wrong_annotation_is_named(tmp_path, annotation, message):
    with pytest.raises(ValueError, match=f"instances.json: {message}"):
        read_objects(write(tmp_path, INSTANCES | {"annotations": [annotation]}))


def test_a_file_of_captions_is_no_file_of_labels(tmp_path):
    with pytest.raises(ValueError, match="instances.json: expected COCO.s instances.* no categories"):
        read_objects(write(tmp_path, {"images": [], "annotations": [{"image_id": 1, "caption": "a dog"}]}))
