"""Words of many languages."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capjax.metrics import ptb
from capjax.metrics.tokenize import tokenizer_for, tokenizer_name, words


@pytest.mark.parametrize(
    ("lang", "text", "expected"),
    [
        ("de", "Zwei Kinder spielen am Strand-Café, 3,5 m weit!", "zwei kinder spielen am strand café 3,5 m weit"),
        ("fr", "Aujourd'hui, l'homme rit.", "aujourd'hui l'homme rit"),
        ("ar", "طفلان يلعبان على الشاطئ، وكلب.", "طفلان يلعبان على الشاطئ وكلب"),
        ("th", "เด็กสองคนกำลังเล่นอยู่บนชายหาด", "เด็ก สอง คน กำลัง เล่น อยู่ บน ชายหาด"),
        ("zh", "小孩在海滩上玩耍。", "小孩 在 海滩 上 玩耍"),
        ("ja", "子供が海辺で歩く。", "子供 が 海辺 で 歩く"),
        ("hi", "दो बच्चे खेल रहे हैं।", "दो बच्चे खेल रहे हैं"),
        ("ko", "두 아이가 놀고 있다.", "두 아이가 놀고 있다"),
        ("de", "ein Hund 👍🏽 !!!", "ein hund 👍🏽"),
        ("de", "  ,;: … ", ""),
    ],
)
def test_words_of(lang, text, expected):
    assert tokenizer_for(lang)(text) == expected.split()


@given(st.text(max_size=40), st.sampled_from(["de", "zh", "ja", "th", "ar", "xx", "", "pt-BR"]))
def test_words_lose_no_letter_and_are_stable(text, lang):
    tokens = words(text, lang)
    assert all(word.strip() for word in tokens)
    # A letter that is used as an apostrophe becomes one.
    letters = [c for c in unicodedata.normalize("NFC", text).lower() if is_letter(c)]
    assert [c for word in tokens for c in word if is_letter(c)] == letters


def is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LN" and character not in "\u02bb\u02bc"


def test_composed_and_decomposed_letters_are_the_same_word():
    assert words("cafe\u0301", "fr") == words("caf\u00e9", "fr")


@pytest.mark.parametrize("lang", ["en", "en-GB", "EN_us", "eng"])
def test_english_is_treebank_and_nothing_else_is(lang):
    assert tokenizer_for(lang) is ptb.tokenize
    assert tokenizer_name(lang).startswith("ptb")
    assert tokenizer_name("enm").startswith("icu")


@pytest.mark.parametrize("lang", ["english", "xx", "eng-", ""])
def test_a_language_that_does_not_exist_has_no_tokenizer(lang):
    for of in (tokenizer_for, tokenizer_name):
        with pytest.raises(ValueError, match="code"):
            of(lang)


def test_turkish_has_two_letters_i():
    assert words("ISPARTA'DA IŞIK, İSTANBUL'DA İYİ", "tr") == ["ısparta'da", "ışık", "istanbul'da", "iyi"]
    assert words("İYİ", "tr") == words("I\u0307YI\u0307", "tr") == words("İYİ".lower(), "tr") == ["iyi"]
    assert words("QIZIL", "az-Latn") == ["qızıl"]
    assert words("IST", "de") == ["ist"]


@pytest.mark.parametrize(
    ("lang", "word"), [("fr", "l'homme"), ("uk", "м'яч"), ("uz", "o'zbek"), ("it", "dell'acqua"), ("he", "צ'יפס")]
)
def test_an_apostrophe_is_the_same_however_it_is_typed(lang, word):
    for apostrophe in "\u2019\u2018\uff07\u02bc\u02bb":
        assert words(f"{word.replace(chr(39), apostrophe)}!", lang) == [word]


def test_quotation_marks_are_no_apostrophes():
    assert words("\u201aein\u2018 \u2018two\u2019 \u2019drei\u2019", "de") == ["ein", "two", "drei"]


def test_the_name_of_a_tokenizer_lists_its_rules():
    assert tokenizer_name("de").endswith("-de+nfc+apostrophe+lower")
    assert tokenizer_name("tr-TR").endswith("-tr-TR+nfc+apostrophe+lower-tr")
    assert tokenizer_name("deu") == tokenizer_name("de") and tokenizer_name("pt_br") == tokenizer_name("pt-BR")
