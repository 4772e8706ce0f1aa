"""Bias of a set of captions: planted ones are found, and hardly anything in sets without bias."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from capjax.analyze.dataset_bias import find_bias, find_language_bias, holm, stratified_odds
from capjax.analyze.terms import terms_of
from data_prep.synthetic.shapes.grammar import captions
from data_prep.synthetic.shapes.scene import make_scene

PEOPLE = ("man", "woman", "boy", "girl")
ACTIONS = {
    "run": "running", "sit": "sitting", "swim": "swimming", "jump": "jumping", "eat": "eating", "stand": "standing",
    "climb": "climbing", "read": "reading", "dance": "dancing", "sing": "singing",
}  # fmt: skip
COLORS = ("red", "blue", "green", "black", "white", "yellow")
OBJECTS = (
    "dog", "cat", "horse", "car", "bus", "bench", "kite", "pizza", "umbrella", "bicycle", "laptop", "surfboard", "cake",
    "chair", "clock", "bird", "sheep", "train", "boat", "backpack",
)  # fmt: skip
TOGETHER = {
    "surfboard": "boy", "cake": "girl", "laptop": "man", "umbrella": "woman", "car": "red", "bus": "yellow",
    "bird": "blue", "sheep": "white", "cat": "black", "horse": "jump", "boat": "swim", "bench": "sit", "pizza": "eat",
    "chair": "sing",
}  # fmt: skip
OFTEN = {"dog": 0.2, "clock": 0.2, "kite": 0.2, "run": 0.3, "read": 0.3}


def unbiased(rng):
    return [
        {"people": rng.choice(PEOPLE), "action": rng.choice(list(ACTIONS)), "color": rng.choice(COLORS),
         "object": rng.choice(OBJECTS), "other": rng.choice(OBJECTS)}
        for _ in range(2000)
    ]  # fmt: skip


def biased(rng):
    """2,000 items with 20 biases: 6 over-represented words, and 14 pairs that occur together in nine of ten cases."""
    items = unbiased(rng)
    families = {**dict.fromkeys(PEOPLE, "people"), **dict.fromkeys(ACTIONS, "action"), **dict.fromkeys(COLORS, "color")}
    for item in items:
        for word, share in OFTEN.items():
            if rng.random() < share:
                item[families.get(word, "object")] = word
        if item["people"] == "woman" and rng.random() < 0.5:
            item["people"] = "man"
        for name in (item["other"], item["object"]):
            partner = TOGETHER.get(name)
            if partner and rng.random() < 0.9:
                item[families[partner]] = partner
    return items


def find(parse, items):
    texts = (
        f"A {i['people']} is {ACTIONS[i['action']]} near a {i['color']} {i['object']} and a {i['other']}."
        for i in items
    )
    return find_bias({number: terms_of([parse(text)]) for number, text in enumerate(texts)})


@pytest.mark.parametrize("seed", range(3))
def test_20_planted_biases_are_found_with_at_most_one_false_alarm(parse, seed):
    reported = [frozenset(name for _, name in bias.terms) for bias in find(parse, biased(random.Random(seed)))]
    planted = {frozenset([word]) for word in (*OFTEN, "man")} | {frozenset(pair) for pair in TOGETHER.items()}
    assert len(planted) == 20
    assert planted <= set(reported)
    assert len(reported) <= 21


@pytest.mark.parametrize("seed", range(3))
def test_a_set_without_bias_has_at_most_one(parse, seed):
    assert len(find(parse, unbiased(random.Random(seed)))) <= 1


def test_drawn_scenes_have_no_bias(parse):
    texts = ([parse(text) for text in captions(make_scene(0, index), "en", 3)] for index in range(1000))
    assert len(find_bias({number: terms_of(own) for number, own in enumerate(texts)})) <= 1


def test_of_frequencies_as_uneven_as_those_of_words_only_the_first_stand_out():
    """Zipf's law: the second word is half as frequent as the first, the tenth a tenth."""
    rng = np.random.default_rng(0)
    terms = {
        n: {("object", f"thing{rank}") for rank in range(1, 40) if rng.random() < 0.6 / rank}
        | {("object", "x")} - {("object", "x")}
        for n in range(2000)
    }
    assert {bias.name for bias in find_bias(terms)} <= {"thing1", "thing2"}


def test_what_follows_from_a_bias_is_no_second_one():
    """Dogs are with balls, and balls with grass; dogs are with grass for that alone."""
    rng = random.Random(0)

    def item():
        dog = rng.random() < 0.3
        ball = rng.random() < (0.9 if dog else 0.1)
        grass = rng.random() < (0.9 if ball else 0.1)
        names = {"dog": dog, "ball": ball, "grass": grass, "tree": rng.random() < 0.3}
        return {("object", name) for name, is_present in names.items() if is_present}

    biases = find_bias({n: item() for n in range(2000)})
    assert {frozenset(name for _, name in bias.terms) for bias in biases} == {
        frozenset(("dog", "ball")), frozenset(("ball", "grass")),
    }  # fmt: skip


def test_terms_that_are_never_together_are_apart():
    rng = random.Random(0)
    terms = {}
    for n in range(2000):
        own = {("people", rng.choice(PEOPLE)), ("object", rng.choice(OBJECTS[:5]))}
        if own == {("people", "woman"), ("object", "car")}:
            own = {("people", "woman")}
        terms[n] = own
    assert [(b.kind, set(b.terms)) for b in find_bias(terms)] == [("apart", {("people", "woman"), ("object", "car")})]


def test_a_language_with_far_more_captions_than_the_others_is_over_represented():
    assert [b.name for b in find_language_bias({"en": 5000, "de": 1000, "fr": 1100})] == ["en"]
    assert not find_language_bias({"en": 1000, "de": 1000, "fr": 1100})
    assert not find_language_bias({"en": 1000})


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holms_p_values_are_those_of_its_definition(p_values):
    expected = [
        min(1.0, max((len(p_values) - sum(q < r for q in p_values)) * r for r in p_values if r <= p)) for p in p_values
    ]
    corrected = holm(np.array(p_values))
    if len(set(p_values)) == len(p_values):
        assert corrected == pytest.approx(expected)
    assert (corrected >= np.array(p_values) - 1e-12).all()


@given(st.integers(0, 2**32 - 1))
def test_the_odds_ratio_of_one_stratum_is_that_of_the_table(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, 200)) < 0.4
    ratio, p_value = stratified_odds(a, b, np.zeros(200))
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    assert ratio == pytest.approx(table[0][0] * table[1][1] / (table[0][1] * table[1][0]))
    assert p_value == pytest.approx(stats.chi2_contingency(table)[1], abs=0.02)
