"""Objects of an item: from COCO's instances, or {id: [categories]}."""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from capjax.analyze.findings import Box
from capjax.metrics.chair import read_labels
from capjax.metrics.json_values import describe, expect_list
from capjax.metrics.strict_json import parse


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


def read_objects(path: Path) -> Labels:
    """Reads {id: objects} from COCO's instances_*.json or from {id: [categories]}.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is neither of them, an annotation names an unknown image or category, or a box is no box.
    """
    categories = read_labels(path)  # checks ids and names
    data = parse(path)
    assert isinstance(data, dict)
    if "annotations" not in data:
        return {id: [LabeledObject(name) for name in data[str(id)]] for id in categories}
    names = {str(row["id"]): row["name"] for row in data["categories"]}
    sizes = {str(row["id"]): (row.get("width"), row.get("height")) for row in data["images"]}
    objects: dict[str, list[LabeledObject]] = {str(id): [] for id in categories}
    for number, row in enumerate(data["annotations"]):
        id = str(row["image_id"])
        box = _box(row.get("bbox"), sizes[id], f"{path}: annotations[{number}]: bbox")
        crowd = bool(row.get("iscrowd", False))
        score = row.get("score", 1.0)
        if isinstance(score, bool) or not isinstance(score, (int, float)):
            raise ValueError(f"{path}: annotations[{number}]: score: expected a number, found {describe(score)}")
        objects[id].append(LabeledObject(names[str(row["category_id"])], box, float(score), crowd))
    return {id: objects[str(id)] for id in categories}


def _box(box: object, size: tuple[object, object], place: str) -> Box | None:
    """Converts [x, y, width, height] in pixels; None where the box or the size of the picture is not given."""
    if box is None:
        return None
    numbers = expect_list(box, place)
    if len(numbers) != 4 or not all(_is_number(value) for value in numbers) or min(numbers[2:]) < 0:
        raise ValueError(f"{place}: expected four numbers, [x, y, width, height], found {numbers!r:.80}")
    width, height = size
    if not (_is_number(width) and _is_number(height)) or width <= 0 or height <= 0:  # type: ignore[operator]
        return None
    x, y, w, h = numbers
    return x / width, y / height, (x + w) / width, (y + h) / height


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def count(objects: list[LabeledObject]) -> Counter[str]:
    """Returns the number of objects of each category."""
    return Counter(item.category for item in objects)


def boxes(objects: list[LabeledObject], category: str) -> tuple[Box, ...]:
    """Returns the boxes of the objects of a category."""
    return tuple(item.box for item in objects if item.category == category and item.box)
