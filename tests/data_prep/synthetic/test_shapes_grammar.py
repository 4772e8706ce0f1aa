"""Sentences about scenes: grammatical, true, and worth less when they are false."""

import dataclasses

import numpy as np
import pytest

from capjax.metrics import score
from data_prep.synthetic.shapes.grammar import LANGUAGES, PARAPHRASES, captions, is_true
from data_prep.synthetic.shapes.scene import COLORS, PLACES, SHAPES, Message, Scene, Thing, make_scene

KINDS = ("at", "left", "above", "touch", "row")
SCENES = [make_scene(0, i) for i in range(300)]
ALL = pytest.mark.parametrize("lang", LANGUAGES)


def thing(color: str, shape: str, size: float = 0.25) -> Thing:
    return Thing(shape, color, 0.5, 0.5, size)


def say(lang: str, message: Message) -> list[str]:
    return LANGUAGES[lang].sentences(message)


def exchanged(scene: Scene) -> Scene:
    """The same with the first and the last thing in each other's place."""
    return dataclasses.replace(scene, message=dataclasses.replace(scene.message, things=scene.things[::-1]))


@ALL
def test_every_kind_has_ten_patterns_that_fill_without_leftovers(lang):
    language = LANGUAGES[lang]
    assert set(language.patterns) == set(KINDS)
    assert (set(language.nouns), set(language.adjectives)) == (set(SHAPES), set(COLORS))
    assert set(language.places) == set(PLACES)
    assert PARAPHRASES == 10
    for scene in SCENES:
        sentences = language.sentences(scene.message)
        assert len(set(sentences)) == 10
        for text in sentences:
            assert not set(text) & set("{}/"), text
            assert text.endswith("。" if lang == "zh" else "."), text
            assert "  " not in text
            assert text == text.strip()
            assert text[0] == text[0].upper()


@ALL
def test_things_that_differ_are_told_apart(lang):
    said = {
        say(lang, Message("at", (thing(color, shape, size),), place))[0]
        for color in COLORS for shape in SHAPES for size in (0.2, 0.4) for place in PLACES
    }  # fmt: skip
    assert len(said) == len(COLORS) * len(SHAPES) * 2 * len(PLACES)


STAR_AND_CIRCLE = (thing("green", "star"), thing("black", "circle"))
DIAMOND_AND_SQUARE = (thing("purple", "diamond"), thing("yellow", "square"))


@pytest.mark.parametrize(
    ("lang", "message", "sentence"),
    [
        ("en", Message("left", STAR_AND_CIRCLE), "A green star left of a black circle."),
        ("en", Message("left", STAR_AND_CIRCLE), "We see a green star with a black circle to its right."),
        ("en", Message("at", (thing("red", "circle", 0.4),), "middle"), "In the middle there is a large red circle."),
        ("de", Message("left", STAR_AND_CIRCLE), "Ein grüner Stern ist links von einem schwarzen Kreis."),
        ("de", Message("left", STAR_AND_CIRCLE), "Man sieht einen grünen Stern links von einem schwarzen Kreis."),
        ("de", Message("above", DIAMOND_AND_SQUARE), "Eine violette Raute mit einem gelben Quadrat darunter."),
        ("de", Message("above", DIAMOND_AND_SQUARE[::-1]), "Ein gelbes Quadrat über einer violetten Raute."),
        ("de", Message("touch", STAR_AND_CIRCLE), "Ein grüner Stern stößt an einen schwarzen Kreis."),
        ("de", Message("touch", DIAMOND_AND_SQUARE), "Ein gelbes Quadrat berührt eine violette Raute."),
        ("de", Message("at", (thing("blue", "diamond"),), "top"), "Oben ist eine kleine blaue Raute zu sehen."),
        ("de", Message("row", (*STAR_AND_CIRCLE, thing("red", "diamond"))),
         "Das Bild zeigt von links nach rechts einen grünen Stern, einen schwarzen Kreis und eine rote Raute."),
        ("fr", Message("left", STAR_AND_CIRCLE), "Une étoile verte est à gauche d'un cercle noir."),
        ("fr", Message("left", STAR_AND_CIRCLE[::-1]), "Il y a un cercle noir avec une étoile verte sur sa droite."),
        ("fr", Message("above", DIAMOND_AND_SQUARE), "Un losange violet au-dessus d'un carré jaune."),
        ("fr", Message("at", (thing("purple", "star"),), "left"), "À gauche, il y a une petite étoile violette."),
        ("es", Message("left", STAR_AND_CIRCLE), "Una estrella verde está a la izquierda de un círculo negro."),
        ("es", Message("above", DIAMOND_AND_SQUARE), "Hay un rombo morado con un cuadrado amarillo debajo."),
        ("es", Message("at", (thing("black", "star"),), "right"), "A la derecha hay una estrella negra pequeña."),
        ("es", Message("touch", STAR_AND_CIRCLE), "Una estrella verde y un círculo negro se tocan."),
        ("zh", Message("left", STAR_AND_CIRCLE), "绿色星星在黑色圆形左边。"),
        ("zh", Message("at", (thing("black", "star"),), "top"), "上方有一颗黑色小星星。"),
        ("zh", Message("at", (thing("red", "square", 0.4),), "middle"), "一个红色大方块在中间。"),
    ],
)  # fmt: skip
def test_agreement_and_case(lang, message, sentence):
    assert sentence in say(lang, message)


@ALL
def test_captions_are_true_and_chosen_by_the_seed(lang):
    for scene in SCENES:
        drawn = captions(scene, lang, 5)
        assert len(set(drawn)) == 5
        assert drawn == captions(scene, lang, 5) == captions(scene, lang, 10)[:5]
        assert all(is_true(scene, lang, text) for text in drawn)
    assert len({tuple(captions(Scene(SCENES[0].message, (0, i)), lang, 5)) for i in range(20)}) > 15


@ALL
def test_things_exchanged_are_false_but_of_touching(lang):
    for scene in SCENES:
        for text in captions(exchanged(scene), lang, 10):
            assert is_true(scene, lang, text) == (scene.message.kind in ("at", "touch")), text


@ALL
def test_another_color_shape_place_or_kind_is_false(lang):
    for scene in SCENES[:100]:
        first, *others = scene.things
        color = next(name for name in COLORS if name not in {thing.color for thing in scene.things})
        wrong = [dataclasses.replace(scene.message, things=(dataclasses.replace(first, color=color), *others))]
        if scene.message.kind == "at":
            wrong += [dataclasses.replace(scene.message, place=p) for p in PLACES if p != scene.message.place]
        if len(others) == 1:
            wrong += [dataclasses.replace(scene.message, kind=k) for k in KINDS[1:4] if k != scene.message.kind]
        assert not any(is_true(scene, lang, text) for message in wrong for text in say(lang, message))


def test_truth_does_not_hang_on_case_space_or_the_period():
    scene = Scene(Message("left", STAR_AND_CIRCLE), (0, 0))
    for text in ("a green star LEFT of  a black circle", " A green star left of a black circle . "):
        assert is_true(scene, "en", text)
    for text in ("", ".", "a green star", "a green star left of a black circle.."):
        assert not is_true(scene, "en", text)
    assert is_true(scene, "zh", "绿色星星在黑色圆形左边")


def test_an_unknown_language_or_too_many_captions_are_refused():
    with pytest.raises(ValueError, match="no grammar for 'xx'; available: en, de"):
        captions(SCENES[0], "xx", 5)
    with pytest.raises(ValueError, match="no grammar for 'xx'"):
        is_true(SCENES[0], "xx", "")
    with pytest.raises(ValueError, match="11 paraphrases requested; there are 10"):
        captions(SCENES[0], "en", 11)


@ALL
def test_false_captions_score_clearly_below_true_ones(lang):
    """A caption of each scene against the others, and the same with the things exchanged."""
    true_captions = [captions(scene, lang, 5) for scene in SCENES]
    false = [captions(exchanged(scene), lang, 5) for scene in SCENES]
    ordered = np.array([scene.message.kind in ("left", "above", "row") for scene in SCENES])

    def cider(sentences):
        references = {i: texts[1:] for i, texts in enumerate(true_captions)}
        predictions = {i: texts[0] for i, texts in enumerate(sentences)}
        return np.array(score(predictions, references, lang=lang).items["CIDEr-D"])[ordered].mean()

    assert cider(false) < 0.78 * cider(true_captions)
