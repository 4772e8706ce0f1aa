"""Language codes are checked against the registry of BCP 47, and written in one way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capjax.metrics import default_families, score, tokenizer_for
from capjax.metrics.languages import canonical, is_english, matches, primary_language


@pytest.mark.parametrize("code", ["en", "eng", "EN", "en-US", "en_GB", "EN_us", "en-GB-oed", "en-Latn-US", "eng-AU"])
def test_every_code_of_english_is_english(code):
    assert is_english(code)
    assert tokenizer_for(code) is tokenizer_for("en")
    assert default_families(code) == default_families("en")
    captions = {1: "a dog's ball isn't red"}, {1: ["the dogs' ball is red."]}
    assert score(*captions, lang=code).signatures == score(*captions, lang="en").signatures


@pytest.mark.parametrize("code", ["enm", "ang", "de", "mul", "x-en", "gsw"])
def test_nothing_else_is_english(code):
    assert not is_english(code)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("PT_br", "pt-BR"), ("deu", "de"), ("ger", "de"), ("zho", "zh"), ("iw", "he"), ("zh-yue", "yue"),
        ("zh-hant-tw", "zh-Hant-TW"), ("es-419", "es-419"), ("de-1996", "de-1996"), ("sl-Rozaj", "sl-rozaj"),
        ("en-u-ca-Gregory", "en-u-ca-gregory"), ("X-Klingon", "x-klingon"), ("qaa", "qaa"), ("und", "und"),
        (" fr ", "fr"),
    ],
)  # fmt: skip
def test_codes_are_written_as_bcp_47_recommends(code, expected):
    assert canonical(code) == expected == canonical(expected)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("english", "name of a language, not its code; write en"),
        ("English", "write en"),
        ("American English", "write en"),
        ("german", "write de"),
        ("Deutsch", "write de"),
        ("français", "write fr"),
        ("中文", "write zh"),
        ("Cantonese", "write yue"),
        ("en_US.UTF-8", "write en-US"),
        ("jp", "code of a country, not of a language; write ja"),
        ("cn", "write zh"),
        ("germann", "did you mean de"),
        ("xx", "no language with the code 'xx'; expected a code of BCP 47, such as en, de"),
        ("zzz", "no language"),
        ("", "no language"),
        ("de-", "expected a code"),
        ("en-foo", "expected a code"),
        ("e" * 100_000, "expected a code"),
    ],
)
def test_names_and_codes_that_do_not_exist_are_refused_with_the_right_code(code, remedy):
    with pytest.raises(ValueError, match=remedy) as error:
        canonical(code)
    assert len(str(error.value)) < 250


def test_an_argument_that_is_no_code_is_named():
    with pytest.raises(TypeError, match="lang: expected the code of a language, such as 'en', found None"):
        score({1: "a"}, {1: ["a"]}, lang=None)
    with pytest.raises(ValueError, match="lang: 'english' is the name of a language, not its code; write en"):
        score({1: "a"}, {1: ["a"]}, lang="english")


def test_a_language_has_its_varieties():
    assert matches("pt-BR", "pt") and matches("pt", "pt") and matches("zh_Hant", "zho")
    assert not matches("pt", "pt-BR") and not matches("pt-PT", "pt-BR") and not matches("deu", "de-AT")
    assert matches("en-US", "en-GB") and matches("eng", "en-US")


def test_short_codes_are_those_of_unicodes_table():
    core = pytest.importorskip("babel.core")
    withdrawn = ("scc", "scr")
    registered_pairs = {"twi": "tw", "mol": "ro", "tgl": "tl", "hbs": "sh"}  # where Unicode goes on to another language
    for alias, code in core.get_global("language_aliases").items():
        if len(alias) == 3 and len(code) == 2 and alias not in withdrawn and canonical(alias) != alias:
            assert canonical(alias) == registered_pairs.get(alias, code)


@given(st.text(max_size=12) | st.from_regex(r"[a-z]{2,3}([-_][a-zA-Z0-9]{1,8}){0,3}", fullmatch=True))
def test_a_code_is_refused_or_written_in_one_way(code):
    try:
        written = canonical(code)
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert canonical(written) == written == canonical(code.upper())
        assert primary_language(written) == written.split("-")[0]
