"""Finds in an English caption what it says: things with their number and attributes, actions, relations, directions.

The parser reads phrases from left to right; it knows no grammar beyond noun phrases and the words between them. A word
that no list has is a noun where a noun phrase needs one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from capjax.analyze.english import attributes, relations
from capjax.analyze.facts import Action, Direction, Mention, ParsedCaption, Relation
from capjax.analyze.lexicon import PUNCTUATION, Lexicon, Reading, singular, split, tokens
from capjax.analyze.lookahead import Lookahead

_MAX_WORDS = 400
# Subjects of one clause, and things in one row.
_MAX_LISTED = 8
_PORTIONS = frozenset(split(attributes.PORTIONS))
_DEFINITE = frozenset(("the", "this", "that", "these", "those", "his", "her", "its", "their", "both"))


@dataclass
class _Phrase:
    """A noun phrase that is being read."""

    words: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str]] = field(default_factory=list)
    low: int | None = None
    high: int | None = None
    counted: bool = False
    determined: bool = False
    actions: list[tuple[frozenset[str], str]] = field(default_factory=list)


class Parser:
    """Parses English captions with a lexicon, of long texts the beginning."""

    def __init__(self, lexicon: Lexicon):
        self.lexicon = lexicon

    def parse(self, text: str) -> ParsedCaption:
        """Returns what a caption says."""
        return _Parse(self.lexicon, tokens(text)[:_MAX_WORDS]).run()


class _Parse:
    def __init__(self, lexicon: Lexicon, words: list[str]):
        self.lexicon, self.words, self.lookahead = lexicon, words, Lookahead(lexicon, words)
        self.caption = ParsedCaption([word for word in words if word not in PUNCTUATION])
        self.phrase: _Phrase | None = None
        self.pending: list[_Phrase] = []  # `a white and` of `a white and a black dog`
        self.last: int | None = None  # the mention right before
        self.topics: list[int] = []  # subjects of the clause
        self.topics_have_verb = False
        self.next_topic: int | None = None  # a mention after `and` or a comma, which is a subject if a verb follows
        self.is_object = False  # the next mention is the object of a verb or preposition
        self.relation: tuple[str, bool, str, list[int]] | None = None  # which waits for its object
        self.places: list[tuple[str, str]] = []  # directions before the first mention of a clause
        self.order: str = ""  # of a list of things, from left to right or the reverse
        self.listed: list[int] = []
        self.before = ""  # kind of the last word: noun, verb, copula, relation, preposition, ...
        self.coordinated = False  # `and` or a comma lies between the last mention and here

    def run(self) -> ParsedCaption:
        position = 0
        while position < len(self.words):
            length, reading = self.lexicon.match(self.words, position)
            words = self.words[position : position + length]
            self._read(" ".join(words), reading, position, position + length)
            position += length
        if self.phrase and self.phrase.words and self.phrase.low is not None:  # not `in the dark`
            self.caption.open_phrase = " ".join(self.phrase.words)
        self._finish_order()
        return self.caption

    # One word or phrase.

    def _read(self, words: str, reading: Reading | None, start: int, end: int):
        if words in PUNCTUATION:
            return self._punctuation(words)
        if reading is None:
            reading = self._unknown(words)
        if reading.function == "order":
            self.phrase, self.order = None, words
            return None
        if words == "'s":
            return self._possessive(end)
        # Directions and relations are phrases that no noun phrase contains, but for `left shoe` and the like.
        if self.phrase is None or not self.lookahead.is_before_noun(start):
            if reading.converse:
                return self._converse(reading.converse, words)
            if reading.direction:
                return self._direction(reading.direction, words)
            if reading.relation and not (self.phrase and reading.verb is None and reading.concept):
                return self._relation(reading, words)
        if words in attributes.COLLECTIVES and self.words[end : end + 1] == ["of"]:
            low, high = attributes.COLLECTIVES[words]
            return self._number(words, low, high)
        if words == "couple" and self.lookahead.plural_follows(end):  # `a couple dogs`
            return self._number(words, 2, 2)
        if words in _PORTIONS and self.words[end : end + 1] == ["of"] and self.phrase is not None:
            self.phrase.words.append(words)
            return None
        if words == "of" and self.phrase is not None and self.phrase.words:
            self.phrase.words.append(words)
            return None
        if words in attributes.NUMBERS:
            return self._number(words, attributes.NUMBERS[words], attributes.NUMBERS[words])
        if words in attributes.VAGUE_NUMBERS:
            return self._number(words, attributes.VAGUE_NUMBERS[words], None)
        if words.isdecimal() and len(words) < 4:
            return self._number(words, int(words), int(words))
        if reading.function == "determiner":
            if words == "that" and self.before == "noun" and self.lookahead.verb_follows(end):  # `a man that runs`
                self.topics, self.next_topic = [self.last] if self.last is not None else [], None
                return None
            return self._determiner(words)
        if self._is_adjective(words, reading, end):
            return self._adjective(words, reading, end)
        if reading.verb is not None and self._is_verb(reading, start, end):
            return self._verb(words, reading, end)
        if reading.verb is not None and not reading.concept and not reading.function:  # `in the surf`
            reading = Reading(concept=words)
        if reading.plural and start and self.lookahead.is_animate(self.words[start - 1]) and self.phrase is None:
            reading = Reading(verb=frozenset(), form="s")
            return self._verb(words, reading, end)
        if reading.concept:
            return self._noun(words, reading, end)
        return self._function_word(words, reading)

    def _unknown(self, word: str) -> Reading:
        if word.endswith("ly"):
            return Reading(function="adverb")
        if self.phrase is None and word.endswith(("ing", "ed")):
            return Reading(verb=frozenset(), form="ing")
        stem = singular(word)
        return Reading(concept=stem, plural=stem != word)

    def _is_adjective(self, words: str, reading: Reading, end: int) -> bool:
        if not (reading.attribute or reading.modifier):
            return False
        if not reading.concept:
            return True
        return self.lookahead.may_continue(end)

    def _is_verb(self, reading: Reading, start: int, end: int) -> bool:
        """Whether a word that can be a verb is one here."""
        if self.phrase is not None and self.phrase.words:
            if reading.form in ("base", "s") and self.phrase.determined:
                return False
            return not reading.concept or (reading.form == "ing" and self.lookahead.may_continue(end))
        if not reading.concept:
            return True
        if reading.form in ("ing", "past"):
            return self.before in ("noun", "copula", "and", "adverb", "")
        return self.before in ("noun", "adverb", "to")

    # Noun phrases.

    def _open(self) -> _Phrase:
        if self.phrase is None:
            self.phrase = _Phrase()
        return self.phrase

    def _determiner(self, words: str):
        if self.phrase and (self.phrase.attributes or self.phrase.actions) and self.before == "and":
            self.pending.append(self.phrase)
            self.phrase = None
        elif self.phrase and self.phrase.words and self.phrase.words[-1] != "of":
            self.phrase = None
        phrase = self._open()
        phrase.words.append(words)
        phrase.determined = True
        self.before = "determiner"

    def _number(self, words: str, low: int, high: int | None):
        if words in ("a", "an"):
            phrase = self.phrase
            of = bool(phrase and phrase.words and phrase.words[-1] == "of")
            self._determiner(words)
            phrase = self._open()
            if not of and phrase.low is None:
                phrase.low, phrase.high = 1, 1
            return
        if self.phrase is None and self.before == "copula":
            self.phrase = None
        phrase = self._open()
        phrase.words.append(words)
        phrase.low, phrase.high, phrase.counted = low, high, high is not None
        self.before = "number"

    def _adjective(self, words: str, reading: Reading, end: int):
        if self.phrase is None and self.before in ("copula", "become") and not self.lookahead.may_continue(end):
            if reading.attribute and self.topics:
                self._add_attribute(self.topics[-1], reading.attribute)
            self.before = "copula"  # `red and blue`
            return
        phrase = self._open()
        phrase.words.append(words)
        if reading.attribute:
            phrase.attributes.append(reading.attribute)
        self.before = "adjective"

    def _noun(self, words: str, reading: Reading, end: int):
        phrase = self._open()
        phrase.words.append(words)
        if self.lookahead.compound_continues(end, reading.plural):
            self.before = "adjective"
            return
        # `a black one`, `the other`: of the same concept as before.
        concept, general = reading.concept, reading.general
        if words in ("one", "other", "another") and self.caption.mentions and phrase.determined:
            concept, general = self.caption.mentions[-1].concept, ""
        for earlier in self.pending:
            self._mention(earlier, concept, general, reading.plural, [*earlier.words, words])
            self.coordinated = True
        self.pending = []
        self._mention(phrase, concept, general, reading.plural, phrase.words)
        self.phrase = None
        self.before = "noun"

    def _mention(self, phrase: _Phrase, concept: str, general: str, is_plural: bool, words: Sequence[str]):
        low, high, exact = phrase.low, phrase.high, phrase.counted
        if low is None:
            low, high = (2, None) if is_plural else (1, 1)
        elif low == 1 and high == 1 and not is_plural:
            exact = True
        mention = Mention(
            concept, " ".join(words), tuple(phrase.attributes), low, high, exact, phrase.words[0] in _DEFINITE, general
        )
        self.caption.mentions.append(mention)
        number = len(self.caption.mentions) - 1
        for actions, text in phrase.actions:
            self.caption.actions.append(Action(actions, text, number))
        self._place(number)

    def _possessive(self, end: int):
        """`a man's`: the man is no subject of what follows."""
        if self.topics and self.topics[-1] == self.last:
            self.topics.pop()
        self._open().determined = True
        self.phrase.words.append("'s")  # type: ignore[union-attr]
        self.before = "determiner"

    def _add_attribute(self, number: int, attribute: tuple[str, str]):
        mention = self.caption.mentions[number]
        self.caption.mentions[number] = replace(mention, attributes=(*mention.attributes, attribute))

    # What lies between noun phrases.

    def _place(self, number: int):
        """Connects a new mention with what was before it."""
        mention = self.caption.mentions[number]
        is_thing = mention.general != "-"
        if is_thing:
            for value, words in self.places:
                self.caption.directions.append(Direction(value, words, number))
            self.places = []
            self.listed.append(number)
        if self.relation is not None:
            kind, exchanged, words, subjects = self.relation
            for subject in subjects if is_thing else ():
                pair = (number, subject) if exchanged else (subject, number)
                self.caption.relations.append(Relation(kind, words, *pair, exchanged))
            if not self.coordinated:
                self.topics = [topic for topic in self.topics if topic in subjects] or list(subjects)
            if kind != "touch":
                self.relation = None
        elif self.is_object and self.topics and is_thing:
            pass
        elif self.coordinated and self.topics and is_thing:
            if self.topics_have_verb or self.last not in self.topics:
                self.next_topic = number
            elif len(self.topics) < _MAX_LISTED:
                self.topics.append(number)
        elif is_thing:
            self.topics, self.topics_have_verb = [number], False
        self.last = number if is_thing else self.last
        self.coordinated = self.is_object = False

    def _punctuation(self, mark: str):
        self.phrase = None if self.before not in ("adjective",) else self.phrase
        if mark in ",;":
            self.coordinated = True
            self.before = "and" if self.before == "adjective" else self.before
            if self.before != "and":
                self.before = "noun" if self.before == "noun" else ""
        elif mark != ":":
            self.relation, self.before, self.coordinated, self.topics = None, "", False, []
        self.is_object = False

    def _relation(self, reading: Reading, words: str):
        self.phrase = None
        kind, exchanged = reading.relation  # type: ignore[misc]
        if kind == "touch" and words == "touch":  # `A and B touch each other`
            if len(self.topics) > 1:
                self.caption.relations.append(Relation("touch", words, self.topics[-2], self.topics[-1]))
            self.before = "verb"
            return
        subjects = self._subjects()
        self.relation = (kind, exchanged, words, subjects) if subjects else None
        if not subjects:
            self.is_object = True
        self.before = "relation"
        self.coordinated = False

    def _subjects(self) -> list[int]:
        """The mentions that a relation is said of: the last, or after a verb its subjects."""
        if self.before == "noun" and self.last is not None and not (self.coordinated and self.topics):
            return [self.last]
        return list(self.topics) or ([self.last] if self.last is not None else [])

    def _converse(self, converse: tuple[str, bool], words: str):
        self.phrase = None
        kind, exchanged = converse
        earlier = [topic for topic in self.topics if topic != self.last]
        if self.last is not None and earlier:
            pair = (earlier[-1], self.last) if exchanged else (self.last, earlier[-1])
            # `A with B to its right`: B is right of A, so A is left of B.
            self.caption.relations.append(Relation(kind, words, *pair, exchanged))
        self.before = "noun"

    def _direction(self, value: str, words: str):
        self.phrase = None
        before_things = self.last is None or (self.before == "" and not self.coordinated)
        if before_things:
            self.places.append((value, words))
            return
        subjects = [self.last] if self.before == "noun" and self.last is not None else self.topics[-1:]
        for subject in subjects:
            self.caption.directions.append(Direction(value, words, subject))

    def _verb(self, words: str, reading: Reading, end: int):
        actions = reading.verb or frozenset()
        if self.before == "noun" and self.next_topic is not None and self.next_topic == self.last:
            self.topics = [self.next_topic]
        if self.phrase is not None and self.phrase.words:  # `a running dog`
            if reading.form in ("ing", "past") and end < len(self.words):
                self.phrase.words.append(words)
                if actions:
                    self.phrase.actions.append((actions, words))
                self.before = "adjective"
                return
            self.phrase = None
        self.phrase = None
        following = self.lexicon.readings.get(tuple(self.words[end : end + 1]))
        if words.split()[0].startswith(("becom", "becam", "turn")) and following and following.attribute:
            actions = frozenset({"change color"})
            self.before = "become"
        else:
            self.before = "verb"
        passive = reading.form == "past" and "by" in self.words[end : end + 3]
        if actions and not passive:
            subjects: list[int | None] = [*self.topics] or [None]
            self.caption.actions += [Action(actions, words, subject) for subject in subjects]
        self.is_object = self.before == "verb"
        self.topics_have_verb = True
        self.relation, self.coordinated = None, False

    def _function_word(self, words: str, reading: Reading):
        if words == "and" and self.phrase is not None and self.before == "adjective":
            self.before = "and"  # `black and white dog`
            return
        self.phrase = None
        if words in ("and", "or"):
            self.coordinated, self.is_object = True, False
            if self.before != "copula":
                self.before = "and" if self.before != "noun" else "noun"
        elif reading.function == "conjunction":
            self.coordinated, self.before, self.relation, self.is_object = False, "", None, False
            self.topics_have_verb = False
        elif reading.function == "copula":
            if self.before == "" and self.places:
                self.is_object = False
            self.before = "copula"
        elif reading.function == "preposition":
            self.before = "to" if words == "to" else "preposition"
            self.is_object = True
            self.relation, self.coordinated = None, False
        elif reading.function == "pronoun":
            self.relation = None
        else:
            self.before = "adverb" if self.before != "noun" else "noun"

    def _finish_order(self):
        """`from left to right: A, B and C`: each is left of those after it."""
        if not self.order:
            positioned = [d for d in self.caption.directions if d.value in ("left", "middle", "right")]
            positioned.sort(key=lambda direction: ("left", "middle", "right").index(direction.value))
            ordered = [d.subject for d in positioned] if len({d.value for d in positioned}) == len(positioned) else []
        else:
            ordered = self.listed if self.order == relations.LEFT_TO_RIGHT else self.listed[::-1]
        words = self.order or "from left to right"
        ordered = ordered[:_MAX_LISTED]
        for index, first in enumerate(ordered):
            for second in ordered[index + 1 :]:
                self.caption.relations.append(Relation("left", words, first, second))
