"""What a record is to be answered with, as arrays: a caption, a summary, or events with their times.

b: batch, c: captions of an item at a time, e: events, l: pieces of a target.
"""

import functools
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate

import numpy as np

from capjax.data.record import Record, RecordCaption
from capjax.text.time_tokens import TimeTokens
from capjax.text.vocabulary import Vocabulary

# What a record must have for a task.
KINDS = {"caption": "caption", "summary": "summary", "dense": "event"}


class TargetError(ValueError):
    """The config asks for what the vocabulary or the room for a target cannot give."""


def make_targets(vocabulary: Vocabulary, data) -> "Targets":
    """The targets of a config's `data` section."""
    if data.task != "dense":
        return CaptionTargets(vocabulary, data)
    return TimedTextTargets(vocabulary, data) if data.time_bins else EventSetTargets(vocabulary, data)


class Targets:
    """What all targets share.

    Attributes:
      kind: of the captions that are answers.
    """

    def __init__(self, vocabulary: Vocabulary, data):
        self.vocabulary, self.data, self.kind = vocabulary, data, KINDS[data.task]

    @cached_property
    def prefixes(self) -> dict[str, list[int]]:
        """By language.

        Raises:
          VocabularyError: it has no such language or task; TargetError: there is no room for text after them.
        """
        prefixes = {lang: self._prefix(lang) for lang in self.data.languages}
        least = max(map(len, prefixes.values())) + 2
        if self.data.target_len < least:
            raise TargetError(f"data.target_len = {self.data.target_len} leaves no room for text; use {least} or more")
        return prefixes

    def _prefix(self, lang: str) -> list[int]:
        return self.vocabulary.prefix(lang, "summary" if self.data.task == "summary" else None)

    def answers(self, record: Record) -> list[RecordCaption]:
        """The captions of a record that answer the task, in a language that is asked for."""
        return [c for c in record.captions if c.kind == self.kind and c.lang in self.data.languages]

    def rows(self, b: int) -> tuple[int, ...]:
        """The leading axes of `target`."""
        return (b, self.data.captions_per_item) if self.data.captions_per_item > 1 else (b,)

    def empty(self, b: int) -> dict[str, np.ndarray]:
        shape = (*self.rows(b), self.data.target_len)
        return {
            "target": np.full(shape, self.vocabulary.pad_id, np.int32),
            "loss_mask": np.zeros(shape, bool),
        }

    def fill(self, batch: dict, row: int, record: Record, rng: np.random.Generator):
        """Writes one row for training."""
        raise NotImplementedError

    def _fits(self, pieces: Sequence[int], lang: str) -> bool:
        """Whether a text can be written whole, with its prefix and its end."""
        return len(self.prefixes[lang]) + len(pieces) < self.data.target_len

    def _write(self, batch: dict, place: tuple[int, ...], pieces: Sequence[int], lang: str):
        prefix, eos = self.prefixes[lang], self.vocabulary.eos_id
        # A text that is too long is cut, and has no end to learn: it does not end there.
        pieces = [*prefix, *pieces, eos][: self.data.target_len]
        batch["target"][*place, : len(pieces)] = pieces
        batch["loss_mask"][*place, len(prefix) : len(pieces)] = True

    def _draw_lang(self, langs: Sequence[str], rng: np.random.Generator) -> str:
        return langs[_draw(rng, [self.data.language_weights.get(lang, 1.0) for lang in langs])]


class CaptionTargets(Targets):
    """One text for the whole: `target` and `loss_mask` [b, l], or [b, c, l]."""

    def fill(self, batch, row, record, rng):
        for number, (pieces, lang) in enumerate(self._choose(record, rng)):
            place = (row, number) if self.data.captions_per_item > 1 else (row,)
            self._write(batch, place, pieces, lang)

    def _choose(self, record: Record, rng: np.random.Generator) -> Iterator[tuple[list[int], str]]:
        """(tokens, language) of `data.captions_per_item` captions. For each a language is drawn by weight, then one of
        its sentences that fit into `target_len` (of all, if none does); no sentence twice before all were drawn."""
        texts: dict[str, list[str]] = {}
        for caption in self.answers(record):
            texts.setdefault(caption.lang, []).append(caption.text)
        urns = {
            lang: _TextSampler(texts[lang], self.vocabulary.encode, functools.partial(self._fits, lang=lang))
            for lang in sorted(texts)
        }
        for _ in range(self.data.captions_per_item):
            lang = self._draw_lang(list(urns), rng)
            yield urns[lang].draw(rng), lang


class _TextSampler:
    """Texts, drawn without putting back until all were; those that do not fit are left out if any fits."""

    def __init__(self, texts: list[str], encode: Callable, fits: Callable[..., bool]):
        self._texts, self._left, self._encode, self._fits, self._all = texts, [], encode, fits, True

    def draw(self, rng: np.random.Generator) -> list[int]:
        """The pieces of a text."""
        self._left = self._left or list(self._texts)
        pieces = self._encode(self._left.pop(rng.integers(len(self._left))))
        # Mostly all fit: so all are encoded only when one is met that does not.
        if self._all and not self._fits(pieces):
            self._all = False
            if fitting := [text for text in self._texts if self._fits(self._encode(text))]:
                self._texts, self._left = fitting, [text for text in self._left if text in fitting]
                return self.draw(rng)
        return pieces


class _EventTargets(Targets):
    """Events; those of one annotation set at a time: `event_times` float32 [b, e, 2], start and end as shares of the
    duration; `event_mask` bool [b, e], True = real; `duration` float32 [b] in seconds."""

    def sets(self, record: Record) -> dict[str, dict[int, list[RecordCaption]]]:
        """{language: {annotation set: its events}}, languages and sets in order."""
        sets: dict[str, dict[int, list[RecordCaption]]] = {}
        for caption in sorted(self.answers(record), key=lambda caption: (caption.lang, caption.set)):
            sets.setdefault(caption.lang, {}).setdefault(caption.set, []).append(caption)
        return sets

    def _choose(self, record: Record, rng: np.random.Generator) -> tuple[list[RecordCaption], str]:
        """At most `data.max_events` events, in order of start, of an annotation set drawn at random in a language drawn
        by weight."""
        sets = self.sets(record)
        lang = self._draw_lang(list(sets), rng)
        events = list(sets[lang].values())[rng.integers(len(sets[lang]))]
        if len(events) > self.data.max_events:
            events = [events[i] for i in rng.choice(len(events), self.data.max_events, replace=False)]
        return sorted(events, key=lambda event: (event.start, event.end)), lang

    def empty(self, b: int) -> dict[str, np.ndarray]:
        e = self.data.max_events
        # An event that is none still has a length, so that no figure of it divides by 0.
        times = np.broadcast_to(np.float32([0, 1]), (b, e, 2)).copy()
        events = {"event_times": times, "event_mask": np.zeros((b, e), bool)}
        return super().empty(b) | events | {"duration": np.ones(b, np.float32)}

    def fill(self, batch, row, record, rng):
        batch["duration"][row] = record.duration

    def _tell(self, batch, row, record, events: Sequence[RecordCaption]):
        for number, event in enumerate(events):
            start, end = (min(max(time / record.duration, 0.0), 1.0) for time in (event.start, event.end))
            batch["event_times"][row, number] = start, max(end, start + 1e-4)
            batch["event_mask"][row, number] = True


class TimedTextTargets(_EventTargets):
    """Events as one text with time pieces: as `Captions`, and the times of the first text's events beside it."""

    def __init__(self, vocabulary: Vocabulary, data):
        self.tokens = TimeTokens(vocabulary, data.time_bins)
        super().__init__(vocabulary, data)

    def _prefix(self, lang: str) -> list[int]:
        return self.tokens.prefix(lang)

    def fill(self, batch, row, record, rng):
        super().fill(batch, row, record, rng)
        for number in range(self.data.captions_per_item):
            events, lang = self._choose(record, rng)
            if number == 0:
                self._tell(batch, row, record, events)
            place = (row, number) if self.data.captions_per_item > 1 else (row,)
            told = [(event.start, event.end, event.text) for event in events]
            self._write(batch, place, self.tokens.encode(told, record.duration), lang)


class EventSetTargets(_EventTargets):
    """Events as a set: `target` and `loss_mask` are [b, e, l], the text of each."""

    def rows(self, b: int) -> tuple[int, ...]:
        return b, self.data.max_events

    def fill(self, batch, row, record, rng):
        super().fill(batch, row, record, rng)
        events, lang = self._choose(record, rng)
        self._tell(batch, row, record, events)
        for number, event in enumerate(events):
            self._write(batch, (row, number), self.vocabulary.encode(event.text), lang)
        # Rows that are no event still begin as a text does: nothing is learned of them.
        for number in range(len(events), self.data.max_events):
            batch["target"][row, number, : len(self.prefixes[lang])] = self.prefixes[lang]


def _draw(rng: np.random.Generator, weights: Sequence[float]) -> int:
    """An index with probability proportional to its weight."""
    edges = list(accumulate(weights))
    return min(bisect_right(edges, rng.random() * edges[-1]), len(edges) - 1)


def references(record: Record, targets: Targets) -> Mapping:
    """What people wrote: {lang: [texts]}; of events, {lang: {annotation set: [(start, end, text)]}}, in seconds of the
    video that the record is a part of."""
    if isinstance(targets, _EventTargets):
        return {
            lang: {
                number: [(e.start + record.start, e.end + record.start, e.text) for e in events]
                for number, events in sets.items()
            }
            for lang, sets in targets.sets(record).items()
        }
    found: dict[str, list[str]] = {}
    for caption in record.captions:
        if caption.kind == targets.kind:
            found.setdefault(caption.lang, []).append(caption.text)
    return found
