"""Base of all languages: clauses for events, and ways to join them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import Formatter

from data_prep.synthetic.moving.scene import MovingEvent, MovingScene, Thing
from data_prep.synthetic.shapes.languages import Language

# A sentence in parts, each with its variants.
Parts = list[tuple[str, ...]]


@dataclass(frozen=True)
class MovingLanguage:
    """Patterns of clauses, and of the texts that they form.

    Attributes:
      still: nouns, adjectives and noun phrases.
      words: for each direction, the words of the named slots.
      clauses: patterns for each kind of event (`rebound`: a bounce at an edge); `{0}` is the thing, `{old}` and `{new}`
        are colors. The order is subject, verb, rest, unless the language's `clause` needs marks.
      before: texts that state that event `a` comes before event `b`.
      summaries: beginnings of a paragraph's sentences: the first, those between (in turn), the last.
      period: end of a sentence.
      space: separator of sentences.
    """

    still: Language
    words: dict[str, dict[str, str]]
    clauses: dict[str, tuple[str, ...]]
    before: tuple[str, ...]
    summaries: tuple[tuple[str, tuple[str, ...], str], ...]
    period: str = "."
    space: str = " "

    def known(self, thing: Thing) -> str:
        """The noun phrase of a thing that was mentioned before: `the red circle`."""
        raise TypeError(f"{type(self).__name__} should define its definite noun phrase")

    def colors(self, event: MovingEvent) -> dict[str, str]:
        """The words of `{old}` and `{new}`."""
        old, new = (self.still.adjectives[thing.color] for thing in (event.before, event.after))
        return {"old": old, "new": new}

    def clause(self, pattern: str, subject: str, form: str) -> str:
        """A clause in one of the language's word orders."""
        return pattern.replace("{0}", subject)

    def clauses_of(self, event: MovingEvent, form: str = "", known: bool = False) -> tuple[str, ...]:
        """All clauses about the event."""
        kind = "rebound" if event.kind == "bounce" and event.direction else event.kind
        subject = self.known(event.before) if known else self.still.noun_phrase(event.before, "", False)
        words = {**self.words.get(event.direction, {}), **self.colors(event)}
        return tuple(self.clause(pattern, subject, form).format(**words) for pattern in self.clauses[kind])

    def event(self, event: MovingEvent) -> list[Parts]:
        """The sentence about an event."""
        return [[self.clauses_of(event), (self.period,)]]

    def order(self, scene: MovingScene) -> list[list[Parts]]:
        """The texts that state that the first event was before the last."""
        events = {"a": scene.events[0], "b": scene.events[-1]}
        return [[list(self._parts(text, events))] for text in self.before]

    def summary(self, scene: MovingScene) -> list[list[Parts]]:
        """The paragraphs about all events in order."""
        if len(scene.events) == 1:
            return [self.event(scene.events[0])]
        first_mention = {event.thing: i for i, event in reversed(list(enumerate(scene.events)))}
        paragraphs = []
        for first, between, last in self.summaries:
            middle = [between[i % len(between)] for i in range(len(scene.events) - 2)]
            starts = [first, *middle, last if middle else between[0]]
            paragraphs.append(
                [
                    list(self._parts(start, {"0": event}, known=first_mention[event.thing] < i))
                    for i, (start, event) in enumerate(zip(starts, scene.events, strict=True))
                ]
            )
        return paragraphs

    def _parts(self, text: str, events: dict[str, MovingEvent], known: bool = False) -> Iterator[tuple[str, ...]]:
        for literal, field, form, _ in Formatter().parse(text):
            if literal:
                yield (literal,)
            if field is not None:
                yield self.clauses_of(events[field], form or "", known)


def join(sentences: Sequence[str], space: str) -> str:
    return space.join(text[0].upper() + text[1:] for text in sentences)
