"""Amplification by its definition, and leakage that is planted."""

import random

import numpy as np
import pytest

from capjax.analyze.model_bias import AmplificationMeasure, LeakageMeasure
from capjax.analyze.terms import gender, without_gender

DATA = {"cook": (30, 70), "drive": (60, 40), "read": (50, 50)}  # males, females


def items(shares, rng, number=400):
    """(terms, genders) of captions in which actions have these numbers of males in 100."""
    terms, genders = {}, {}
    for n in range(number):
        action = list(shares)[n % len(shares)]
        males, females = shares[action]
        terms[n] = {("action", action)}
        genders[n] = "male" if rng.random() < males / (males + females) else "female"
    return terms, genders


def by_definition(data, said):
    """Zhao et al. 2017, section 3: the mean over pairs of output and gender with b* > 1 / 2 of b - b*."""

    def share(pair, action, name):
        terms, genders = pair
        own = [genders[n] for n in terms if ("action", action) in terms[n]]
        return own.count(name) / len(own)

    pairs = [(a, g) for a in DATA for g in ("male", "female") if share(data, a, g) > 0.5]
    return sum(share(said, a, g) - share(data, a, g) for a, g in pairs) / len(pairs)


def test_amplification_is_that_of_zhao_et_al():
    rng = random.Random(0)
    data = items(DATA, rng, 3000)
    said = items({"cook": (15, 85), "drive": (80, 20), "read": (50, 50)}, rng)
    result = AmplificationMeasure(*data).measure(*said)
    assert result.value == pytest.approx(by_definition(data, said))
    assert result.interval.low < result.value < result.interval.high
    assert result.value > 0.05


def test_captions_like_the_data_amplify_nothing():
    rng = random.Random(1)
    data = items(DATA, rng, 3000)
    measure = AmplificationMeasure(*data)
    same, more = items(DATA, rng, 3000), items({"cook": (5, 95), "drive": (95, 5), "read": (50, 50)}, rng, 3000)
    result = measure.measure(*same)
    assert abs(result.value) < 0.04
    compared = measure.compare(more, same)
    assert compared.p_value < 0.01
    assert compared.difference == pytest.approx(measure.measure(*more).value - result.value)


def test_without_people_there_is_a_reason_instead_of_a_figure():
    measure = AmplificationMeasure({1: {("object", "dog")}}, {1: ""})
    assert "no object or action has 10 captions" in measure.measure({1: {("object", "dog")}}, {1: ""}).problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a man runs", "male"), ("two girls", "female"), ("she runs", "female"), ("a man and a woman", ""), ("a dog", "")],
)
def test_gender_is_that_of_words_for_people(text, expected):
    assert gender(text.split()) == expected


def test_words_for_gender_are_masked():
    assert without_gender("The woman holds her dog, Mandy.") == "the _gender_ holds _gender_ dog, mandy."


def leaking(rng, share, number=400):
    """Captions in which, in this share, the color tells the gender."""
    captions, genders = {}, {}
    for n in range(number):
        name = ("man", "woman")[n % 2]
        telling = rng.random() < share
        color = {"man": "blue", "woman": "pink"}[name] if telling else rng.choice(("blue", "pink"))
        captions[n] = f"a {name} in a {color} shirt with a {rng.choice(('dog', 'cat', 'hat', 'cup'))}"
        genders[n] = name
    return captions, genders


def test_leakage_beyond_that_of_people_is_found():
    rng = random.Random(0)
    people, genders = leaking(rng, 0.0)
    said, _ = leaking(rng, 0.9)
    references = {n: [text] for n, text in people.items()}
    words = {n: text.split() for n, text in people.items()}
    measure = LeakageMeasure(references, words)
    result = measure.measure(said)
    assert result.model > 0.8
    assert result.people < 0.45
    assert result.lic.p_value < 0.01 and result.lic.low > 0.2
    same = measure.measure(people)
    assert same.lic.difference == pytest.approx(0, abs=1e-9)
    assert same.items == 400


def test_systems_are_compared_by_the_leakage_of_each_on_the_same_pictures():
    rng = random.Random(0)
    people, genders = leaking(rng, 0.0)
    (more, _), (less, _) = leaking(rng, 0.9), leaking(rng, 0.3)
    measure = LeakageMeasure({n: [text] for n, text in people.items()}, {n: t.split() for n, t in people.items()})
    compared = measure.compare(more, less)
    lic = [measure.measure(system).lic.difference for system in (more, less)]
    assert compared.difference == pytest.approx(lic[0] - lic[1])
    assert compared.low < compared.difference < compared.high and compared.p_value < 0.01
    assert measure.compare(less, more).difference == pytest.approx(-compared.difference)
    assert measure.compare(more, more).p_value == 1


def test_too_few_people_are_a_reason_instead_of_a_figure():
    captions = dict.fromkeys(range(50), "a man")
    measure = LeakageMeasure({n: ["a man"] for n in captions}, {n: ["man"] for n in captions})
    result = measure.measure(captions)
    assert measure.compare(captions, captions) is None
    assert result.lic is None
    assert "50 of males and 0 of females" in result.problem
    assert np.isfinite(result.model)
