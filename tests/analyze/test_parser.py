"""What the parser finds in generated captions, against their scenes, and in sentences of people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capjax.analyze.lexicon import Lexicon
from capjax.analyze.parser import Parser
from data_prep.synthetic.shapes.grammar import captions
from data_prep.synthetic.shapes.languages.en import ENGLISH
from data_prep.synthetic.shapes.scene import make_scene

PARSE = Parser(Lexicon.of()).parse


def of_kind(mention, kind):
    return [value for name, value in mention.attributes if name == kind]


@pytest.mark.parametrize("index", range(60))
def test_things_colors_and_relations_of_drawn_scenes_are_found(index):
    scene = make_scene(1, index)
    count = len(ENGLISH.sentences(scene.message))
    truth = {
        "left": ("left", [(0, 1)]), "above": ("above", [(0, 1)]), "touch": ("touch", [(0, 1)]),
        "row": ("left", [(0, 1), (0, 2), (1, 2)]), "at": ("", []),
    }[scene.message.kind]  # fmt: skip
    looks = [(thing.shape, thing.color) for thing in scene.things]
    for text in captions(scene, "en", count):
        parsed = PARSE(text)
        things = [(m.concept, *of_kind(m, "color")) for m in parsed.mentions if not m.general]
        assert sorted(things) == sorted(looks), text
        named = [looks.index((m.concept, *of_kind(m, "color"))) if not m.general else None for m in parsed.mentions]
        relations = {(r.kind, named[r.subject], named[r.object]) for r in parsed.relations}
        relations = {(k, *sorted(pair)) if k == "touch" else (k, *pair) for k, *pair in relations}
        assert relations == {(truth[0], *pair) for pair in truth[1]}, text
        if scene.message.kind == "at":
            assert [d.value for d in parsed.directions] == [scene.message.place], text
            assert of_kind(parsed.mentions[named.index(0)], "size") == ["large" if scene.things[0].large else "small"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Two dogs are running through the grass.", [("run", "dog")]),
        ("A man in a red shirt sits on a bench.", [("sit", "person")]),
        ("A running dog catches a frisbee.", [("run", "dog"), ("catch", "dog")]),
        ("There is a cat that sleeps on a bed.", [("lie", "cat"), ("sleep", "cat")]),
        ("A man riding a horse and a woman walking a dog.", [("ride", "person"), ("walk", "person")]),
        ("A boy plays in the surf.", [("play", "person")]),
        ("A circle changes from red to blue.", [("change color", "circle")]),
        ("The dog is followed by a cat.", []),
    ],
)
def test_actions_have_their_subjects(text, expected):
    parsed = PARSE(text)
    assert [(n, parsed.mentions[a.subject].concept) for a in parsed.actions for n in sorted(a.actions)] == expected


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("a dog", [(1, 1, True)]), ("the dog", [(1, 1, False)]),
        ("two dogs", [(2, 2, True)]), ("3 dogs", [(3, 3, True)]),
        ("dogs", [(2, None, False)]), ("several dogs", [(2, None, False)]), ("a group of dogs", [(2, None, False)]),
        ("a pair of dogs", [(2, 2, True)]), ("a dog and another dog", [(1, 1, True), (1, 1, True)]),
        ("a white and a black dog", [(1, 1, True), (1, 1, True)]), ("a black and white dog", [(1, 1, True)]),
    ],
)  # fmt: skip
def test_numbers_of_things(text, numbers):
    assert [(m.low, m.high, m.exact) for m in PARSE(text).mentions] == numbers


@pytest.mark.parametrize(
    ("text", "concepts"),
    [
        ("a hot dog on a plate", ["hot dog", "plate"]),
        ("a man's hat", ["person", "hat"]),
        ("a tennis player", ["person"]),
        ("a man in swim trunks near a swimming pool", ["person", "swimsuit", "pool"]),
        ("a zorbulator next to a blick", ["zorbulator", "blick"]),
        ("a plate of food", ["food"]),
    ],
)
def test_a_noun_phrase_names_its_head(text, concepts):
    assert [mention.concept for mention in PARSE(text).mentions] == concepts


def test_colors_are_of_the_noun_they_stand_before_and_of_the_subject_they_are_said_of():
    shirt = PARSE("a man in a red shirt and blue jeans")
    assert [(m.concept, *of_kind(m, "color")) for m in shirt.mentions] == [
        ("person",), ("shirt", "red"), ("pants", "blue"),
    ]  # fmt: skip
    assert of_kind(PARSE("the ball is red").mentions[0], "color") == ["red"]
    assert of_kind(PARSE("an orange and an orange ball").mentions[1], "color") == ["orange"]


@pytest.mark.parametrize(
    ("text", "phrase"), [("a circle left of a blue", "a blue"), ("two red", "two red"), ("a dog", "")]
)
def test_a_noun_phrase_without_a_noun_is_open(text, phrase):
    assert PARSE(text).open_phrase == phrase


WORDS = (
    "a",
    "dog",
    "and",
    "of",
    "two",
    "red",
    "left",
    "to",
    "its",
    "'s",
    "is",
    "on",
    ",",
    ".",
    "running",
    "that",
    "the",
)


@given(st.text(max_size=80) | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_any_text_is_parsed(text):
    parsed = PARSE(text)
    numbers = range(len(parsed.mentions))
    assert all(r.subject in numbers and r.object in numbers for r in parsed.relations)
    assert all(d.subject in numbers for d in parsed.directions)
    assert all(a.subject is None or a.subject in numbers for a in parsed.actions)


def test_categories_of_labels_are_nouns_with_their_plurals():
    parse = Parser(Lexicon.of(["warning triangle", "forklift"])).parse
    assert [m.concept for m in parse("two forklifts beside a warning triangle").mentions] == [
        "forklift",
        "warning triangle",
    ]
