"""Tokens of captions to words, in languages with and without spaces."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capjax.explain.words import caption_words, token_spans
from capjax.metrics.tokenize import word_spans, words
from capjax.text.vocabulary import Vocabulary, train

SENTENCES = {
    "en": ["A dog's ball, two dogs.", "The black dog runs over the green grass.", "A small cat."] * 3,
    "zh": ["两只狗在草地上玩耍。", "一个男人在弹吉他。"] * 3,
    "de": ["Ein schwarzer Hund läuft über grünes Gras."] * 3,
}


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(train(SENTENCES, size=450))


def test_words_have_their_tokens_and_punctuation_has_none(vocabulary):
    tokens = vocabulary.encode("A dog's ball, two dogs.")
    text, caption = caption_words(vocabulary, [*tokens, vocabulary.eos_id], "en")
    assert [word.text for word in caption] == ["A", "dog's", "ball", "two", "dogs"]
    for word in caption:
        first, end = word.tokens
        assert vocabulary.decode(tokens[first:end]).strip() == word.text
        assert text[word.start : word.end] == word.text


def test_chinese_words_are_those_of_icu(vocabulary):
    text = "两只狗在草地上玩耍。"
    _, caption = caption_words(vocabulary, vocabulary.encode(text), "zh")
    assert [word.text for word in caption] == words(text, "zh")


def test_a_character_spelled_in_bytes_has_all_its_tokens(vocabulary):
    tokens = vocabulary.encode("dog 龘 runs")
    _, caption = caption_words(vocabulary, tokens, "en")
    word = caption[1]
    assert word.text == "龘"
    first, end = word.tokens
    assert end - first >= 3
    assert vocabulary.decode(tokens[first:end]) == "龘"


def test_tokens_that_are_no_text_belong_to_no_word():
    vocabulary = Vocabulary(train(SENTENCES, size=480, time_tokens=10))
    tokens = [vocabulary.time_id(1), vocabulary.time_id(5), *vocabulary.encode("A dog.")]
    _, caption = caption_words(vocabulary, tokens, "en")
    assert [word.text for word in caption] == ["A", "dog"]
    assert caption[0].tokens[0] >= 2


@given(st.text(max_size=30))
@settings(max_examples=150, deadline=None)
def test_every_character_of_a_word_is_spelled_by_its_tokens(vocabulary, text):
    tokens = vocabulary.encode(text)
    decoded, caption = caption_words(vocabulary, tokens, "en")
    spans = token_spans(vocabulary, tokens)
    assert len(spans) == len(tokens)
    assert [decoded[word.start : word.end] for word in caption] == [word.text for word in caption]
    assert [(word.start, word.end) for word in caption] == word_spans(decoded, "en")
    for word in caption:
        covered = {i for start, end in spans[slice(*word.tokens)] for i in range(start, end)}
        assert covered >= set(range(word.start, word.end))


@given(st.lists(st.integers(0, 440), max_size=12))
@settings(max_examples=150, deadline=None)
def test_any_tokens_have_spans_within_their_text(vocabulary, tokens):
    tokens = [token for token in tokens if token < vocabulary.size]
    decoded, caption = caption_words(vocabulary, tokens, "zh")
    assert all(0 <= word.start < word.end <= len(decoded) for word in caption)
    assert all(0 <= first < end <= len(tokens) for first, end in (word.tokens for word in caption))
