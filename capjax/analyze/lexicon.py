"""Looks up the words of English captions: nouns, adjectives, numbers, verbs, relations, directions, function words."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from capjax.analyze.english import actions, attributes, nouns, relations
from capjax.metrics.chair import plural
from capjax.metrics.objects import COCO_OBJECTS, NO_OBJECTS

_TOKEN = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*|[.,;:!?]")
PUNCTUATION = frozenset(".,;:!?")
_VOWELS = "aeiou"
# COCO's names of these are adjectives, or verbs more often than people.
_NOT_PEOPLE = {"fan", "cook", "couple", "crowd", "family"}


def split(names: str) -> list[str]:
    """Returns the names of a list in one line."""
    return [name.strip() for name in names.split(",") if name.strip()]


def tokens(text: str) -> list[str]:
    """Returns the words, in lower case, and the punctuation of a text. A possessive 's is a word of its own."""
    words = []
    for word in _TOKEN.findall(text.lower().replace("’", "'")):
        stem, ending = (word[:-2], "'s") if word.endswith("'s") and len(word) > 2 else (word, "")
        words += [stem, ending] if ending else [stem]
    return words


@dataclass
class Reading:
    """The meanings of a word or phrase in the lexicon. A phrase may have several at once.

    Attributes:
      concept, plural: of a noun: its concept, and whether it is a plural.
      general: of a noun such as `animal`, the group that it may refer to; `*`: any.
      attribute: of an adjective, its type and value.
      modifier: an adjective of another kind.
      verb: of a verb, its actions; empty for verbs that say nothing about an action.
      form: of a verb: `base`, `s`, `ing`, `past`.
      relation, converse: kind of a spatial relation, and whether subject and object are exchanged.
      direction: a place or direction.
      function: kind of a function word: `determiner`, `pronoun`, `copula`, `conjunction`, `preposition`, `adverb`.
    """

    concept: str = ""
    plural: bool = False
    general: str = ""
    attribute: tuple[str, str] | None = None
    modifier: bool = False
    verb: frozenset[str] | None = None
    form: str = ""
    relation: tuple[str, bool] | None = None
    converse: tuple[str, bool] | None = None
    direction: str = ""
    function: str = ""


@dataclass
class Lexicon:
    """English words and phrases.

    Attributes:
      readings: {words of a phrase: its reading}.
      groups: {concept: group}.
      categories: concepts that are categories of the labels.
    """

    categories: frozenset[str] = frozenset()
    readings: dict[tuple[str, ...], Reading] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    longest: int = 1

    @classmethod
    def of(cls, categories: Iterable[str] = (), synonyms: Mapping[str, Iterable[str]] | None = None) -> "Lexicon":
        """Makes a lexicon.

        Args:
          categories: of the labels; those that the word lists do not have are added.
          synonyms: {category: further names}.
        """
        lexicon = cls(categories=frozenset(categories))
        for concept in sorted(lexicon.categories):
            for name in (concept, *(synonyms or {}).get(concept, ())):
                lexicon._add_noun(concept, name.lower())
        for concept, names in COCO_OBJECTS.items():
            for name in (concept, *split(names)):
                if name not in _NOT_PEOPLE:
                    lexicon._add_noun(concept, name)
        for name in split(nouns.PERSON):
            lexicon._add_noun("person", name)
        for name in ("firefighter", "crowd", "family", "team", "audience", "couple"):
            lexicon._add_noun("person", name, is_plural=name != "firefighter")
        for concept, names in nouns.CONCEPTS.items():
            for name in (concept, *split(names)):
                lexicon._add_noun(concept, name)
        for phrase in (*split(NO_OBJECTS), *split(nouns.COMPOUNDS)):
            if not phrase.startswith("orange "):
                lexicon._add_noun(phrase, phrase)
        for word, group in nouns.GENERAL.items():
            for form in {word, plural(word)}:
                lexicon._add_general(form, group, word)
        for word in split(nouns.NO_THINGS):
            for form in {word, plural(word)}:
                lexicon._add_general(form, "-", word)
        for group, concepts in nouns.GROUPS.items():
            for concept in split(concepts):
                lexicon.groups.setdefault(concept, group)
        lexicon._add_adjectives()
        lexicon._add_verbs()
        lexicon._add_function_words()
        lexicon.longest = max(map(len, lexicon.readings))
        return lexicon

    def group(self, concept: str) -> str:
        """Returns the group of a concept; empty if it has none."""
        return self.groups.get(concept, "")

    def match(self, words: list[str], start: int) -> tuple[int, Reading | None]:
        """Returns the number of words of the longest phrase at `start`, and its reading; (1, None) for a new word."""
        for length in range(min(self.longest, len(words) - start), 0, -1):
            if reading := self.readings.get(tuple(words[start : start + length])):
                return length, reading
        return 1, None

    def _add(self, phrase: str, **values):
        """Adds a reading of a phrase; earlier values take precedence."""
        reading = self.readings.setdefault(tuple(tokens(phrase)), Reading())
        for name, value in values.items():
            if not getattr(reading, name):
                setattr(reading, name, value)

    def _add_noun(self, concept: str, name: str, *, is_plural: bool = False):
        forms = {name: is_plural, plural(name): True}
        for form, form_is_plural in forms.items():
            words = tuple(tokens(form))
            if words and not self.readings.get(words, Reading()).concept:
                self._add(form, concept=concept, plural=form_is_plural)

    def _add_general(self, form: str, group: str, word: str):
        if not self.readings.get(tuple(tokens(form)), Reading()).concept or word in nouns.GENERAL:
            self._add(form, general=group, concept=word, plural=form != word)

    def _add_adjectives(self):
        for kind, values in attributes.ATTRIBUTES.items():
            for value, words in values.items():
                for word in split(words):
                    self._add(word, attribute=(kind, value))
        for word in split(attributes.OTHER_ADJECTIVES):
            self._add(word, modifier=True)

    def _add_verbs(self):
        for action, verbs in actions.ACTIONS.items():
            for phrase in split(verbs):
                verb, _, particle = phrase.partition(" ")
                for form, kind in _verb_forms(verb):
                    words = tuple(f"{form} {particle}".split())
                    reading = self.readings.setdefault(words, Reading())
                    reading.verb = (reading.verb or frozenset()) | {action}
                    reading.form = reading.form or kind
        for noun, verb in actions.BEFORE_VERBS.items():
            for form, _ in _verb_forms(verb):
                self.readings[(noun, form)] = self.readings[(form,)]
        for verb in split(actions.OTHER_VERBS):
            for form, kind in _verb_forms(verb):
                self._add(form, form=kind)
                reading = self.readings[(form,)]
                reading.verb = reading.verb or frozenset()

    def _add_function_words(self):
        for phrase, relation in relations.RELATIONS.items():
            self._add(phrase, relation=relation)
        for phrase, relation in relations.CONVERSES.items():
            self._add(phrase, converse=relation)
            for pronoun in ("him", "them"):  # `in her` begins `in her hand`
                if phrase.endswith(" it"):
                    self._add(f"{phrase[:-3]} {pronoun}", converse=relation)
            for pronoun in ("his", "her", "their"):
                if " its " in phrase:
                    self._add(phrase.replace(" its ", f" {pronoun} "), converse=relation)
        for phrase, direction in relations.DIRECTIONS.items():
            self._add(phrase, direction=direction)
        for phrase in (relations.LEFT_TO_RIGHT, relations.RIGHT_TO_LEFT):
            self._add(phrase, function="order")
        for kind in ("determiner", "pronoun", "copula", "conjunction", "preposition", "adverb"):
            for word in split(getattr(relations, f"{kind.upper()}S")):
                self._add(word, function=kind)


def _verb_forms(verb: str) -> Iterator[tuple[str, str]]:
    """Yields the inflected forms of a verb, each with its kind."""
    yield verb, "base"
    if verb in ("can", "will", "may"):
        return
    if verb.endswith(("s", "x", "ch", "sh", "o", "z")):
        yield verb + "es", "s"
    elif verb.endswith("y") and verb[-2] not in _VOWELS:
        yield verb[:-1] + "ies", "s"
    else:
        yield {"have": "has"}.get(verb, verb + "s"), "s"
    doubled = verb + verb[-1] if _doubles(verb) else verb
    stem = verb[:-1] if verb.endswith("e") and not verb.endswith("ee") else doubled
    yield {"lie": "lying", "tie": "tying"}.get(verb, stem + "ing"), "ing"
    if verb in actions.IRREGULAR_VERBS:
        for form in actions.IRREGULAR_VERBS[verb].split():
            yield form, "past"
    elif verb.endswith("y") and verb[-2] not in _VOWELS:
        yield verb[:-1] + "ied", "past"
    else:
        yield (verb + "d" if verb.endswith("e") else doubled + "ed"), "past"


def _doubles(verb: str) -> bool:
    """Whether the last consonant is doubled before -ing and -ed: after a single short vowel."""
    if len(verb) < 3 or verb[-1] in "wxy" + _VOWELS:
        return False
    vowels = sum(letter in _VOWELS for letter in verb)
    return verb[-2] in _VOWELS and verb[-3] not in _VOWELS and vowels == 1


@cache
def singular(word: str) -> str:
    """Returns the singular of a regular plural that the word lists do not have."""
    if len(word) > 3 and word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word
