"""Karpathy's splits: dataset_coco.json, dataset_flickr8k.json, dataset_flickr30k.json.

    DIR/dataset_coco.json        DIR/train2014/..., DIR/val2014/...
    DIR/dataset_flickr8k.json    DIR/Flicker8k_Dataset/... (or Images/, images/, flickr30k-images/, or DIR itself)

The id of an item is COCO's image id as text, or the file name. https://cs.stanford.edu/people/karpathy/deepimagesent/
"""

from pathlib import Path
from typing import Any, NotRequired, TypedDict

from capjax.metrics.json_types import Text, type_mismatch
from data_prep.readers.files import find, load_json, numbered, rows, shown
from data_prep.readers.item import Item, ItemStream, Problem, make_caption, parse_split, without_problems
from data_prep.readers.keys import read_field
from data_prep.readers.media_folder import MediaFolder
from data_prep.readers.registry import READERS, add_input
from data_prep.readers.values import Id, id_text

_FOLDERS = {
    "flickr8k": ["Flicker8k_Dataset", "Flicker8k_Images", "Images", "images", "."],
    "flickr30k": ["flickr30k-images", "flickr30k_images/flickr30k_images", "flickr30k_images", "Images", "images", "."],
}


class _Photo(TypedDict):
    sentences: list
    filepath: NotRequired[Text | None]
    cocoid: NotRequired[Id | None]


def add_arguments(parser):
    add_input(parser, "the folder with dataset_NAME.json and the photos")
    parser.add_argument("--annotations", type=Path, metavar="FILE", help="the dataset_NAME.json, if it is elsewhere")
    parser.add_argument(
        "--restval", choices=["train", "drop"], default="train",
        help="what to do with `restval`, the 30,504 photos of COCO's val2014 that are in no evaluation split "
        "(default: train, as published results do)",
    )  # fmt: skip


@READERS.register("karpathy")
def read(
    input_dir: Path, images: Path | None = None, annotations: Path | None = None, restval: str = "train"
) -> ItemStream:
    """Yields the photos of one dataset_*.json; the captions are the raw sentences.

    Raises:
      InputError: the annotation file is missing or has another format.
    """
    path = annotations or find(input_dir, ["dataset_*.json"], "dataset_NAME.json")
    data, where = load_json(path), shown(path, input_dir)
    folders = _FOLDERS.get(str(data.get("dataset")), ["images", "."])
    # COCO's photos have their folder in `filepath`, so DIR itself is their root.
    has_folders = any(isinstance(row, dict) and row.get("filepath") for row in rows(data, "images", path))
    photos = MediaFolder(images or find(input_dir, ["."] if has_folders else folders, "the photos"))
    for location, row in numbered(rows(data, "images", path), f"{where} images"):
        yield from _read_photo(row, location, photos, restval)


def _read_photo(row: Any, where: str, photos: MediaFolder, restval: str) -> ItemStream:
    if message := type_mismatch(row, _Photo):
        yield Problem("malformed", message, where)
        return
    name = read_field(row, "file")
    if isinstance(name, str) and row.get("filepath"):
        name = f"{row['filepath']}/{name}"
    id = str(name) if row.get("cocoid") is None else id_text(row["cocoid"])
    media = photos.path(name, where, id)
    if isinstance(media, Problem):
        yield media
        return
    if row.get("split") == "restval":
        split: str | Problem = "train" if restval == "train" else ""
    else:
        split = parse_split(row.get("split"), where, id, "photo")
    if isinstance(split, Problem):
        yield split
        return
    texts = [sentence.get("raw") if isinstance(sentence, dict) else None for sentence in row["sentences"]]
    captions = yield from without_problems(
        make_caption(text, "en", f"{where} sentences[{number}]", id) for number, text in enumerate(texts)
    )
    yield Item(id, media, split, tuple(captions), where=where, name=str(name))
