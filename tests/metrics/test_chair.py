"""CHAIR counts the objects that captions name and images do not show."""

import json

import pytest

from capjax.metrics.chair import Lexicon, chair, plural, read_labels, read_names
from capjax.metrics.objects import COCO_OBJECTS


@pytest.fixture(scope="module")
def coco():
    return Lexicon()


def test_there_are_the_eighty_objects_of_coco_and_each_finds_itself(coco):
    assert len(COCO_OBJECTS) == len(coco.categories) == 80
    for category in COCO_OBJECTS:
        assert coco.objects(f"a {category} and the {plural(category)}") == [category, category]


def test_every_name_finds_its_object_and_no_other(coco):
    for category, names in COCO_OBJECTS.items():
        for name in filter(None, map(str.strip, names.split(","))):
            assert coco.objects(f"there is the {name} here") == [category], name


@pytest.mark.parametrize(
    ("caption", "objects"),
    [
        ("Two men ride bikes next to a dog.", ["person", "bicycle", "dog"]),
        ("a hot dog on a table", ["hot dog", "dining table"]),
        ("a teddy bear on the bed", ["teddy bear", "bed"]),
        ("a player slides into home plate", ["person"]),
        ("a bus at the bus stop", ["bus"]),
        ("Knives, glasses of wine, and a pair of scissors!", ["knife", "wine glass", "scissors"]),
        ("nothing much", []),
        ("", []),
    ],
)
def test_the_longest_phrases_are_found_from_left_to_right(coco, caption, objects):
    assert coco.objects(caption) == objects


@pytest.mark.parametrize(
    ("one", "many"),
    [("dog", "dogs"), ("bus", "buses"), ("sandwich", "sandwiches"), ("puppy", "puppies"), ("toy", "toys"),
     ("fire hydrant", "fire hydrants"), ("school bus", "school buses"), ("knife", "knives"),
     ("steak knife", "steak knives"), ("sheep", "sheep"), ("toothbrush", "toothbrushes")],
)  # fmt: skip
def test_plurals(one, many):
    assert plural(one) == many


def test_mentions_are_the_words_of_each_object(coco):
    words = ["the", "golden", "retrievers", "eat", "a", "hot", "dog", "on", "a", "park", "bench"]
    assert list(coco.mentions(words)) == [(1, 3, "dog"), (5, 7, "hot dog"), (9, 11, "bench")]


def test_the_figures_of_a_worked_example():
    """Five mentions: dog, dog, cat, man, ball; shown are dog (label), man (a reference). The two others are not."""
    result = chair(
        {1: "a dog beside a puppy and a cat", 2: "a man throws a ball", 3: "a nice view"},
        {1: {"dog"}, 2: set(), 3: {"car"}, 4: {"kite"}},
        {2: ["a guy is outside"], 4: ["a kite"]},
    )
    assert result.mentioned == {1: ["dog", "dog", "cat"], 2: ["person", "sports ball"], 3: []}
    assert result.hallucinated == {1: ["cat"], 2: ["sports ball"], 3: []}
    assert result.instance == pytest.approx(2 / 5)
    assert result.sentence == pytest.approx(2 / 3)


def test_a_caption_of_what_is_there_hallucinates_nothing_and_silence_neither():
    assert chair({1: "a dog"}, {1: ["dog"]}).instance == chair({1: "a dog"}, {1: ["dog"]}).sentence == 0
    assert chair({1: "sunshine"}, {1: []}).instance == 0


def test_other_objects_can_be_named():
    lexicon = Lexicon({"shape": ["circle", "red square"]})
    assert lexicon.objects("circles beside two red squares and a dog") == ["shape", "shape"]
    assert chair({1: "a circle"}, {1: []}, lexicon=lexicon).sentence == 1


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="2 has a prediction but no labels"):
        chair({2: "a dog"}, {1: ["dog"]})
    with pytest.raises(ValueError, match=r"labels of 1: \['dragon'\] are not categories"):
        chair({1: "a dog"}, {1: ["dragon"]})
    with pytest.raises(ValueError, match="no predictions"):
        chair({}, {})
    with pytest.raises(ValueError, match="names both 'a' and 'b'"):
        Lexicon({"a": ["thing"], "b": ["thing"]})
    with pytest.raises(ValueError, match="has no word"):
        Lexicon({"a": ["!"]})


INSTANCES = {
    "images": [{"id": 1}, {"id": 2}],
    "categories": [{"id": 7, "name": "dog"}, {"id": 8, "name": "cat"}],
    "annotations": [{"image_id": 1, "category_id": 7}, {"image_id": 1, "category_id": 8}],
}


def write(path, data):
    path.write_text(json.dumps(data))
    return path


def test_labels_are_read_from_cocos_instances_and_from_lists(tmp_path):
    assert read_labels(write(tmp_path / "a.json", INSTANCES)) == {1: {"dog", "cat"}, 2: set()}
    assert read_labels(write(tmp_path / "b.json", {"1": ["dog"], "a.jpg": []})) == {1: {"dog"}, "a.jpg": set()}
    assert read_names(write(tmp_path / "c.json", {"dog": ["puppy"]})) == {"dog": ["puppy"]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "expected COCO's instances"),
        ({"1": "dog"}, "expected COCO's instances.*'1': expected a list, found 'dog'"),
        ({"annotations": []}, "expected COCO.s instances.*; it has no categories and no images"),
        (
            INSTANCES | {"annotations": [{"image_id": 3, "category_id": 7}]},
            r"annotations\[0\]: 3 is not the id of an image",
        ),
        (INSTANCES | {"annotations": [{"image_id": 1}]}, r"annotations\[0\]: expected category_id, found 'image_id'"),
        (
            INSTANCES | {"annotations": [{"image_id": [1], "category_id": 7}]},
            r"\[0\]: image_id: .*found \[1\]",
        ),
        (INSTANCES | {"annotations": 5}, "annotations: expected a list, found 5"),
        (
            INSTANCES | {"categories": [{"id": 7, "name": [[]]}]},
            r"categories\[0\]: name: .* text, found \[\[\]\]",
        ),
        (INSTANCES | {"images": [None]}, r"images\[0\]: expected an object, found None"),
        (INSTANCES | {"annotations": [3]}, r"annotations\[0\]"),
    ],
)
def test_a_file_of_labels_that_does_not_fit_is_named(tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        read_labels(write(tmp_path / "labels.json", data))


def test_ids_written_as_text_are_those_written_as_numbers(tmp_path):
    annotations = [{"image_id": "1", "category_id": "7"}]
    assert read_labels(write(tmp_path / "a.json", INSTANCES | {"annotations": annotations})) == {1: {"dog"}, 2: set()}


def test_a_file_of_names_that_does_not_fit_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"names.json: expected {category"):
        read_names(write(tmp_path / "names.json", {"dog": "puppy"}))
