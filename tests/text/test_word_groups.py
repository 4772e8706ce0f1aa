"""Groups of words that captions are searched for."""

from hypothesis import given
from hypothesis import strategies as st

from capjax.text.word_groups import WordGroups

GENDERS = WordGroups.of([["man", "boy"], ["woman", "girl"]])
PLACES = WordGroups.of([["living room"], ["Straße", "rue"], ["男人"]])


def test_whole_words_match_in_any_case():
    assert GENDERS.in_text("A Man, and a GIRL.", "en") == {0, 1}
    assert GENDERS.in_text("a woman's hat", "en") == {1}
    assert GENDERS.in_text("a mannequin in a manor, two women", "en") == set()


def test_phrases_match_as_words_in_a_row():
    assert PLACES.in_text("In the living  Room.", "en") == {0}
    assert PLACES.in_text("a room for living", "en") == PLACES.in_text("living, a room of", "en") == set()


def test_words_match_in_languages_with_and_without_spaces():
    assert PLACES.in_text("Auf der STRAßE.", "de") == {1}
    assert PLACES.in_text("两个男人在厨房", "zh") == {2}


def test_captions_that_name_several_groups_or_none_have_no_single_group():
    assert GENDERS.only([("a man", "en"), ("a boy", "en"), ("a person", "en")]) == 0
    assert GENDERS.only([("a man", "en"), ("a girl", "en")]) is None
    assert GENDERS.only([("a person", "en")]) is None
    assert GENDERS.only([]) is None


@given(st.lists(st.sampled_from(["man", "boy", "woman", "girl", "dog", "runs"]), max_size=8))
def test_the_groups_of_a_text_are_those_of_its_words(words):
    expected = {number for number, group in enumerate(GENDERS.groups) if set(group) & set(words)}
    assert GENDERS.in_text(" ".join(words), "en") == expected
