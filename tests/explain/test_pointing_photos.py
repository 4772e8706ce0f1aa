"""The pointing game on photos (tests/benchmarks/measure_pointing.py): which nouns count, and what a hit is."""

import numpy as np
import pytest

from capjax.analyze.labels import LabeledObject
from capjax.explain.explanation import Explanation, Geometry, HeatMaps, Word
from capjax.metrics.chair import Lexicon
from tests.benchmarks.measure_pointing import covered, hits, named_boxes, summarize

LEFT, RIGHT = (0.0, 0.0, 0.25, 1.0), (0.75, 0.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def lexicon():
    return Lexicon()


def test_boxes_cover_what_lies_in_any_of_them():
    assert covered([LEFT]) == pytest.approx(0.25, abs=0.01)
    assert covered([LEFT, RIGHT, LEFT]) == pytest.approx(0.5, abs=0.01)
    assert covered([(0.2, 0.2, 0.8, 0.8), (0.5, 0.5, 1.0, 1.0)]) == pytest.approx(0.36 + 0.25 - 0.09, abs=0.01)


def test_nouns_count_by_their_last_word_where_their_category_has_boxes(lexicon):
    objects = [LabeledObject("dog", LEFT), LabeledObject("dog", RIGHT), LabeledObject("cat", LEFT, 0.4)]
    words = ["A", "Golden", "Retriever", "eats", "a", "hot", "dog", "near", "a", "cat", "and", "another", "dog"]
    assert list(named_boxes(words, objects, lexicon)) == [(2, [LEFT, RIGHT]), (12, [LEFT, RIGHT])]


@pytest.mark.parametrize(("column", "hit"), [(0, 1.0), (1, 0.0), (2, 0.0), (3, 1.0)])
def test_the_maximum_in_any_box_of_the_category_is_a_hit(lexicon, column, hit):
    values = np.zeros((3, 1, 2, 4), np.float32)
    values[1, 0, 0, column] = 1
    maps = {"attention": HeatMaps(values, np.zeros(1, np.float32), Geometry.whole(80, 40))}
    words = (Word("two", 0, 3, (0, 1)), Word("dogs", 4, 8, (1, 2)))
    explanation = Explanation("photo", "two dogs", "en", words=words, maps=maps)
    objects = [LabeledObject("dog", LEFT), LabeledObject("dog", RIGHT)]
    (row,) = hits(explanation, objects, lexicon)
    assert row == {"center": 0.0, "attention": hit, "random": pytest.approx(0.5, abs=0.01)}


def test_shares_are_of_nouns_and_intervals_of_differences_of_photos():
    rows = [[{"center": 0.0, "a": 1.0}] * 3, [{"center": 1.0, "a": 1.0}]]
    figures = summarize(rows * 20)
    assert figures["a"][:2] == (1.0, 0.75) and figures["center"] == (0.25, 0.0, 0.0, 0.0)
    assert figures["a"][2] < 0.75 < figures["a"][3]
