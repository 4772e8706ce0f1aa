"""CHAIR: how often captions name objects that the image does not show.

Rohrbach et al., "Object hallucination in image captioning" (2018). What an image shows are its labelled objects and
those that its reference captions name. CHAIRi is the share of the mentions of objects that are hallucinated, CHAIRs
that of captions with at least one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from capjax.metrics.objects import COCO_OBJECTS, IRREGULAR, NO_OBJECTS
from capjax.metrics.strict_json import parse
from capjax.metrics.tokenize import Tokenizer, tokenizer_for


@dataclass(frozen=True)
class Chair:
    """Attributes:
    instance: CHAIRi; sentence: CHAIRs. Both 0 where nothing is mentioned.
    mentioned, hallucinated: {id: categories, in the order of the caption, as often as they are named}.
    """

    instance: float
    sentence: float
    mentioned: dict[object, list[str]]
    hallucinated: dict[object, list[str]]


class Lexicon:
    """Finds the objects that a caption names: the longest phrases, from left to right."""

    def __init__(self, names: Mapping[str, Iterable[str]] | None = None, *, tokenize: Tokenizer | None = None):
        """names: {category: what captions call it, in the singular}; without it COCO's 80 objects.

        Raises:
          ValueError: two categories have a name in common, or a name has no word.
        """
        self._tokenize = tokenize or tokenizer_for("en")
        self._phrases: dict[tuple[str, ...], str | None] = {}
        if names is None:
            names = {category: _split(found) for category, found in COCO_OBJECTS.items()}
            for phrase in _split(NO_OBJECTS):
                self._add(phrase, None)
        self.categories = frozenset(names)
        for category, others in names.items():
            for name in dict.fromkeys([category, *others]):
                self._add(name, category)
        self._longest = max(map(len, self._phrases), default=0)

    def _add(self, name: str, category: str | None):
        for form in {name, plural(name)}:
            words = tuple(self._tokenize(form))
            if not words:
                raise ValueError(f"{category!r}: a name of it has no word: {name!r}")
            if self._phrases.setdefault(words, category) != category:
                raise ValueError(f"{form!r} names both {self._phrases[words]!r} and {category!r}; it can name but one")

    def objects(self, caption: str) -> list[str]:
        """The categories that a caption names, in its order, as often as it does."""
        words, found, at = tuple(self._tokenize(caption)), [], 0
        while at < len(words):
            for length in range(min(self._longest, len(words) - at), 0, -1):
                phrase = words[at : at + length]
                if phrase in self._phrases:
                    if self._phrases[phrase] is not None:
                        found.append(self._phrases[phrase])
                    at += length
                    break
            else:
                at += 1
        return found


def chair(
    predictions: Mapping[object, str],
    labels: Mapping[object, Iterable[str]],
    references: Mapping[object, Sequence[str]] | None = None,
    *,
    lexicon: Lexicon | None = None,
) -> Chair:
    """CHAIR of captions in English.

    Args:
      predictions: a caption for each id.
      labels: the categories of the objects in each image; ids that are not scored are left alone.
      references: what people said of each image: what they name is there.

    Raises:
      ValueError: there are no predictions; an image has no labels (an empty set is one); a label is no category.
    """
    lexicon = lexicon or Lexicon()
    if not predictions:
        raise ValueError("there are no predictions to look for objects in")
    mentioned, hallucinated = {}, {}
    for id, caption in predictions.items():
        if id not in labels:
            raise ValueError(
                f"{id!r} has a prediction and no labels; an image without objects has an empty list of them"
            )
        shown = set(labels[id])
        if unknown := shown - lexicon.categories:
            raise ValueError(f"labels of {id!r}: {sorted(unknown)} have no names; give them some (--synonyms)")
        for reference in (references or {}).get(id, ()):
            shown.update(lexicon.objects(reference))
        mentioned[id] = lexicon.objects(caption)
        hallucinated[id] = [category for category in mentioned[id] if category not in shown]
    mentions = sum(map(len, mentioned.values()))
    wrong = sum(map(len, hallucinated.values()))
    sentence = float(np.mean([bool(found) for found in hallucinated.values()]))
    return Chair(wrong / mentions if mentions else 0.0, sentence, mentioned, hallucinated)


def plural(name: str) -> str:
    """The plural of a noun, or of the last word of a phrase."""
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


def read_labels(path: Path) -> dict[object, set[str]]:
    """{image id: categories} of COCO's instances_*.json, or of {id: [categories]}.

    Raises:
      ValueError: the file is neither, or an annotation names an unknown image or category.
    """
    path = Path(path)
    data = parse(path)
    expected = "expected COCO's instances (images, annotations, categories) or {id: [categories]}"
    if not isinstance(data, dict):
        raise ValueError(f"{path}: {expected}")
    if "annotations" not in data:
        for id, found in data.items():
            if not isinstance(found, list) or not all(isinstance(category, str) for category in found):
                raise ValueError(f"{path}: {id!r}: {expected}, found {found!r}")
        return {_number(id): set(found) for id, found in data.items()}
    try:
        names = {row["id"]: row["name"] for row in data["categories"]}
        labels: dict[object, set[str]] = {row["id"]: set() for row in data["images"]}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: {expected}: {error} is missing") from None
    for number, row in enumerate(data["annotations"]):
        try:
            labels[row["image_id"]].add(names[row["category_id"]])
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path}: annotations[{number}]: {error} is no id of an image or category of the file, or a key of "
                "the annotation that is missing"
            ) from None
    return labels


def read_names(path: Path) -> dict[str, list[str]]:
    """{category: names} of a JSON file.

    Raises:
      ValueError: it is something else.
    """
    data = parse(Path(path))
    if not isinstance(data, dict) or not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in data.values()
    ):
        raise ValueError(f"{path}: expected the names of each category: {{category: [names]}}")
    return data


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _number(id: str) -> int | str:
    """Ids that are whole numbers are so in captions' files, where JSON's keys cannot be."""
    return int(id) if id.isdecimal() and str(int(id)) == id else id
