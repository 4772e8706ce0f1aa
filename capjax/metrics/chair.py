"""CHAIR: how often captions name objects that the image does not show.

Rohrbach et al., "Object hallucination in image captioning" (2018). An image shows its labeled objects and those that
its reference captions name. CHAIRi is the share of mentioned objects that are hallucinated, CHAIRs the share of
captions with at least one hallucinated object.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from capjax.metrics.caption_types import CaptionText, Id
from capjax.metrics.json_types import check_type, checked_rows, type_mismatch
from capjax.metrics.messages import option, shorten, show_value
from capjax.metrics.objects import COCO_OBJECTS, IRREGULAR, NO_OBJECTS
from capjax.metrics.strict_json import parse
from capjax.metrics.tokenize import Tokenizer, tokenizer_for


class _Image(TypedDict):
    id: Id


class _Category(_Image):
    name: CaptionText


class _Object(TypedDict):
    image_id: Id
    category_id: Id


@dataclass(frozen=True)
class Chair:
    """The hallucinated objects of a set of captions.

    Attributes:
      instance: CHAIRi, 0 if no object is mentioned.
      sentence: CHAIRs.
      mentioned, hallucinated: {id: categories}, in the order of the caption and as often as it names them.
    """

    instance: float
    sentence: float
    mentioned: dict[object, list[str]]
    hallucinated: dict[object, list[str]]


class Lexicon:
    """Finds the objects that a caption names: the longest phrases, from left to right.

    Attributes:
      categories: the categories of objects.
    """

    def __init__(self, names: Mapping[str, Iterable[str]] | None = None, *, tokenize: Tokenizer | None = None):
        """Makes a lexicon.

        Args:
          names: {category: its names in captions, in the singular}; by default COCO's 80 objects.
          tokenize: text -> words; by default English's tokenizer.

        Raises:
          ValueError: two categories share a name, or a name has no word.
        """
        self._tokenize = tokenize or tokenizer_for("en")
        self._phrases: dict[tuple[str, ...], str | None] = {}
        if names is None:
            names = {category: _split(text) for category, text in COCO_OBJECTS.items()}
            for phrase in _split(NO_OBJECTS):
                self._add(phrase, None)
        self.categories = frozenset(names)
        for category, synonyms in names.items():
            for name in dict.fromkeys([category, *synonyms]):
                self._add(name, category)
        self._longest = max(map(len, self._phrases), default=0)

    def _add(self, name: str, category: str | None):
        for form in {name, plural(name)}:
            words = tuple(self._tokenize(form))
            if not words:
                raise ValueError(f"{category!r}: the name {name!r} has no word")
            if self._phrases.setdefault(words, category) != category:
                raise ValueError(f"{form!r} names both {self._phrases[words]!r} and {category!r}; it can name only one")

    def objects(self, caption: str) -> list[str]:
        """Returns the categories that a caption names, in its order and as often as it does."""
        return [category for _, _, category in self.mentions(self._tokenize(caption))]

    def mentions(self, words: Iterable[str]) -> Iterator[tuple[int, int, str]]:
        """Yields (first word, end, category) of each name of an object among words in lower case."""
        words, start = tuple(words), 0
        while start < len(words):
            for length in range(min(self._longest, len(words) - start), 0, -1):
                phrase = words[start : start + length]
                if phrase in self._phrases:
                    if (category := self._phrases[phrase]) is not None:
                        yield start, start + length, category
                    start += length
                    break
            else:
                start += 1


def chair(
    predictions: Mapping[Any, str],
    labels: Mapping[Any, Iterable[str]],
    references: Mapping[Any, Sequence[str]] | None = None,
    *,
    lexicon: Lexicon | None = None,
) -> Chair:
    """Computes CHAIR of captions in English.

    Args:
      predictions: {id: caption}.
      labels: {id: categories of the objects in the image}; further ids are ignored.
      references: {id: captions by people}; the objects that they name are in the image.
      lexicon: the names of objects; by default COCO's.

    Raises:
      ValueError: there are no predictions, an image has no entry in `labels`, or a label is not a category.
    """
    lexicon = lexicon or Lexicon()
    if not predictions:
        raise ValueError("there are no predictions to look for objects in")
    mentioned, hallucinated = {}, {}
    for id, caption in predictions.items():
        if id not in labels:
            raise ValueError(f"{id!r} has a prediction but no labels; give an image without objects an empty list")
        shown = set(labels[id])
        if unknown := shown - lexicon.categories:
            names = shorten(sorted(unknown))
            raise ValueError(f"labels of {id!r}: [{names}] are not categories; name them with {option('synonyms')}")
        for reference in (references or {}).get(id, ()):
            shown.update(lexicon.objects(reference))
        mentioned[id] = lexicon.objects(caption)
        hallucinated[id] = [category for category in mentioned[id] if category not in shown]
    mentions = sum(map(len, mentioned.values()))
    wrong = sum(map(len, hallucinated.values()))
    sentence = float(np.mean([bool(categories) for categories in hallucinated.values()]))
    return Chair(wrong / mentions if mentions else 0.0, sentence, mentioned, hallucinated)


def plural(name: str) -> str:
    """Returns the plural of a noun, or of a phrase by its last word."""
    if name in IRREGULAR:
        return IRREGULAR[name]
    *before, word = name.split(" ")
    if before:
        return " ".join([*before, plural(word)])
    if word.endswith(("s", "x", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in tuple("aeiou"):
        return word[:-1] + "ies"
    return word + "s"


def read_labels(path: Path) -> dict[int | str, set[str]]:
    """Reads {image id: categories} from COCO's instances_*.json or from {id: [categories]}.

    Raises:
      ValueError: the file is neither of them, or an annotation names an unknown image or category.
    """
    path = Path(path)
    data: Any = parse(path)
    expected = "expected COCO's instances (images, annotations, categories) or {id: [categories]}"
    if not isinstance(data, dict) or not data:
        raise ValueError(f"{path}: {expected}")
    if "annotations" not in data:
        if mismatch := type_mismatch(data, dict[str, list[str]]):
            raise ValueError(f"{path}: {expected}; {mismatch}")
        return {_number(id): set(categories) for id, categories in data.items()}
    if absent := sorted({"images", "categories"} - data.keys()):
        raise ValueError(f"{path}: {expected}; it has no {' and no '.join(absent)}")
    categories = checked_rows(data["categories"], _Category, f"{path}: categories")
    names = {str(row["id"]): row["name"] for _, row in categories}
    ids = [row["id"] for _, row in checked_rows(data["images"], _Image, f"{path}: images")]
    labels: dict[str, set[str]] = {str(id): set() for id in ids}
    for place, row in checked_rows(data["annotations"], _Object, f"{path}: annotations"):
        image, category = row["image_id"], row["category_id"]
        for id, listed, kind in ((image, labels, "an image"), (category, names, "a category")):
            if str(id) not in listed:
                raise ValueError(f"{place}: {show_value(id)} is not the id of {kind} of the file")
        labels[str(image)].add(names[str(category)])
    return {id: labels[str(id)] for id in ids}


def read_names(path: Path) -> dict[str, list[str]]:
    """Reads {category: [names]} from a JSON file.

    Raises:
      ValueError: the file has another form.
    """
    data: Any = parse(Path(path))
    if mismatch := type_mismatch(data, dict[str, list[CaptionText]]):
        raise ValueError(f"{path}: expected {{category: [names]}}; {mismatch}")
    check_type(list(data), list[CaptionText], f"{path}: categories")
    return data


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _number(id: str) -> int | str:
    """Converts a JSON key to the whole number that files of captions have for the same id, if it is one."""
    return int(id) if id.isdecimal() and str(int(id)) == id else id
