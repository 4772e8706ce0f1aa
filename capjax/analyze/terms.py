"""What each item of a set of captions names: objects, actions, attributes, and words for people."""

import re
from collections.abc import Iterable, Mapping, Sequence

from capjax.analyze.content_errors import concepts
from capjax.analyze.english.actions import ACTIONS
from capjax.analyze.english.nouns import PEOPLE
from capjax.analyze.facts import ParsedCaption
from capjax.analyze.labels import LabeledObject
from capjax.analyze.lexicon import split
from capjax.metrics.chair import plural

Id = int | str
# (family, name): ("object", "dog"), ("action", "run"), ("color", "red"), ("people", "woman"), ("language", "de")
Term = tuple[str, str]

_ACTION_ORDER = {name: number for number, name in enumerate(ACTIONS)}
PEOPLE_WORDS = {form: kind for kind, words in PEOPLE.items() for word in split(words) for form in (word, plural(word))}
# Words of the two genders, for measures of a model's bias.
GENDERS = {"man": "male", "boy": "male", "woman": "female", "girl": "female"}
_PRONOUNS = {"he": "male", "his": "male", "him": "male", "she": "female", "her": "female"}


def terms_of(captions: Sequence[ParsedCaption], labels: Sequence[LabeledObject] | None = None) -> set[Term]:
    """Returns what the captions of an item name, together with the categories of its labels.

    People are `people` terms by the words for them, such as woman, and no objects.
    """
    terms: set[Term] = {("object", item.category) for item in labels or () if item.category != "person"}
    for caption in captions:
        terms |= {("object", concept) for concept in concepts(caption) if concept != "person"}
        terms |= {("people", PEOPLE_WORDS[word]) for word in caption.words if word in PEOPLE_WORDS}
        for action in caption.actions:
            terms.add(("action", min(action.actions, key=_ACTION_ORDER.__getitem__)))
        for mention in caption.mentions:
            terms |= set(mention.attributes)
    return terms


def gender(words: Iterable[str]) -> str:
    """Returns `male` or `female` if the words of one or several captions name one gender alone; else empty."""
    genders = {_gender(word) for word in words} - {""}
    return genders.pop() if len(genders) == 1 else ""


def _gender(word: str) -> str:
    return _PRONOUNS.get(word) or GENDERS.get(PEOPLE_WORDS.get(word, ""), "")


def without_gender(text: str) -> str:
    """Returns a caption with every word that names a gender masked."""
    return re.sub(r"[a-z]+", lambda match: "_gender_" if _gender(match[0]) else match[0], text.lower())


def count_items(terms: Mapping[Id, set[Term]]) -> dict[Term, int]:
    """Returns the number of items that have each term."""
    counts: dict[Term, int] = {}
    for own in terms.values():
        for term in own:
            counts[term] = counts.get(term, 0) + 1
    return counts
