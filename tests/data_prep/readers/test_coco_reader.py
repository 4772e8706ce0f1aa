"""COCO's and Karpathy's JSON, in small."""

import json

import pytest

from capjax.data.record import Label, RecordCaption
from data_prep.readers import InputError
from tests.helpers.reader_results import found


def coco(folder, suffix="train2017", images=None, annotations=None, instances=None):
    """An official download in small; the photos need not exist for a reader."""
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    (folder / suffix).mkdir(exist_ok=True)
    images = images or [
        {"license": 3, "file_name": "000000391895.jpg", "height": 360, "width": 640, "id": 391895},
        {"license": 4, "file_name": "000000522418.jpg", "height": 480, "width": 640, "id": 522418},
    ]
    annotations = annotations or [
        {"image_id": 522418, "id": 681330, "caption": "A woman cutting a large white sheet cake.\n"},
        {"image_id": 391895, "id": 770337, "caption": "A man with a red helmet on a small moped on a dirt road. "},
        {"image_id": 391895, "id": 771687, "caption": "Man riding a motor bike."},
    ]
    data = {"info": {}, "licenses": [], "images": images, "annotations": annotations}
    (folder / "annotations" / f"captions_{suffix}.json").write_text(json.dumps(data))
    if instances is not None:
        (folder / "annotations" / f"instances_{suffix}.json").write_text(json.dumps(instances))
    return folder


def test_photos_come_with_their_captions(tmp_path):
    items, problems = found("coco", coco(tmp_path))
    assert not problems
    assert [item.id for item in items] == ["391895", "522418"]
    first = items[0]
    assert first.media == tmp_path / "train2017" / "000000391895.jpg"
    assert (first.split, first.name) == ("train", "000000391895.jpg")
    assert first.captions == (
        RecordCaption("A man with a red helmet on a small moped on a dirt road."),
        RecordCaption("Man riding a motor bike."),
    )  # fmt: skip
    assert first.where == "annotations/captions_train2017.json images[0]"


def test_train_and_val_are_read_train_first(tmp_path):
    other = [{"file_name": "000000000139.jpg", "id": 139}]
    caption = [{"image_id": 139, "caption": "A room."}]
    coco(tmp_path, "val2017", other, caption)
    items, _ = found("coco", coco(tmp_path))
    assert [(item.split, item.id) for item in items] == [("train", "391895"), ("train", "522418"), ("val", "139")]


def test_instances_become_labels_with_boxes_in_fractions(tmp_path):
    instances = {
        "categories": [{"id": 4, "name": "motorcycle"}],
        "images": [{"id": 391895, "width": 640, "height": 360}],
        "annotations": [
            {"image_id": 391895, "category_id": 4, "bbox": [320.0, 180.0, 160.0, 180.0], "segmentation": [[1, 2]] * 3}
        ],
    }
    items, _ = found("coco", coco(tmp_path, instances=instances))
    assert items[0].labels == (Label("motorcycle", (0.5, 0.5, 0.75, 1.0)),)
    assert items[1].labels == ()


def test_bad_annotations_are_listed_by_their_number(tmp_path):
    rows = [
        {"image_id": 391895, "caption": "Fine."},
        {"image_id": 1, "caption": "Of no photo."},
        {"image_id": 522418, "caption": "  \n"},
        {"image_id": 522418},
        {"caption": "whose?"},
        "text",
        {"image_id": 522418, "caption": "broken \ud83d"},
    ]
    items, problems = found("coco", coco(tmp_path, annotations=rows))
    where = "annotations/captions_train2017.json annotations"
    assert [(problem.kind, problem.where) for problem in problems] == [
        ("caption_without_photo", f"{where}[1]"),
        ("empty_caption", f"{where}[2]"),
        ("malformed", f"{where}[3]"),
        ("malformed", f"{where}[4]"),
        ("malformed", f"{where}[5]"),
        ("encoding", f"{where}[6]"),
    ]
    assert {problem.costs for problem in problems} == {"caption"}
    assert [len(item.captions) for item in items] == [1, 0]


def test_bytes_that_are_not_utf8_cost_only_their_caption(tmp_path):
    path = coco(tmp_path) / "annotations" / "captions_train2017.json"
    path.write_bytes(path.read_bytes().replace(b"motor bike", b"v\xe9lo"))
    items, (problem,) = found("coco", tmp_path)
    assert problem.kind == "encoding"
    assert len(items[0].captions) == 1


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b.jpg", "..\\b.jpg", "C:\\b.jpg"])
def test_a_photo_name_may_not_lead_out_of_its_folder(tmp_path, name):
    items, problems = found("coco", coco(tmp_path, images=[{"id": 391895, "file_name": name}]))
    assert not items
    assert problems[-1].kind == "unsafe_path"
    assert problems[-1].id == "391895"


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"x")
    folder = coco(tmp_path / "coco", images=[{"id": 391895, "file_name": "a.jpg"}])
    (folder / "train2017" / "a.jpg").symlink_to(tmp_path / "secret.jpg")
    _, problems = found("coco", folder)
    assert problems[-1].kind == "unsafe_path"


def test_two_years_must_be_chosen_from(tmp_path):
    coco(tmp_path, "train2014", [{"id": 7, "file_name": "COCO_train2014_000000000007.jpg"}], [])
    coco(tmp_path)
    with pytest.raises(InputError, match="2014, 2017.*--year"):
        found("coco", tmp_path)
    assert [item.id for item in found("coco", tmp_path, year="2014")[0]] == ["7"]
    with pytest.raises(InputError, match="no captions of the year 2015"):
        found("coco", tmp_path, year="2015")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], r"captions_train2017\.json:1: not JSON"),
        (lambda text: "[]", r"expected an object, found \[\]"),
        (lambda text: '{"images": []}', "annotations: expected a list"),
        (lambda text: '{"images": [' + "[" * 100_000, "captions_train2017"),
    ],
)
def test_a_broken_file_is_named(tmp_path, damage, message):
    path = coco(tmp_path) / "annotations" / "captions_train2017.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(InputError, match=message):
        found("coco", tmp_path)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        found("coco", tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"captions_train2017\.json"):
        found("coco", tmp_path)
    coco(tmp_path)
    (tmp_path / "train2017").rmdir()
    with pytest.raises(InputError, match="photos of captions_train2017"):
        found("coco", tmp_path)


def sentence(text):
    return {"tokens": text.lower().split(), "raw": text, "imgid": 0, "sentid": 0}


def karpathy(folder, dataset, images):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"dataset_{dataset}.json").write_text(json.dumps({"images": images, "dataset": dataset}))
    return folder


def test_karpathy_coco_names_the_folder_of_each_photo(tmp_path):
    rows = [
        {"filepath": "val2014", "filename": "COCO_val2014_000000391895.jpg", "cocoid": 391895, "split": split,
         "sentids": [0], "imgid": 0, "sentences": [sentence("A man with a red helmet.")]}
        for split in ("train", "restval", "val", "test")
    ]  # fmt: skip
    items, _ = found("karpathy", karpathy(tmp_path, "coco", rows))
    assert items[0].media == tmp_path / "val2014" / "COCO_val2014_000000391895.jpg"
    assert items[0].id == "391895"
    assert items[0].captions == (RecordCaption("A man with a red helmet."),)
    assert [item.split for item in items] == ["train", "train", "val", "test"]
    items, _ = found("karpathy", tmp_path, restval="drop")
    assert [item.split for item in items] == ["train", "", "val", "test"]


@pytest.mark.parametrize(
    ("dataset", "folder"),
    [("flickr8k", "Flicker8k_Dataset"), ("flickr8k", "Images"), ("flickr30k", "flickr30k-images"), ("flickr8k", ".")],
)
def test_karpathy_flickr_finds_the_usual_folders(tmp_path, dataset, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    rows = [{"filename": "1.jpg", "split": "val", "imgid": 0, "sentences": [sentence("Dogs run.")]}]
    (item,), _ = found("karpathy", karpathy(tmp_path, dataset, rows))
    assert item.media == tmp_path / folder / "1.jpg"
    assert item.id == "1.jpg"


def test_karpathy_lists_what_is_bad(tmp_path):
    rows = [
        {"filename": "1.jpg", "split": "training2", "sentences": [sentence("x")]},
        {"filename": "2.jpg", "split": "val"},
        {"filename": "../2.jpg", "split": "val", "sentences": [sentence("x")]},
        {"filename": "3.jpg", "split": "val", "sentences": [sentence("x"), sentence(" "), {"tokens": []}]},
    ]
    items, problems = found("karpathy", karpathy(tmp_path, "flickr8k", rows))
    assert [(problem.kind, problem.costs) for problem in problems] == [
        ("unknown_split", "photo"), ("malformed", "photo"), ("unsafe_path", "photo"),
        ("empty_caption", "caption"), ("malformed", "caption"),
    ]  # fmt: skip
    assert [item.id for item in items] == ["3.jpg"]
