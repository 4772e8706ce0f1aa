"""In how many items' references each n-gram stands: the corpus statistics that CIDEr weighs n-grams by.

By default they are counted over the references scored against, as published. Counted over a training set and kept in a
file they make the CIDEr of a few images, or of one, mean something, and comparable from run to run.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from capjax.metrics.tokenize import Tokenizer
from capjax.metrics.writing import replacing

LONGEST = 4
_FORM = "capjax-idf-1"


@dataclass(frozen=True)
class Idf:
    """Attributes:
    documents: how many items were counted.
    frequency: n-gram, its words with spaces between -> in how many items' references it stands, where above 1.
    tokenizer: the name of the tokenizer that made the words; those scored must be made by the same.
    source: where the captions came from, for signatures.
    """

    documents: int
    frequency: Mapping[str, int]
    tokenizer: str
    source: str

    @classmethod
    def of(cls, references: Iterable[Sequence[str]], *, tokenize: Tokenizer, tokenizer: str, source: str) -> "Idf":
        """Counts the captions of each item.

        Raises:
          ValueError: there are none.
        """
        frequency: Counter[str] = Counter()
        documents = 0
        for captions in references:
            documents += 1
            found = set()
            for caption in captions:
                words = tokenize(caption)
                for n in range(1, LONGEST + 1):
                    found.update(map(" ".join, zip(*(words[start:] for start in range(n)), strict=False)))
            frequency.update(found)
        if not documents:
            raise ValueError(f"{source}: there are no captions to count n-grams in")
        # CIDEr takes at least 1 for every n-gram, so those of one item need not be kept.
        return cls(documents, {gram: count for gram, count in frequency.items() if count > 1}, tokenizer, source)

    def save(self, path: Path):
        """Writes a JSON file, whole or not at all."""
        data = {"form": _FORM, "documents": self.documents, "tokenizer": self.tokenizer, "source": self.source}
        with replacing(path) as file:
            file.write(json.dumps({**data, "frequency": dict(self.frequency)}, ensure_ascii=False))

    @staticmethod
    def is_saved(data: object) -> bool:
        """Whether parsed JSON is what `save` wrote, rather than captions."""
        return isinstance(data, dict) and str(data.get("form", "")).startswith("capjax-idf")

    @classmethod
    def load(cls, path: Path) -> "Idf":
        """Reads what `save` wrote.

        Raises:
          FileNotFoundError: there is no such file; ValueError: it is something else, or damaged; the message says what.
        """
        try:
            data = json.loads(Path(path).read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: no JSON ({error}); expected a file of --save-idf") from error
        if not isinstance(data, dict) or data.get("form") != _FORM:
            raise ValueError(f'{path}: expected a file of --save-idf, with "form": "{_FORM}"')
        documents, frequency = data.get("documents"), data.get("frequency")
        if type(documents) is not int or documents < 1:
            raise ValueError(f"{path}: documents: expected a positive number of items, found {documents!r}")
        if not isinstance(frequency, dict):
            raise ValueError(f"{path}: frequency: expected an object of n-grams, found {type(frequency).__name__}")
        for gram, count in frequency.items():
            if type(count) is not int or not 0 < count <= documents:
                raise ValueError(f"{path}: frequency of {gram!r}: expected 1 to {documents} items, found {count!r}")
        for key in ("tokenizer", "source"):
            if not isinstance(data.get(key), str):
                raise ValueError(f"{path}: {key}: expected a name, found {data.get(key)!r}")
        return cls(documents, frequency, data["tokenizer"], data["source"])
