"""Tokens of a caption to its words."""

import codecs
from collections.abc import Sequence

from capjax.explain.explanation import Word
from capjax.metrics.languages import canonical
from capjax.metrics.tokenize import word_spans
from capjax.text.vocabulary import EOS, Vocabulary, normalize


def caption_words(vocabulary: Vocabulary, tokens: Sequence[int], lang: str) -> tuple[str, tuple[Word, ...]]:
    """Returns the text of tokens, and its words by ICU's boundaries; punctuation belongs to no word.

    Of tokens that spell a part of two words, both words have it.

    Args:
      tokens: of a caption, with or without <eos>.
      lang: language of the text, BCP-47.
    """
    text = vocabulary.decode(tokens)
    spans = token_spans(vocabulary, tokens)
    words = []
    for start, end in word_spans(text, canonical(lang)):
        inside = [number for number, (first, last) in enumerate(spans) if first < end and last > start]
        if inside:
            words.append(Word(text[start:end], start, end, (inside[0], inside[-1] + 1)))
    return text, tuple(words)


def token_spans(vocabulary: Vocabulary, tokens: Sequence[int]) -> list[tuple[int, int]]:
    """Returns the characters of `vocabulary.decode(tokens)` that each token spells.

    A token that spells a part of a character, as bytes do, has that character. A token of white space has the
    characters of the token after it, since SentencePiece writes the space before a word. Reserved tokens have none.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    spelled, spans, blank = "", [], {*vocabulary.blank_ids}
    for token in map(int, tokens):
        if token == EOS:
            break
        start = _length(vocabulary, spelled)
        spelled += decoder.decode(vocabulary.spellings[token])
        # Of a character that is not complete yet, all its tokens have the one position.
        incomplete = bool(decoder.getstate()[0])
        spans.append((start, _length(vocabulary, spelled + "\ufffd" * incomplete)))
    following = None
    for number in reversed(range(len(spans))):
        if int(tokens[number]) in blank and spans[number][0] == spans[number][1] and following is not None:
            spans[number] = following
        following = spans[number]
    return spans + [(0, 0)] * (len(tokens) - len(spans))


def _length(vocabulary: Vocabulary, spelled: str) -> int:
    """The number of characters of a text after its normalization."""
    return len(normalize(spelled, lowercase=vocabulary.lowercase))
