"""Your own photos, with captions in JSON lines: one object for each photo.

    {"image": "cats/1.jpg", "captions": ["A cat on a chair.", {"text": "Eine Katze.", "lang": "de"}], "split": "train"}

    image     the photo's path, relative to --images (by default the folder of the JSON lines)
    captions  a list of texts, or of objects with text and lang; or `caption`, a single one
    lang      language of captions that name none (default --lang)
    split     train, val or test; where it is absent, a hash of the photo's name chooses
    id        unique in the dataset (default: the name in `image`)
    labels    objects in the photo: a list of {"name": "cat", "box": [x0, y0, x1, y1]}, the box in fractions of the
              photo's width and height, or absent

Other keys are allowed and not read; one that looks like a slip of the pen (`captoins`) is bad input.
"""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path

from capjax.data.record import Label
from data_prep.readers.files import DEFAULT_FRACTIONS, Photos, add_fractions, lines, shown, split_by_hash
from data_prep.readers.item import Found, Item, Problem, is_text, make_caption, standard_split, unknown_split
from data_prep.readers.registry import READERS, add_input
from data_prep.readers.table import locate

_KEYS = ("image", "captions", "caption", "lang", "split", "id", "labels")


def add_arguments(parser):
    add_input(parser, "the folder with the photos and a captions.jsonl, or that file itself")
    parser.add_argument("--captions", type=Path, metavar="FILE", help="the JSON lines, if they lie elsewhere")
    parser.add_argument("--lang", default="en", help="language of captions that name none (default: en)")
    add_fractions(parser)


@READERS.register("jsonl")
def read(
    input_dir: Path, images: Path | None = None, captions: Path | None = None, lang: str = "en",
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
) -> Found:  # fmt: skip
    """Yields the photos, in order.

    Raises:
      InputError: there is no such file.
    """
    path, folder = locate(input_dir, captions, ["captions.jsonl", "*.jsonl"])
    photos, where = Photos(images or folder), shown(path, folder)
    for number, line in lines(path, where):
        place = f"{where}:{number}"
        if isinstance(line, Problem):
            yield Problem(line.kind, line.message, place)
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Problem("malformed", f"not JSON: {error}", place)
            continue
        yield from _item(row, place, photos, lang, fractions)


def _item(row: object, where: str, photos: Photos, lang: str, fractions: Sequence[float]) -> Found:
    if not isinstance(row, dict):
        yield Problem("malformed", f"should be an object, not {type(row).__name__}", where)
        return
    for key in row.keys() - set(_KEYS):
        if close := difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.8):
            yield Problem("malformed", f"unknown key {key!r}; did you mean {close[0]!r}?", where)
            return
    name = row.get("image")
    media = photos.path(name, where)
    if isinstance(media, Problem):
        yield media
        return
    id = row.get("id", name)
    if not isinstance(id, (str, int)) or not str(id).strip():
        yield Problem("malformed", f"id should be text or a number, not {id!r:.80}", where)
        return
    id = str(id)
    split = standard_split(row["split"]) if row.get("split") else split_by_hash(name, fractions)
    labels = _labels(row.get("labels", []))
    sentences = row.get("captions", [row["caption"]] if "caption" in row else [])
    if split is None:
        yield unknown_split(row["split"], where, id)
    elif labels is None:
        message = 'labels should be a list of {"name": ..., "box": [x0, y0, x1, y1]}, boxes in fractions from 0 to 1'
        yield Problem("malformed", message, where, id)
    elif not isinstance(sentences, list):
        yield Problem("malformed", f"captions should be a list, not {type(sentences).__name__}", where, id)
    else:
        captions = []
        for sentence in sentences:
            known = sentence if isinstance(sentence, dict) else {"text": sentence}
            caption = make_caption(known.get("text"), str(known.get("lang") or row.get("lang") or lang), where, id)
            if isinstance(caption, Problem):
                yield caption
            else:
                captions.append(caption)
        yield Item(id, media, split, tuple(captions), labels, where=where, name=name)


def _labels(rows: object) -> tuple[Label, ...] | None:
    """The labels, or None if they are not of the documented form."""
    labels = []
    for row in rows if isinstance(rows, list) else [None]:
        if not isinstance(row, dict) or not isinstance(row.get("name"), str) or not is_text(row["name"]):
            return None
        box = row.get("box")
        if box is not None:
            numbers = isinstance(box, list) and all(isinstance(v, (int, float)) for v in box)
            if not numbers or len(box) != 4 or not all(0 <= v <= 1 for v in box) or box[0] > box[2] or box[1] > box[3]:
                return None
            box = tuple(float(v) for v in box)
        labels.append(Label(row["name"], box))
    return tuple(labels)
