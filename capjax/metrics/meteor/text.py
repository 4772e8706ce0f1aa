"""METEOR 1.5's tokenization of English text (its option -norm), which follows the tokenizer of Moses.

Punctuation is separated, contractions are split (`it 's`), dashes within words and the dots of acronyms are dropped,
quotes are unified. Denkowski & Lavie, "Meteor Universal" (2014), section 2, and the program's documentation.
"""

import re
from collections.abc import Mapping

# Latin and Cyrillic letters, as in the program.
_ALPHA = "A-Za-z\u0160\u017d\u0178À-ÖØ-öø-\u017e\u0400-\u0527\ua640-\ua66e\ua67e-\ua697\u1d00-\u1d7f"
_ALNUM = "0-9" + _ALPHA
# Text of these characters alone is split at blanks.
_SIMPLE = re.compile("[a-z0-9 ]*")
# In the order of application. Digits are 0 to 9, blanks those of ASCII.
_RULES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (rf"([^{_ALNUM} \t\n\x0b\f\r.'`,\-‘’])", r" \1 "),
        (r"(\.{2,})", r" \1 "),
        (r"([^0-9]),([^0-9])", r"\1 , \2"),
        (r"([0-9]),([^0-9])", r"\1 , \2"),
        (r"([^0-9]),([0-9])", r"\1 , \2"),
        ("[`‘’]", "'"),
        ("[“”]|''", ' " '),
        ("–", "-"),
        ("--", "-"),
        (rf"([{_ALNUM}.])-([{_ALNUM}])", r"\1 \2"),
        (rf"([^{_ALPHA}])'([^{_ALPHA}])", r"\1 ' \2"),
        (rf"([^{_ALPHA}0-9])'([{_ALPHA}])", r"\1 ' \2"),
        (rf"([{_ALPHA}])'([^{_ALPHA}])", r"\1 ' \2"),
        (rf"([{_ALPHA}])'([{_ALPHA}])", r"\1 '\2"),
        ("([0-9])'(s)", r"\1 '\2"),
    )
]
_LETTER = re.compile(f"[{_ALPHA}]")
_BLANKS = re.compile("[ \t\n\r\f]+")
_SPACES = re.compile("[ \u2000-\u200a\u202f\u205f\u3000\xa0]+")
_CONTROLS = "".join(map(chr, range(33)))

# When the dot after a word belongs to it: always, or before a number.
ALWAYS, BEFORE_NUMBERS = 1, 2


def words(text: str, prefixes: Mapping[str, int]) -> list[str]:
    """Returns the lower-case words of a text.

    Args:
      prefixes: {word: ALWAYS or BEFORE_NUMBERS} for words with a dot of their own, such as `Mr`.
    """
    if _SIMPLE.fullmatch(text):
        return text.split()
    text = f" {text} "
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    parts = [part for part in _BLANKS.split(text) if part]
    pairs = zip(parts, [*parts, ""][1:], strict=True)
    text = "".join(_dotted(part, following, prefixes) + " " for part, following in pairs)
    text = _SPACES.sub(" ", text).strip(_CONTROLS).lower()
    return [word for word in _BLANKS.split(text) if word]


def _dotted(word: str, following: str, prefixes: Mapping[str, int]) -> str:
    """Returns a word with its last dot separated, dropped or kept."""
    if len(word) < 2 or not word.endswith(".") or not word.strip("."):
        return word
    before = word[:-1]
    if "." in before and _LETTER.search(before):
        return word.replace(".", "")
    kind = prefixes.get(before)
    if kind == ALWAYS or "a" <= following[:1] <= "z" or (kind == BEFORE_NUMBERS and "0" <= following[:1] <= "9"):
        return word
    return before + " ."
