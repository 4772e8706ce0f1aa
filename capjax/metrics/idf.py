"""Document frequencies of n-grams, by which CIDEr weighs them: in how many items' references each one occurs.

By default they are counted over the references scored against, as published. Counted over a training set and saved,
they make the CIDEr of a few images, or of one, meaningful and comparable between runs.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

from capjax.metrics import strict_json
from capjax.metrics.caption_types import CaptionText
from capjax.metrics.json_types import between, check_type
from capjax.metrics.messages import show_value
from capjax.metrics.ngrams import MAX_ORDER, ngrams
from capjax.metrics.tokenize import Tokenizer
from capjax.metrics.writing import replacing

_FORMAT = "capjax-idf-1"


class _IdfJson(TypedDict):
    documents: Annotated[int, between(1, 2**53 - 1)]
    frequency: dict[str, int]
    tokenizer: CaptionText
    source: CaptionText


@dataclass(frozen=True)
class Idf:
    """Document frequencies of the n-grams of a set of captions.

    Attributes:
      documents: number of items.
      frequency: {n-gram: number of items whose references have it}, where above 1. An n-gram is its words, separated
        by spaces.
      tokenizer: name of the tokenizer. Captions scored with these frequencies must use the same one.
      source: where the captions came from, for signatures.
    """

    documents: int
    frequency: Mapping[str, int]
    tokenizer: str
    source: str

    @classmethod
    def of(cls, references: Iterable[Sequence[str]], *, tokenize: Tokenizer, tokenizer: str, source: str) -> "Idf":
        """Counts the n-grams of each item's captions.

        Raises:
          ValueError: there are no items.
        """
        frequency: Counter[str] = Counter()
        documents = 0
        for captions in references:
            documents += 1
            grams: set[str] = set()
            for caption in captions:
                words = tokenize(caption)
                for n in range(1, MAX_ORDER + 1):
                    grams.update(map(" ".join, ngrams(words, n)))
            frequency.update(grams)
        if not documents:
            raise ValueError(f"{source}: there are no captions to count n-grams in")
        # CIDEr takes 1 for an unlisted n-gram, so that those of a single item need not be kept.
        return cls(documents, {gram: count for gram, count in frequency.items() if count > 1}, tokenizer, source)

    def save(self, path: Path):
        """Writes a JSON file, atomically."""
        data = {"form": _FORMAT, "documents": self.documents, "tokenizer": self.tokenizer, "source": self.source}
        with replacing(path) as file:
            file.write(json.dumps({**data, "frequency": dict(self.frequency)}, ensure_ascii=False))

    @staticmethod
    def is_saved(data: object) -> bool:
        """Whether parsed JSON was written by `save`, as opposed to captions."""
        return isinstance(data, dict) and str(data.get("form", "")).startswith("capjax-idf")

    @classmethod
    def load(cls, path: Path) -> "Idf":
        """Reads a file that `save` wrote.

        Raises:
          FileNotFoundError: the file does not exist.
          ValueError: the file is something else, or damaged; the message says in what.
        """
        data: Any = strict_json.parse(Path(path))
        if not isinstance(data, dict) or data.get("form") != _FORMAT:
            raise ValueError(f'{path}: expected a file of --save-idf, with "form": "{_FORMAT}"')
        check_type(data, _IdfJson, str(path))
        documents, frequency = data["documents"], data["frequency"]
        for gram, count in frequency.items():
            if not 0 < count <= documents:
                raise ValueError(
                    f"{path}: frequency of {show_value(gram)}: expected 1 to {documents} items, found "
                    f"{show_value(count)}"
                )
        return cls(documents, frequency, data["tokenizer"], data["source"])
