"""Targets of a record as arrays: captions, a summary, or events with their times.

b: batch, c: captions per item, e: events, l: target length.
"""

import functools
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate

import numpy as np

from capjax.data.batch import Batch
from capjax.data.counterfactual import Counterfactuals
from capjax.data.record import Record, RecordCaption
from capjax.text.time_tokens import TimeTokens
from capjax.text.vocabulary import Vocabulary

# The kind of captions that answers each task.
KINDS = {"caption": "caption", "summary": "summary", "dense": "event"}


class TargetError(ValueError):
    """The settings of targets do not fit the vocabulary or the target length."""


def make_targets(vocabulary: Vocabulary, data) -> "Targets":
    """Returns the targets of a config's `data` section."""
    if data.task != "dense":
        return CaptionTargets(vocabulary, data)
    return TimedTextTargets(vocabulary, data) if data.time_bins else EventSetTargets(vocabulary, data)


def answers(record: Record, data) -> list[RecordCaption]:
    """Returns the captions of a record that answer the task of a config's `data` section in one of its languages."""
    return [c for c in record.captions if c.kind == KINDS[data.task] and c.lang in data.languages]


class Targets:
    """Base class of targets: fills the target entries of a batch (see `capjax.data.batch.Batch`) from records.

    Attributes:
      kind: The kind of captions that are targets.
    """

    def __init__(self, vocabulary: Vocabulary, data):
        self.vocabulary, self.data, self.kind = vocabulary, data, KINDS[data.task]

    @cached_property
    def prefixes(self) -> dict[str, list[int]]:
        """The tokens that a target starts with, by language; see `check` for errors."""
        prefixes = {lang: self._prefix(lang) for lang in self.data.languages}
        least = max(map(len, prefixes.values())) + 2
        if self.data.target_len < least:
            raise TargetError(f"data.target_len = {self.data.target_len} leaves no room for text; use {least} or more")
        return prefixes

    def check(self):
        """Checks the settings against the vocabulary.

        Raises:
          VocabularyError: The vocabulary lacks a language or the task.
          TargetError: `data.target_len` leaves no room for text.
        """
        _ = self.prefixes

    def _prefix(self, lang: str) -> list[int]:
        return self.vocabulary.prefix(lang, "summary" if self.data.task == "summary" else None)

    def answers(self, record: Record) -> list[RecordCaption]:
        """Returns the captions of a record that answer the task in one of the config's languages."""
        return answers(record, self.data)

    def leading_shape(self, b: int) -> tuple[int, ...]:
        """Returns the shape of `target` without its last axis."""
        return (b, self.data.captions_per_item) if self.data.captions_per_item > 1 else (b,)

    def empty(self, b: int) -> dict[str, np.ndarray]:
        """Returns the target entries of a batch without any target."""
        shape = (*self.leading_shape(b), self.data.target_len)
        return {"target": np.full(shape, self.vocabulary.pad_id, np.int32), "loss_mask": np.zeros(shape, bool)}

    def fill(self, batch: Batch, row: int, record: Record, rng: np.random.Generator):
        """Writes the targets of one row for training."""
        raise NotImplementedError

    def _fits(self, tokens: Sequence[int], lang: str) -> bool:
        """Whether a text fits whole, with its prefix and <eos>."""
        return len(self.prefixes[lang]) + len(tokens) < self.data.target_len

    def _write(self, batch: Batch, row: int, number: int, tokens: Sequence[int], lang: str):
        """Writes text `number` of an item, which may have only one."""
        prefix, eos = self.prefixes[lang], self.vocabulary.eos_id
        # A text that is too long is truncated without <eos>, because it does not end there.
        tokens = [*prefix, *tokens, eos][: self.data.target_len]
        batch["target"][row].reshape(-1, self.data.target_len)[number, : len(tokens)] = tokens
        batch["loss_mask"][row].reshape(-1, self.data.target_len)[number, len(prefix) : len(tokens)] = True

    def _draw_lang(self, langs: Sequence[str], rng: np.random.Generator) -> str:
        return langs[_draw(rng, [self.data.language_weights.get(lang, 1.0) for lang in langs])]


class CaptionTargets(Targets):
    """One text for the whole record: `target` and `loss_mask` are [b, l], or [b, c, l].

    Attributes:
      counterfactuals: exchange words of captions, for `mitigation.counterfactual`; None: captions are as they are.
    """

    counterfactuals: Counterfactuals | None = None

    def fill(self, batch, row, record, rng):
        for number, (tokens, lang) in enumerate(self._choose(record, rng)):
            self._write(batch, row, number, tokens, lang)

    def _choose(self, record: Record, rng: np.random.Generator) -> Iterator[tuple[list[int], str]]:
        """Yields (tokens, language) of `data.captions_per_item` captions.

        For each, a language is drawn by weight, then one of its captions that fit into `target_len` (of all, if none
        fits). No caption is drawn twice before all were drawn.
        """
        texts: dict[str, list[str]] = {}
        for caption in self.answers(record):
            texts.setdefault(caption.lang, []).append(caption.text)
        counterfactuals = self.counterfactuals
        if counterfactuals and not counterfactuals.apply_to([(t, lang) for lang, own in texts.items() for t in own]):
            counterfactuals = None

        def encode(text: str, lang: str) -> list[int]:
            return self.vocabulary.encode(counterfactuals.draw(text, lang, rng) if counterfactuals else text)

        samplers = {
            lang: _TextSampler(
                texts[lang], functools.partial(encode, lang=lang), functools.partial(self._fits, lang=lang)
            )
            for lang in sorted(texts)
        }
        for _ in range(self.data.captions_per_item):
            lang = self._draw_lang(list(samplers), rng)
            yield samplers[lang].draw(rng), lang


class _TextSampler:
    """Draws texts without replacement until all were drawn; texts that do not fit are skipped if any fits."""

    def __init__(self, texts: list[str], encode: Callable, fits: Callable[..., bool]):
        self._texts, self._encode, self._fits = texts, encode, fits
        self._remaining: list[str] = []
        self._filtered = False

    def draw(self, rng: np.random.Generator) -> list[int]:
        """Returns the tokens of a text."""
        self._remaining = self._remaining or list(self._texts)
        tokens = self._encode(self._remaining.pop(rng.integers(len(self._remaining))))
        # Usually all texts fit, so the others are encoded only once a text does not.
        if not self._filtered and not self._fits(tokens):
            self._filtered = True
            if fitting := [text for text in self._texts if self._fits(self._encode(text))]:
                self._texts, self._remaining = fitting, [text for text in self._remaining if text in fitting]
                return self.draw(rng)
        return tokens


class _EventTargets(Targets):
    """Events of one annotation set at a time: `event_times`, `event_mask` and `duration`."""

    def sets(self, record: Record) -> dict[str, dict[int, list[RecordCaption]]]:
        """Returns {language: {annotation set: events}}, sorted by language and set."""
        sets: dict[str, dict[int, list[RecordCaption]]] = {}
        for caption in sorted(self.answers(record), key=lambda caption: (caption.lang, caption.set)):
            sets.setdefault(caption.lang, {}).setdefault(caption.set, []).append(caption)
        return sets

    def _choose(self, record: Record, rng: np.random.Generator) -> tuple[list[RecordCaption], str]:
        """Returns at most `data.max_events` events, by start, and their language.

        The language is drawn by weight, then the annotation set at random.
        """
        sets = self.sets(record)
        lang = self._draw_lang(list(sets), rng)
        events = list(sets[lang].values())[rng.integers(len(sets[lang]))]
        if len(events) > self.data.max_events:
            events = [events[i] for i in rng.choice(len(events), self.data.max_events, replace=False)]
        return sorted(events, key=_interval), lang

    def empty(self, b: int) -> dict[str, np.ndarray]:
        e = self.data.max_events
        # Padding events have a length above 0, so that ratios of lengths stay finite.
        times = np.broadcast_to(np.array([0, 1], np.float32), (b, e, 2)).copy()
        events = {"event_times": times, "event_mask": np.zeros((b, e), bool)}
        return super().empty(b) | events | {"duration": np.ones(b, np.float32)}

    def fill(self, batch, row, record, rng):
        batch["duration"][row] = record.duration

    def _write_times(self, batch, row, record, events: Sequence[RecordCaption]):
        for number, event in enumerate(events):
            start, end = (min(max(time / record.duration, 0.0), 1.0) for time in _interval(event))
            batch["event_times"][row, number] = start, max(end, start + 1e-4)
            batch["event_mask"][row, number] = True


class TimedTextTargets(_EventTargets):
    """Events as one text with time tokens: as `CaptionTargets`, with the times of the first text's events."""

    def __init__(self, vocabulary: Vocabulary, data):
        self.time_tokens = TimeTokens(vocabulary, data.time_bins)
        super().__init__(vocabulary, data)

    def _prefix(self, lang: str) -> list[int]:
        return self.time_tokens.prefix(lang)

    def fill(self, batch, row, record, rng):
        super().fill(batch, row, record, rng)
        for number in range(self.data.captions_per_item):
            events, lang = self._choose(record, rng)
            if number == 0:
                self._write_times(batch, row, record, events)
            timed_texts = [(*_interval(event), event.text) for event in events]
            tokens = self.time_tokens.encode(timed_texts, record.duration)
            self._write(batch, row, number, tokens, lang)


class EventSetTargets(_EventTargets):
    """Events as a set: `target` and `loss_mask` are [b, e, l], one text for each event."""

    def leading_shape(self, b: int) -> tuple[int, ...]:
        return b, self.data.max_events

    def fill(self, batch, row, record, rng):
        super().fill(batch, row, record, rng)
        events, lang = self._choose(record, rng)
        self._write_times(batch, row, record, events)
        for number, event in enumerate(events):
            self._write(batch, row, number, self.vocabulary.encode(event.text), lang)
        # Padding events have a prefix like any text, but no loss.
        for number in range(len(events), self.data.max_events):
            batch["target"][row, number, : len(self.prefixes[lang])] = self.prefixes[lang]


def _draw(rng: np.random.Generator, weights: Sequence[float]) -> int:
    """Returns an index with probability proportional to its weight."""
    edges = list(accumulate(weights))
    return min(bisect_right(edges, rng.random() * edges[-1]), len(edges) - 1)


def _interval(event: RecordCaption) -> tuple[float, float]:
    """Returns the start and end of an event, in seconds."""
    assert event.start is not None and event.end is not None  # every caption of the kind `event` has times
    return event.start, event.end


def references(record: Record, targets: Targets) -> Mapping:
    """Returns the reference captions of a record, in all languages.

    Returns:
      {lang: [texts]}; of events, {lang: {annotation set: [(start, end, text)]}}, in seconds of the video that the
      record is a part of.
    """
    if isinstance(targets, _EventTargets):
        return {
            lang: {
                number: [
                    (start + record.start, end + record.start, event.text)
                    for event in events
                    for start, end in [_interval(event)]
                ]
                for number, events in sets.items()
            }
            for lang, sets in targets.sets(record).items()
        }
    texts: dict[str, list[str]] = {}
    for caption in record.captions:
        if caption.kind == targets.kind:
            texts.setdefault(caption.lang, []).append(caption.text)
    return texts
