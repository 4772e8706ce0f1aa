"""Tokenizers for scoring, by language.

English is tokenized by Penn Treebank's rules, as all published figures are; every other language by the word
boundaries of ICU (Unicode Standard Annex 29, with ICU's dictionaries for Chinese, Japanese, Thai, Khmer, Lao, Burmese).
"""

import unicodedata
from collections.abc import Callable
from functools import lru_cache, partial

from capjax.metrics import ptb

Tokenizer = Callable[[str], list[str]]


def words(text: str, lang: str = "") -> list[str]:
    """Returns lower-cased words by ICU's boundaries, without punctuation and spaces; symbols such as emoji are words.

    >>> words("两只狗在玩耍。", "zh")
    ['两只', '狗', '在', '玩耍']
    """
    from icu4py.breakers import WordBreaker

    text = unicodedata.normalize("NFC", text).lower()
    return [segment for segment in WordBreaker(text, lang) if _is_word(segment)]


@lru_cache(maxsize=1 << 16)
def _is_word(segment: str) -> bool:
    """Whether a segment has a letter, digit or symbol, and not only punctuation or spaces."""
    return any(unicodedata.category(character)[0] in "LNS" for character in segment)


def is_english(lang: str) -> bool:
    """Whether a BCP 47 code is of English."""
    return lang.replace("_", "-").split("-")[0].lower() == "en"


def tokenizer_for(lang: str) -> Tokenizer:
    """Returns the tokenizer of a language, by its BCP 47 code, such as `en`, `zh` or `pt-BR`."""
    return ptb.tokenize if is_english(lang) else partial(words, lang=lang)


def tokenizer_name(lang: str) -> str:
    """Returns the name of `tokenizer_for(lang)` in signatures; the same name means the same words."""
    if is_english(lang):
        return "ptb-3.4.1"
    from icu4py import icu_version

    return f"icu-{icu_version}-{lang}"
