"""Finds errors of form, in any language: repetition, truncation, generic captions, another language."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from capjax.analyze.english import attributes, relations
from capjax.analyze.facts import ParsedCaption
from capjax.analyze.findings import GENERIC, LANGUAGE, REPETITION, TRUNCATION, Finding
from capjax.analyze.lexicon import Lexicon, split
from capjax.metrics.languages import is_english, primary_language
from capjax.metrics.tokenize import tokenizer_for
from capjax.text import languages

Id = int | str

# Single words that are said twice in a row for emphasis, or rightly so.
_DOUBLED = frozenset(("very", "so", "really", "long", "many", "had", "bye", "ha", "up", "down", "far", "big"))
# Languages that form words by repetition.
_REDUPLICATING = frozenset(("id", "ms", "zh", "yue", "ja", "th", "vi", "tl", "fil", "sw", "km", "lo", "my", "ko"))
_CONNECTORS = frozenset(("and", "with", "of", "on", "in", "or", "by"))
_SENTENCE_END = re.compile(r"[.!?。！？।…؟]['\"”’)»]*\s*$")
_OPEN_END = re.compile(r"[,;:\-–—、，]\s*$")
# Words that many references have but none ends with do not end a caption.
_MIN_OCCURRENCES = 40
# The shares of captions and of references with a final period from which on a caption without it is cut.
_MIN_PERIODS, _MIN_REFERENCE_PERIODS = 0.8, 0.98
# A caption whose words fit at least this share of the other pictures says nothing about its own.
_MAX_FIT = 0.4
_MIN_REPEATED, _MIN_REPEATED_SHARE = 5, 0.02
# A caption of which this share of the words are unknown is in another language if its own is as unlikely as that.
_STRANGE, _MAX_LIKELIHOOD = 0.7, 0.2
# Limits of the search for repetition: words of a caption and of a repeated block, and blocks that are removed.
_MAX_WORDS, _MAX_BLOCK, _MAX_REPETITIONS = 300, 40, 20
_UNSPECIFIC = frozenset(split(relations.UNSPECIFIC))
_NOT_LAST = [tuple(phrase.split()) for phrase in split(relations.NOT_LAST)]
_NEVER_LAST = [(word,) for word in ("a", "an", "the", "and", "or", "of", "with", "his", "their", "its", "my")]
_ATTRIBUTES = frozenset(
    word for values in attributes.ATTRIBUTES.values() for words in values.values() for word in split(words)
)
_FUNCTION_WORDS = frozenset(
    split(", ".join((relations.DETERMINERS, relations.PRONOUNS, relations.COPULAS, relations.CONJUNCTIONS,
                     relations.PREPOSITIONS, relations.ADVERBS, "on, in, by, near")))
)  # fmt: skip


@dataclass
class FormChecker:
    """Finds errors of form of captions in one language, compared with all captions and references of that language.

    Args:
      captions: {id: caption}.
      references: {id: captions by people}.
      lexicon: of English, where the captions are English.
    """

    lang: str
    captions: Mapping[Id, str]
    references: Mapping[Id, Sequence[str]]
    lexicon: Lexicon | None = None

    words: dict[Id, list[str]] = field(init=False)
    reference_words: dict[Id, list[list[str]]] = field(init=False)

    def __post_init__(self) -> None:
        tokenize = tokenizer_for(self.lang)
        self.words = {id: tokenize(text) for id, text in self.captions.items()}
        self.reference_words = {id: [tokenize(text) for text in texts] for id, texts in self.references.items()}
        all_references = [words for texts in self.reference_words.values() for words in texts]
        self._occurrences = Counter(word for words in all_references for word in words)
        self._last = Counter(words[-1] for words in all_references if words)
        self._items_of_word: dict[str, set[Id]] = defaultdict(set)
        for id, texts in self.reference_words.items():
            for word in {word for words in texts for word in words}:
                self._items_of_word[word].add(id)
        self._ids_of_caption: dict[tuple[str, ...], list[Id]] = defaultdict(list)
        for id, words in self.words.items():
            self._ids_of_caption[tuple(words)].append(id)
        nonempty = [text for text in self.captions.values() if text.strip()]
        self._have_periods = (
            len(nonempty) >= 10
            and _share_with_period(nonempty) >= _MIN_PERIODS
            and _share_with_period([text for texts in self.references.values() for text in texts])
            >= _MIN_REFERENCE_PERIODS
        )
        self._letters = frozenset("".join(self._occurrences))
        self._english = is_english(self.lang)
        if self.lexicon:
            self._known = {word for phrase in self.lexicon.readings for word in phrase}
        else:
            self._known = set()

    def findings(self, id: Id, parsed: ParsedCaption | None = None) -> list[Finding]:
        """Returns the errors of form of a caption. The end of one in another language tells nothing, and a generic one
        may lack a period.

        Args:
          parsed: of an English caption.
        """
        findings = []
        if other := self._language(id):
            findings.append(other)
        else:
            cut, generic = self._truncation(id, parsed), self._generic(id)
            # The words at the end of a generic caption say more about it than the ends of other captions.
            first, second = (cut, generic) if cut and cut.source == "caption" else (generic, cut)
            findings += [finding for finding in (first or second,) if finding]
        if repetition := self._repetition(id):
            findings.append(repetition)
        return findings

    def _repetition(self, id: Id) -> Finding | None:
        words = self.words[id]
        span = self.find_repetition(words)
        if span is None:
            return None
        text = " ".join(words[slice(*span)])
        for reference in self.reference_words[id]:
            if (other := self.find_repetition(reference)) and reference[slice(*other)] == words[slice(*span)]:
                return None
        return Finding(REPETITION, text, text, "", "caption", f"{text!r} is repeated")

    def find_repetition(self, words: Sequence[str]) -> tuple[int, int] | None:
        """Returns (begin, end) of words that repeat those before them; None if there are none. Long texts are searched
        at their beginning."""
        words = words[:_MAX_WORDS]
        count = len(words)
        longest = min(count // 2, _MAX_BLOCK)
        for length in range(longest, 0, -1):
            for begin in range(count - 2 * length + 1):
                block = words[begin : begin + length]
                if block == words[begin + length : begin + 2 * length] and self._counts(words, begin, length):
                    return begin + length, begin + 2 * length
        for length in range(longest, 1, -1):
            for begin in range(count - 2 * length):
                second = begin + length + 1
                block = words[begin : begin + length]
                connected = not self._english or words[second - 1] in _CONNECTORS
                ends = length > 3 or self._ends(words, second + length)
                if block == words[second : second + length] and connected and ends:
                    return second - 1, second + length
        for length in range(longest, 4, -1):
            first: dict[tuple[str, ...], int] = {}
            for begin in range(count - length + 1):
                if first.setdefault(tuple(words[begin : begin + length]), begin) <= begin - length:
                    return begin, begin + length
        return None

    def _counts(self, words: Sequence[str], begin: int, length: int) -> bool:
        """Whether a block that follows itself is a repetition."""
        if length > 1:
            # `a star and a green star and a green circle` repeats nothing.
            block = words[begin : begin + length]
            is_list = "and" in block and self._is_noun(block[0]) and block[-1] in _ATTRIBUTES
            return not (self._english and is_list)
        word = words[begin]
        if word.isdecimal() or (self._english and word in _DOUBLED):
            return False
        thrice = list(words[begin : begin + 3]) == [word] * 3
        return thrice or primary_language(self.lang) not in _REDUPLICATING

    def _ends(self, words: Sequence[str], position: int) -> bool:
        """Whether a phrase ends before `position`."""
        if position >= len(words):
            return True
        return self._english and words[position] in _FUNCTION_WORDS

    def without_repetition(self, id: Id) -> str:
        """Returns a caption without the words that are repeated."""
        words = list(self.words[id])
        for _ in range(_MAX_REPETITIONS):
            if (span := self.find_repetition(words)) is None:
                break
            del words[slice(*span)]
        return " ".join(words)

    def _truncation(self, id: Id, parsed: ParsedCaption | None) -> Finding | None:
        text, words = self.captions[id].strip(), self.words[id]
        if not words:
            return Finding(TRUNCATION, "", "", "", "caption", "the caption is empty")
        last, reason, closed = words[-1], "", bool(_SENTENCE_END.search(text))
        ends = {reference[-1] for reference in self.reference_words[id] if reference}
        if _OPEN_END.search(text):
            reason = f"it ends with {text[-1]!r}"
        elif last in ends and (closed or not self._have_periods):
            return None
        elif self._english and (cut := self._unfinished(words, parsed, closed)):
            reason = cut
        elif whole := self._completed(id, last):
            reason = f"{last!r} is the beginning of {whole!r}"
        elif not closed and self._never_ends(last):
            reason = f"none of {self._occurrences[last]} references with {last!r} ends with it"
            return Finding(TRUNCATION, last, last, "", "references", reason)
        elif self._have_periods and not closed:
            reason = "it lacks the period that the other captions have"
            return Finding(TRUNCATION, last, last, "", "references", reason)
        return Finding(TRUNCATION, last, last, "", "caption", reason) if reason else None

    def _unfinished(self, words: list[str], parsed: ParsedCaption | None, closed: bool) -> str:
        """Returns what the end of an English caption lacks; after a period, only what no sentence can lack."""
        phrases = _NEVER_LAST if closed else _NOT_LAST
        if any(tuple(words[-len(phrase) :]) == phrase for phrase in phrases):
            return f"nothing follows {words[-1]!r}"
        if words[-1] in ("left", "right") and len(words) > 1:  # of what? But `a man turns left`
            before = self.lexicon.readings.get((words[-2],)) if self.lexicon else None
            if before and before.verb is None and (before.concept or before.function == "copula"):
                return f"nothing follows {' '.join(words[-2:])!r}"
        if parsed and parsed.open_phrase and (not closed or parsed.open_phrase.split()[-1] in _ATTRIBUTES):
            return f"{parsed.open_phrase!r} lacks a noun"
        return ""

    def _never_ends(self, word: str) -> bool:
        """Whether many references have a word, and none ends with it. English nouns may always end a caption."""
        return self._occurrences[word] >= _MIN_OCCURRENCES and not self._last[word] and not self._is_noun(word)

    def _is_noun(self, word: str) -> bool:
        reading = self.lexicon.readings.get((word,)) if self.lexicon else None
        return bool(reading and reading.concept and reading.verb is None)

    def _completed(self, id: Id, word: str) -> str:
        """Returns a word of the references of an item that an unknown word is the beginning of."""
        if self._occurrences[word] or word in self._known or word.isdecimal():
            return ""
        words = (other for reference in self.reference_words[id] for other in reference)
        return next((other for other in words if other.startswith(word) and other != word), "")

    def _generic(self, id: Id) -> Finding | None:
        words = self.words[id]
        text = " ".join(words)
        if not words:
            return None
        # `people standing together` is fine where people say so.
        said_by_people = any(set(words) <= set(reference) for reference in self.reference_words[id])
        unspecific = all(word in _UNSPECIFIC or word in _FUNCTION_WORDS for word in words)
        if self._english and unspecific and not said_by_people:
            return Finding(GENERIC, text, text, "", "caption", "no word says anything about this picture")
        same = self._ids_of_caption[tuple(words)]
        if len(same) >= max(_MIN_REPEATED, _MIN_REPEATED_SHARE * len(self.words)):
            return Finding(GENERIC, text, text, "", "caption", f"{len(same)} pictures have this caption")
        if len(self.references) >= 20 and all(word in self._items_of_word for word in words):
            fitting = set.intersection(*(self._items_of_word[word] for word in set(words))) - {id}
            share = len(fitting) / (len(self.references) - 1)
            if share >= _MAX_FIT:
                reason = f"the references of {share:.0%} of the other pictures have all its words"
                return Finding(GENERIC, text, text, "", "references", reason)
        return None

    def _language(self, id: Id) -> Finding | None:
        """Another language: recognized, and most words are in no reference of any picture."""
        words = [word for word in self.words[id] if not word.isdecimal()]
        unknown = [word for word in words if not self._occurrences[word] and word not in self._known]
        if not words or 2 * len(unknown) <= len(words) or not languages.is_recognized(self.lang):
            return None
        recognized, confidence = languages.recognize(self.captions[id])
        if recognized in languages.varieties(self.lang) or recognized == "zxx":
            return None
        # Few words say little, unless hardly any of them is one of the language.
        foreign = self._letters.isdisjoint("".join(unknown))
        strange = len(unknown) >= _STRANGE * len(words) and (len(words) > 2 or foreign)
        likely = languages.likelihood(self.captions[id], self.lang) > _MAX_LIKELIHOOD
        if confidence < languages.MIN_CONFIDENCE and not (strange and not likely):
            return None
        reason = f"recognized as {recognized} (confidence {confidence:.2f}); expected {self.lang}"
        return Finding(LANGUAGE, self.captions[id], recognized, self.lang, "caption", reason)


def _share_with_period(texts: Sequence[str]) -> float:
    return sum(bool(_SENTENCE_END.search(text)) for text in texts) / max(len(texts), 1)
