"""Objects of an item: from COCO's instances, or {id: [categories]}."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from capjax.analyze.findings import Box
from capjax.metrics.chair import read_labels
from capjax.metrics.json_types import Rule, checked_rows
from capjax.metrics.strict_json import parse

# Of a detector's scores: objects below the first are left out. From the second on an object may be there, and is not
# reported as hallucinated; from the third on it counts as shown.
LEAST_SCORE, POSSIBLE, SHOWN = 0.1, 0.2, 0.4


@dataclass(frozen=True)
class LabeledObject:
    """An object in a picture.

    Attributes:
      category: its category.
      box: (x0, y0, x1, y1) as fractions of width and height; None if unknown.
      score: confidence of a detector; 1 for labels of people.
      crowd: it stands for an unknown number of objects.
    """

    category: str
    box: Box | None = None
    score: float = 1.0
    crowd: bool = False


Labels = dict[int | str, list[LabeledObject]]

_Length = Annotated[float, Rule("a number of pixels above 0", lambda value: 0 < value < math.inf)]
_CocoBox = Annotated[
    list[float],
    Rule(
        "[x, y, width, height]",
        lambda box: len(box) == 4 and all(map(math.isfinite, box)) and min(box[2:]) >= 0,
    ),
]


class _Image(TypedDict):
    width: NotRequired[_Length]
    height: NotRequired[_Length]


class _Object(TypedDict):
    bbox: NotRequired[_CocoBox]
    score: NotRequired[float]
    iscrowd: NotRequired[int | bool]


def read_objects(path: Path) -> Labels:
    """Reads {id: objects} from COCO's instances_*.json or from {id: [categories]}.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is neither of them, an annotation names an unknown image or category, or a box is no box.
    """
    categories = read_labels(path)  # checks ids and names
    data: Any = parse(path)
    if "annotations" not in data:
        by_text = {str(id): id for id in categories}
        return {by_text[text]: [LabeledObject(name) for name in names] for text, names in data.items()}
    names = {str(row["id"]): row["name"] for row in data["categories"]}
    images = {str(row["id"]): row for _, row in checked_rows(data["images"], _Image, f"{path}: images")}
    objects: dict[str, list[LabeledObject]] = {str(id): [] for id in categories}
    for _, row in checked_rows(data["annotations"], _Object, f"{path}: annotations"):
        id = str(row["image_id"])
        box, score, crowd = _fractions(row.get("bbox"), images[id]), row.get("score", 1.0), row.get("iscrowd", False)
        objects[id].append(LabeledObject(names[str(row["category_id"])], box, float(score), bool(crowd)))
    return {id: objects[str(id)] for id in categories}


def _fractions(box: list[float] | None, image: dict) -> Box | None:
    """Converts [x, y, width, height] in pixels; None where the box or the size of the picture is not given."""
    if box is None or "width" not in image or "height" not in image:
        return None
    x, y, width, height = box
    return x / image["width"], y / image["height"], (x + width) / image["width"], (y + height) / image["height"]


def boxes(objects: list[LabeledObject], category: str) -> tuple[Box, ...]:
    """Returns the boxes of the objects of a category."""
    return tuple(item.box for item in objects if item.category == category and item.box)
