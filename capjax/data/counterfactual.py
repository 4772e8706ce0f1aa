"""Counterfactual captions: the attribute of another group in place of the one that a caption names.

They are for items whose pictures do not decide on the attribute: of two captions or more, at least one names one group,
and not all name the same. With both, the model learns that the picture does not tell, in place of what usually goes
with the context (Hendricks et al. 2018, "Women also snowboard", train such confusion by a loss on masked pictures).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from capjax.metrics.languages import is_english
from capjax.text.word_groups import WordGroups

# Pronouns that would no longer agree with a word that is exchanged, unless they are exchanged too.
_PRONOUNS = ("he", "him", "his", "himself", "she", "her", "hers", "herself")


@dataclass(frozen=True)
class Counterfactuals:
    """Exchanges the words of one group for those of another, in English captions.

    A caption stays as it is where grammar would not stay right: if it names several groups, if a word has several
    counterparts (*her*: *his* or *him*) or none, or if a pronoun is not in the groups. *a* and *an* and capital letters
    follow the new word.

    Attributes:
      attribute: groups of words; counterparts are at the same position.
      neutral: counterparts of all groups, such as *person*; empty: counterparts are those of another group at random.
        An empty word is no counterpart.
      share: of the captions of such items that are exchanged when they are drawn.
    """

    attribute: WordGroups
    neutral: tuple[str, ...]
    share: float
    _counterparts: dict[tuple[int, int], Mapping[str, set[str]]] = field(init=False, repr=False, compare=False)
    _pattern: re.Pattern = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        groups = self.attribute.groups
        counterparts = {
            (number, other): _counterparts(groups[number], groups[other] if other >= 0 else self.neutral)
            for number in range(len(groups))
            for other in ([-1] if self.neutral else range(len(groups)))
            if other != number
        }
        words = sorted({*(word for group in groups for word in group), *_PRONOUNS}, key=len, reverse=True)
        pattern = rf"(?:\b(an?)(\s+))?\b({'|'.join(map(re.escape, words))})\b"
        object.__setattr__(self, "_counterparts", counterparts)
        object.__setattr__(self, "_pattern", re.compile(pattern, re.IGNORECASE))

    @classmethod
    def of(cls, mitigation) -> "Counterfactuals | None":
        """Returns those of a config's `mitigation` section; None if there are none."""
        if not mitigation.counterfactual:
            return None
        return cls(WordGroups.of(mitigation.attribute), tuple(mitigation.neutral), mitigation.counterfactual)

    def apply_to(self, texts: Sequence[tuple[str, str]]) -> bool:
        """Whether the picture with these captions, each with its language, does not decide on the attribute."""
        named = [self.attribute.in_text(text, lang) for text, lang in texts]
        if len(named) < 2 or max(map(len, named)) > 1:  # of several people, each may have an attribute
            return False
        return len(set(named)) > 1

    def draw(self, text: str, lang: str, rng: np.random.Generator) -> str:
        """Returns the caption, or in a share of cases its counterfactual."""
        if rng.random() >= self.share:
            return text
        group = self.attribute.only([(text, lang)])
        if group is None or not is_english(lang):
            return text
        replacements = [other for number, other in self._counterparts if number == group]
        return self.exchange(text, group, replacements[rng.integers(len(replacements))])

    def exchange(self, text: str, group: int, other: int) -> str:
        """Returns the caption with the words of another group, -1 for the neutral words; unchanged if it cannot be."""
        counterparts = self._counterparts[group, other]
        words = {match[3].lower() for match in self._pattern.finditer(text)}
        if any(len(counterparts.get(word, ())) != 1 for word in words):
            return text

        def replace(match: re.Match) -> str:
            article, space, word = match.groups()
            (new,) = counterparts[word.lower()]
            if article is None:
                return _like(word, new)
            new_article = "an" if new[0] in "aeiou" else "a"
            return _like(article, new_article) + space + _like(word, new)

        return self._pattern.sub(replace, text)


def _counterparts(words: Sequence[str], replacements: Sequence[str]) -> dict[str, set[str]]:
    """Returns the counterparts of each word, which are at the same position; none is an empty word."""
    counterparts: dict[str, set[str]] = {}
    for word, new in zip(words, replacements, strict=True):
        if new:
            counterparts.setdefault(word.lower(), set()).add(new.lower())
    return counterparts


def _like(word: str, new: str) -> str:
    """Returns a new word with the capital letters of the word in its place."""
    if word.isupper() and len(word) > 1:
        return new.upper()
    return new[0].upper() + new[1:] if word[0].isupper() else new
