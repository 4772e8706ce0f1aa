"""COCO captions, in the layout of the official download, of 2014 or 2017.

    DIR/annotations/captions_train2017.json   DIR/annotations/instances_train2017.json (optional: labels and boxes)
    DIR/train2017/000000391895.jpg            and the same for val2017

The id of an item is the image's id as text. https://cocodataset.org/#format-data
"""

import re
from collections import defaultdict
from pathlib import Path

from capjax.data.record import Label, RecordCaption
from data_prep.readers.files import Photos, find, load_json, rows, shown
from data_prep.readers.item import InputError, Item, ItemStream, Problem, make_caption, standard_split
from data_prep.readers.registry import READERS, add_input


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
        photos = Photos(_photo_folder(images or input_dir, suffix, captions_path.name))
        instances = captions_path.with_name(f"instances_{suffix}.json")
        labels = _labels(instances) if instances.is_file() else {}
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


def _labels(path: Path) -> dict[int, tuple[Label, ...]]:
    """{image id: objects with boxes as fractions of the photo} of an instances_*.json."""
    data = load_json(path, drop=("segmentation",))
    labels = defaultdict(list)
    try:
        names = {row["id"]: row["name"] for row in rows(data, "categories", path)}
        sizes = {row["id"]: (row["width"], row["height"]) for row in rows(data, "images", path)}
        for row in rows(data, "annotations", path):
            (x, y, w, h), (width, height) = row["bbox"], sizes[row["image_id"]]
            box = (x / width, y / height, (x + w) / width, (y + h) / height)
            labels[row["image_id"]].append(Label(names[row["category_id"]], tuple(min(max(v, 0.0), 1.0) for v in box)))
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"{path}: not in the format of COCO's instances: {type(error).__name__}: {error}") from error
    return {image: tuple(objects) for image, objects in labels.items()}


def _read_split(path: Path, where: str, split: str, photos: Photos, labels: dict) -> ItemStream:
    data = load_json(path)
    images = rows(data, "images", path)
    image_ids = {row["id"] for row in images if isinstance(row, dict) and isinstance(row.get("id"), (int, str))}
    captions: dict[int | str, list[RecordCaption]] = defaultdict(list)
    for number, row in enumerate(rows(data, "annotations", path)):
        location = f"{where} annotations[{number}]"
        if not isinstance(row, dict) or not isinstance(row.get("image_id"), (int, str)):
            yield Problem("malformed", "should be an object with image_id and caption", location, costs="caption")
        elif row["image_id"] not in image_ids:
            message = f"no photo has the id {row['image_id']}"
            yield Problem("caption_without_photo", message, location, str(row["image_id"]), costs="caption")
        else:
            caption = make_caption(row.get("caption"), "en", location, str(row["image_id"]))
            if isinstance(caption, Problem):
                yield caption
            else:
                captions[row["image_id"]].append(caption)
    for number, row in enumerate(images):
        location = f"{where} images[{number}]"
        if not isinstance(row, dict) or not isinstance(row.get("id"), (int, str)):
            yield Problem("malformed", "should be an object with id and file_name", location)
            continue
        id, name = str(row["id"]), row.get("file_name")
        media = photos.path(name, location, id)
        if isinstance(media, Problem):
            yield media
        else:
            texts, objects = tuple(captions[row["id"]]), labels.get(row["id"], ())
            yield Item(id, media, split, texts, objects, where=location, name=str(name))
