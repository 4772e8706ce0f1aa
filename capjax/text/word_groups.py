"""Groups of words that captions are searched for, such as words for men and words for women."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from capjax.metrics.tokenize import tokenizer_for


@dataclass(frozen=True)
class WordGroups:
    """Groups of words and phrases. They match whole words in any case, as `capjax.metrics` divides captions into words.

    Attributes:
      groups: the words of each group, such as (("man", "boy"), ("woman", "girl")).
    """

    groups: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, groups: Iterable[Iterable[str]]) -> "WordGroups":
        """Returns the groups of a config's setting."""
        return cls(tuple(map(tuple, groups)))

    def __len__(self) -> int:
        return len(self.groups)

    def in_text(self, text: str, lang: str) -> frozenset[int]:
        """Returns the numbers of the groups of which a text has a word."""
        words = f" {' '.join(tokenizer_for(lang)(text))} "
        return frozenset(number for number, pattern in enumerate(_patterns(self.groups, lang)) if pattern.search(words))

    def in_texts(self, texts: Iterable[tuple[str, str]]) -> frozenset[int]:
        """Returns the numbers of the groups of which any of several texts, each with its language, has a word."""
        return frozenset().union(*(self.in_text(text, lang) for text, lang in texts))

    def only(self, texts: Iterable[tuple[str, str]]) -> int | None:
        """Returns the number of the group, if the texts have words of one group alone; else None."""
        numbers = self.in_texts(texts)
        return next(iter(numbers)) if len(numbers) == 1 else None

    def label(self, number: int) -> str:
        """Returns the first word of a group, by which tables name it."""
        return self.groups[number][0]


@lru_cache(maxsize=64)
def _patterns(groups: tuple[tuple[str, ...], ...], lang: str) -> list[re.Pattern]:
    """Returns for each group the pattern of its words in a text of words with single spaces around them."""
    tokenize = tokenizer_for(lang)
    return [
        re.compile(" (?:" + "|".join(re.escape(" ".join(tokenize(word))) for word in group) + ") ") for group in groups
    ]
