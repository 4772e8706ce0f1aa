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
    found = words(text, lang)
    assert all(word.strip() for word in found)
    letters = [c for c in unicodedata.normalize("NFC", text).lower() if unicodedata.category(c)[0] in "LN"]
    assert [c for word in found for c in word if unicodedata.category(c)[0] in "LN"] == letters


def test_composed_and_decomposed_letters_are_the_same_word():
    assert words("cafe\u0301", "fr") == words("caf\u00e9", "fr")


@pytest.mark.parametrize("lang", ["en", "en-GB", "EN_us"])
def test_english_is_treebank_and_nothing_else_is(lang):
    assert tokenizer_for(lang) is ptb.tokenize
    assert tokenizer_name(lang).startswith("ptb")
    assert tokenizer_name("eng-like").startswith("icu")
