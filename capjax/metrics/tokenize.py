"""Which tokenizer a language is scored with."""

import re
import unicodedata
from collections.abc import Callable

from capjax.metrics import ptb

Tokenizer = Callable[[str], list[str]]

# Scripts written without spaces: each character is a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORDS = re.compile(
    rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[\w\u0300-\u036f\u0591-\u05bd\u064b-\u065f\u0670\u0900-\u0903\u093a-\u094f])+"
)


def words(text: str) -> list[str]:
    """Lower-cased runs of letters, digits and marks; Chinese and Japanese characters one by one; no punctuation."""
    return _WORDS.findall(unicodedata.normalize("NFC", text).lower())


def tokenizer_for(lang: str) -> Tokenizer:
    """Penn Treebank for English, as published; `words` for all others."""
    return ptb.tokenize if lang.split("-")[0].lower() == "en" else words
