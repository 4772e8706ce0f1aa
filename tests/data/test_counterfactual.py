"""Captions with the words of another group, where the picture does not decide."""

import numpy as np
import pytest

from capjax.data.counterfactual import Counterfactuals
from capjax.text.word_groups import WordGroups

GROUPS = WordGroups.of(
    [["man", "men", "boy", "actor", "he", "his", "him"], ["woman", "women", "girl", "actress", "she", "her", "her"]]
)
NEUTRAL = ("person", "people", "child", "artist", "", "", "")
PAIR, TO_NEUTRAL = Counterfactuals(GROUPS, (), 1.0), Counterfactuals(GROUPS, NEUTRAL, 1.0)


def exchanged(counterfactuals: Counterfactuals, text: str, lang: str = "en") -> str:
    return counterfactuals.draw(text, lang, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A man rides a horse.", "A woman rides a horse."),
        ("Two women and a dog", "Two men and a dog"),
        ("He feeds his dog.", "She feeds her dog."),
        ("A woman says she is here.", "A man says he is here."),
        ("MEN at work, men at home", "WOMEN at work, women at home"),
        ("a man's hat", "a woman's hat"),
        ("The actor waves. An actor bows.", "The actress waves. An actress bows."),
    ],
)
def test_words_are_exchanged_with_capitals(text, expected):
    assert exchanged(PAIR, text) == expected
    if "his" not in text:
        back = exchanged(PAIR, expected)
        assert back == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a man on a boat", "a person on a boat"), ("A boy runs", "A child runs"), ("an actor bows", "an artist bows"),
     ("An actress and an actress", "An artist and an artist")],
)  # fmt: skip
def test_neutral_words_replace_those_of_any_group(text, expected):
    assert exchanged(TO_NEUTRAL, text) == expected


def test_the_article_follows_the_word():
    groups = WordGroups.of([["old"], ["young"]])
    assert (
        exchanged(Counterfactuals(groups, (), 1.0), "An old tree and an old house") == "A young tree and a young house"
    )
    assert exchanged(Counterfactuals(groups, (), 1.0), "a young tree") == "an old tree"


@pytest.mark.parametrize(
    ("counterfactuals", "text"),
    [
        (PAIR, "a woman and her dog"),  # his, or him
        (PAIR, "a man and a woman"),
        (PAIR, "a dog runs"),
        (PAIR, "a man looks at himself"),  # not in the groups
        (TO_NEUTRAL, "a man and his dog"),
        (PAIR, "a mannequin"),
    ],
)
def test_captions_stay_where_grammar_would_not_stay_right(counterfactuals, text):
    assert exchanged(counterfactuals, text) == text


def test_captions_in_other_languages_stay():
    groups = WordGroups.of([["Mann"], ["Frau"]])
    assert exchanged(Counterfactuals(groups, (), 1.0), "Ein Mann läuft", "de") == "Ein Mann läuft"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["a man runs", "a woman runs"], True),
        (["a man runs", "a person runs", "a man jogs"], True),
        (["a man runs", "the man jogs"], False),
        (["a person runs", "somebody jogs"], False),
        (["a man runs"], False),
        (["a man and a woman", "a man", "two people"], False),
    ],
)
def test_a_picture_does_not_decide_where_captions_differ(texts, expected):
    assert PAIR.apply_to([(text, "en") for text in texts]) == expected


def test_the_share_of_captions_is_exchanged():
    half, rng = Counterfactuals(GROUPS, (), 0.3), np.random.default_rng(0)
    drawn = [half.draw("a man runs", "en", rng) for _ in range(2000)]
    assert drawn.count("a woman runs") / 2000 == pytest.approx(0.3, abs=0.04)
    assert set(drawn) == {"a man runs", "a woman runs"}


def test_each_other_group_is_drawn_alike():
    three = Counterfactuals(WordGroups.of([["red"], ["blue"], ["green"]]), (), 1.0)
    rng = np.random.default_rng(0)
    drawn = [three.draw("a red car", "en", rng) for _ in range(1000)]
    assert set(drawn) == {"a blue car", "a green car"}
    assert drawn.count("a blue car") / 1000 == pytest.approx(0.5, abs=0.06)
