"""The language identifier: which languages it tells apart, and which count as one."""

import pytest

from capjax.text import languages

TEXTS = {
    "en": "a man in a blue shirt is standing on a ladder cleaning a window",
    "de": "ein Mann in einem blauen Hemd steht auf einer Leiter und putzt ein Fenster",
    "fr": "un homme avec une chemise bleue est debout sur une échelle pour nettoyer une fenêtre",
    "zh": "一个穿着蓝色衬衫的男人站在梯子上擦窗户",
}


@pytest.mark.parametrize("lang", TEXTS)
def test_a_caption_is_recognized(lang):
    recognized, confidence = languages.recognize(TEXTS[lang])
    assert recognized in languages.varieties(lang)
    assert confidence >= languages.MIN_CONFIDENCE
    likelihoods = {other: languages.likelihood(TEXTS[lang], other) for other in TEXTS}
    assert max(likelihoods, key=likelihoods.__getitem__) == lang


def test_varieties_are_one_language():
    assert languages.varieties("zh-Hant") == languages.varieties("yue")
    assert languages.varieties("en-US") == {"en"}
    assert languages.is_recognized("nb") and not languages.is_recognized("tlh")
