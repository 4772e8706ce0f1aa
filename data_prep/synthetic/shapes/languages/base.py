"""What every language has: a lexicon, sentence patterns, and a way to form noun phrases."""

from dataclasses import dataclass
from typing import NamedTuple

from data_prep.synthetic.shapes.scene import Message, Thing


class Phrase(NamedTuple):
    """A thing in a language; formatting gives its noun phrase, in the grammatical case of the format's spec."""

    language: "Language"
    thing: Thing
    sized: bool

    def __format__(self, case: str) -> str:
        return self.language.noun_phrase(self.thing, case, self.sized)


def either_order(*patterns: str) -> tuple[str, ...]:
    """Each pattern, and the same with its two things exchanged."""
    exchange = str.maketrans("01", "10")
    return tuple(text for pattern in patterns for text in (pattern, pattern.translate(exchange)))


def side_by_side(words: dict[str, tuple[str, str]], *patterns: str) -> dict[str, tuple[str, ...]]:
    """The patterns of kinds of message that differ in how one thing lies beside the other.

    Args:
      words: for each kind, the words of `{relation}` (of the first thing to the second) and of `{converse}`.
    """
    return {
        kind: tuple(text.replace("{relation}", relation).replace("{converse}", converse) for text in patterns)
        for kind, (relation, converse) in words.items()
    }


@dataclass(frozen=True)
class Language:
    """Nouns, adjectives and sentence patterns.

    Attributes:
      nouns, adjectives: by shape and by color, with the marks that the language's `noun_phrase` asks for.
      sizes: small, large.
      places: the adverbials of message kind `at`.
      patterns: by kind of message. A slot is a thing's number, with the case where there are cases: `{0:dat}`.
        Whatever order a kind settles is settled by each of its patterns: exchange the things and it is false.
    """

    nouns: dict[str, str]
    adjectives: dict[str, str]
    sizes: tuple[str, str]
    places: dict[str, str]
    patterns: dict[str, tuple[str, ...]]

    def noun_phrase(self, thing: Thing, case: str, sized: bool) -> str:
        raise TypeError(f"{type(self).__name__} should say how it forms a noun phrase")

    def sentences(self, message: Message) -> list[str]:
        """All sentences of the message, in the order of the patterns."""
        # Size is told of a thing that is alone; beside another it would go without saying.
        phrases = [Phrase(self, thing, sized=len(message.things) == 1) for thing in message.things]
        place = self.places.get(message.place, "")
        filled = [pattern.format(*phrases, place=place) for pattern in self.patterns[message.kind]]
        return [text[0].upper() + text[1:] for text in filled]
