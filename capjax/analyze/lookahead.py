"""Looks at the words that follow in a caption, to tell nouns from verbs and the heads of compounds."""

from capjax.analyze.lexicon import PUNCTUATION, Lexicon, Reading


class Lookahead:
    """The words of a caption, read with a lexicon.

    Args:
      words: words and punctuation.
    """

    def __init__(self, lexicon: Lexicon, words: list[str]):
        self._lexicon, self._words = lexicon, words

    def is_before_noun(self, start: int) -> bool:
        """Whether the word at `start` and the next belong to one noun phrase: `the left shoe`."""
        reading = self._lexicon.readings.get((self._words[start],))
        following = self._lexicon.readings.get(tuple(self._words[start + 1 : start + 2]))
        return bool(reading and following and following.concept and following.general != "-" and not reading.relation)

    def may_continue(self, end: int) -> bool:
        """Whether the next word continues a noun phrase."""
        _, following = self._lexicon.match(self._words, end) if end < len(self._words) else (0, Reading(function="end"))
        if following is None:
            return not self._words[end].endswith(("ing", "ed", "ly")) and self._words[end] not in PUNCTUATION
        if following.function or following.relation or following.converse or following.direction:
            return False
        return bool(following.concept) and following.verb is None or bool(following.attribute)

    def plural_follows(self, end: int) -> bool:
        """Whether the next word is a plural."""
        _, following = self._lexicon.match(self._words, end) if end < len(self._words) else (0, None)
        return bool(following and following.plural and following.concept)

    def verb_follows(self, end: int) -> bool:
        """Whether the next word is or may be a verb."""
        _, following = self._lexicon.match(self._words, end) if end < len(self._words) else (0, None)
        return bool(following and (following.verb is not None or following.function == "copula"))

    def compound_continues(self, end: int, is_plural: bool) -> bool:
        """Whether a noun is followed by the head of its compound. A new word after a plural is a verb."""
        if end >= len(self._words) or self._words[end] in PUNCTUATION or self._words[end] == "'s":
            return False
        _, following = self._lexicon.match(self._words, end)
        if following is None:
            return not is_plural and not self._words[end].endswith(("ing", "ed", "ly", "s"))
        if following.function or following.relation or following.converse or following.direction:
            return False
        if following.plural and self.is_animate(self._words[end - 1]):  # `a dog steps`
            return False
        return bool(following.concept) and following.verb is None and not following.attribute and not following.modifier

    def is_animate(self, word: str) -> bool:
        """Whether a word names people or animals."""
        reading = self._lexicon.readings.get((word,))
        return bool(reading and self._lexicon.group(reading.concept) in ("person", "animal"))
