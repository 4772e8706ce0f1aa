"""Tokenizers for scoring, by language.

English is tokenized by Penn Treebank's rules, as all published figures are; every other language by the word
boundaries of ICU (Unicode Standard Annex 29, with ICU's dictionaries for Chinese, Japanese, Thai, Khmer, Lao, Burmese).
Texts of other languages are normalized first, by rules that the name of the tokenizer lists:

    nfc         Unicode's normal form C
    apostrophe  within a word, typographic apostrophes are '
    lower       lower case; in Turkish and Azerbaijani (lower-tr, lower-az) of dotted and dotless i: I to ı, İ to i
"""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache, partial

from capjax.metrics import ptb
from capjax.metrics.languages import canonical, is_english, primary_language

Tokenizer = Callable[[str], list[str]]

# Right and left quotation marks and modifier letters.
_APOSTROPHE = re.compile("(?<=.)[\u2019\u2018\uff07\u02bc\u02bb](?=.)")
_DOTLESS = ("tr", "az")
_TURKISH = str.maketrans({"I": "ı", "İ": "i"})


def words(text: str, lang: str = "") -> list[str]:
    """Returns normalized words by ICU's boundaries, without punctuation and spaces; symbols such as emoji are words.

    >>> words("两只狗在玩耍。", "zh")
    ['两只', '狗', '在', '玩耍']
    """
    from icu4py.breakers import WordBreaker

    text = unicodedata.normalize("NFC", text)
    if lang.split("-")[0] in _DOTLESS:
        # Programs without this rule write the lower case of İ as i and a combining dot.
        text = text.translate(_TURKISH).replace("i\u0307", "i")
    return [word for segment in WordBreaker(text.lower(), lang) if (word := _word(segment))]


def word_spans(text: str, lang: str = "") -> list[tuple[int, int]]:
    """Returns start and end in the text of the words that `words` finds in it, which is not normalized here.

    >>> word_spans("A dog's ball.", "en")
    [(0, 1), (2, 7), (8, 12)]
    """
    from icu4py.breakers import WordBreaker

    spans, start = [], 0
    for segment in WordBreaker(text, lang):
        if _word(segment):
            spans.append((start, start + len(segment)))
        start += len(segment)
    return spans


@lru_cache(maxsize=1 << 16)
def _word(segment: str) -> str:
    """Returns the word of a segment that has a letter, digit or symbol; empty for punctuation and spaces."""
    if not any(unicodedata.category(character)[0] in "LNS" for character in segment):
        return ""
    return unicodedata.normalize("NFC", _APOSTROPHE.sub("'", segment))


def tokenizer_for(lang: str) -> Tokenizer:
    """Returns the tokenizer of a language, by its BCP 47 code, such as `en`, `zh` or `pt-BR`.

    Raises:
      ValueError: there is no such language.
    """
    return ptb.tokenize if is_english(lang) else partial(words, lang=canonical(lang))


def tokenizer_name(lang: str) -> str:
    """Returns the name of `tokenizer_for(lang)` in signatures: the same name means the same words. Raises alike."""
    if is_english(lang):
        return "ptb-3.4.1"
    from icu4py import icu_version

    language = primary_language(lang)
    lower = f"lower-{language}" if language in _DOTLESS else "lower"
    return f"icu-{icu_version}-{canonical(lang)}+nfc+apostrophe+{lower}"
