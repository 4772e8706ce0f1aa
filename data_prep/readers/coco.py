"""COCO captions, in the layout of the official download, of 2014 or 2017.

    DIR/annotations/captions_train2017.json   DIR/annotations/instances_train2017.json (optional: labels and boxes)
    DIR/train2017/000000391895.jpg            and the same for val2017

The id of an item is the image's id as text. https://cocodataset.org/#format-data
"""

import re
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any, TypedDict

from capjax.data.record import Label, RecordCaption
from capjax.metrics.json_types import Rule, Text, type_mismatch
from data_prep.readers.files import find, load_json, numbered, rows, shown
from data_prep.readers.item import InputError, Item, ItemStream, Problem, make_caption, standard_split
from data_prep.readers.keys import read_field
from data_prep.readers.media_folder import MediaFolder
from data_prep.readers.registry import READERS, add_input
from data_prep.readers.values import Id, id_text, is_box, is_number

_Length = Annotated[float, Rule("a number of pixels above 0", lambda value: is_number(value) and value > 0)]
_Box = Annotated[Any, Rule("four numbers [x, y, width, height]", lambda box: is_box(box) and min(box[2:]) >= 0)]


class _Row(TypedDict):
    id: Id


class _Category(_Row):
    name: Text


class _Image(_Row):
    width: _Length
    height: _Length


class _Annotation(TypedDict):
    image_id: Id


class _Object(_Annotation):
    category_id: Id
    bbox: _Box


def add_arguments(parser):
    add_input(parser, "the folder with annotations/ and train2017/, val2017/ (or 2014)")
    parser.add_argument("--year", help="year of the annotations to read, if there are several")


@READERS.register("coco")
def read(input_dir: Path, images: Path | None = None, year: str | None = None) -> ItemStream:
    """Yields the photos of every captions_*.json.

    Raises:
      InputError: annotations or photo folders are missing, JSON is broken, or there are several years to choose from.
    """
    folder = find(input_dir, ["annotations", "."], "annotations")
    for captions_path, split, suffix in _caption_files(folder, year):
        photos = MediaFolder(_photo_folder(images or input_dir, suffix, captions_path.name))
        instances = captions_path.with_name(f"instances_{suffix}.json")
        labels = (yield from _labels(instances, shown(instances, input_dir))) if instances.is_file() else {}
        yield from _read_split(captions_path, shown(captions_path, input_dir), split, photos, labels)


def _caption_files(folder: Path, year: str | None) -> list[tuple[Path, str, str]]:
    """(path, split, `train2017`) of each captions_*.json, train first."""
    files = []
    for path in sorted(folder.glob("captions_*.json")):
        match = re.fullmatch(r"captions_(([A-Za-z]+)(\d*))\.json", path.name)
        split = standard_split(match[2]) if match else None
        if match is None or split is None:
            raise InputError(f"{path}: should be named captions_SPLITYEAR.json, such as captions_val2017.json")
        files.append((path, split, match[1], match[3]))
    if not files:
        raise InputError(f"{folder}: no captions_*.json; expected files such as captions_train2017.json")
    years = sorted({row[3] for row in files})
    if year is None and len(years) > 1:
        raise InputError(f"{folder}: captions of the years {', '.join(years)}, which share photos; choose with --year")
    if year is not None and year not in years:
        raise InputError(f"{folder}: no captions of the year {year}; available: {', '.join(years)}")
    kept = [row[:3] for row in files if year in (None, row[3])]
    return sorted(kept, key=lambda row: ("train", "val", "test").index(row[1]))


def _photo_folder(folder: Path, suffix: str, captions: str) -> Path:
    return find(folder, [suffix, f"images/{suffix}"], f"the photos of {captions}")


def _labels(path: Path, where: str) -> Generator[Problem, None, dict[str, tuple[Label, ...]]]:
    """Yields Problems; returns {image id: objects with boxes as fractions of the photo} of an instances_*.json."""
    data = load_json(path, drop=("segmentation",))
    names: dict[str, str] = {}
    sizes: dict[str, tuple[float, float]] = {}
    labels: dict[str, list[Label]] = defaultdict(list)
    for location, row in numbered(rows(data, "categories", path), f"{where} categories"):
        if message := type_mismatch(row, _Category):
            yield _lost_label(message, location)
        else:
            names[id_text(row["id"])] = row["name"]
    for location, row in numbered(rows(data, "images", path), f"{where} images"):
        if message := type_mismatch(row, _Image):
            yield _lost_label(message, location)
        else:
            sizes[id_text(row["id"])] = (row["width"], row["height"])
    for location, row in numbered(rows(data, "annotations", path), f"{where} annotations"):
        if message := type_mismatch(row, _Object):
            yield _lost_label(message, location)
            continue
        image, category = id_text(row["image_id"]), id_text(row["category_id"])
        if image not in sizes or category not in names:
            yield _lost_label(f"there is no image {image} with a size, or no category {category}", location)
            continue
        (x, y, w, h), (width, height) = map(float, row["bbox"]), sizes[image]
        left, top, right, bottom = (
            min(max(edge, 0.0), 1.0) for edge in (x / width, y / height, (x + w) / width, (y + h) / height)
        )
        labels[image].append(Label(names[category], (left, top, right, bottom)))
    return {image: tuple(objects) for image, objects in labels.items()}


def _lost_label(message: str, where: str) -> Problem:
    return Problem("bad_label", f"{message}; its labels are left out", where, costs="nothing")


def _read_split(path: Path, where: str, split: str, photos: MediaFolder, labels: dict) -> ItemStream:
    data = load_json(path)
    images = rows(data, "images", path)
    image_ids = {id_text(row["id"]) for row in images if not type_mismatch(row, _Row)}
    captions: dict[str, list[RecordCaption]] = defaultdict(list)
    for location, row in numbered(rows(data, "annotations", path), f"{where} annotations"):
        if message := type_mismatch(row, _Annotation):
            yield Problem("malformed", message, location, costs="caption")
            continue
        if (id := id_text(row["image_id"])) not in image_ids:
            yield Problem("caption_without_photo", f"no photo has the id {id}", location, id, costs="caption")
            continue
        caption = make_caption(read_field(row, "caption"), "en", location, id)
        if isinstance(caption, Problem):
            yield caption
        else:
            captions[id].append(caption)
    locations: dict[str, str] = {}
    for location, row in numbered(images, f"{where} images"):
        if message := type_mismatch(row, _Row):
            yield Problem("malformed", message, location)
            continue
        id, name = id_text(row["id"]), read_field(row, "file")
        if id in locations:
            yield Problem("duplicate_id", f"the id {id} is already used ({locations[id]})", location, id)
            continue
        locations[id] = location
        media = photos.path(name, location, id)
        if isinstance(media, Problem):
            yield media
        else:
            yield Item(id, media, split, tuple(captions[id]), labels.get(id, ()), where=location, name=str(name))
