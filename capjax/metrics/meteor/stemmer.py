"""The English (Porter2) stemmer of METEOR 1.5.

Martin Porter, "The English (Porter2) stemming algorithm", snowballstem.org, in its version of 2010; later releases have
more exceptions.
"""

import re

_VOWELS = "aeiouy"  # `Y` stands for a consonant y
_WHOLE = {
    "skis": "ski", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "idly": "idl", "gently": "gentl",
    "ugly": "ugli", "early": "earli", "only": "onli", "singly": "singl",
} | {word: word for word in ["sky", "news", "howe", "atlas", "cosmos", "bias", "andes"]}  # fmt: skip
_KEPT = frozenset(["inning", "outing", "canning", "herring", "earring", "proceed", "exceed", "succeed"])
_PREFIX = re.compile("gener|commun|arsen")
_REGION = re.compile("[aeiouy][^aeiouy]")
_CONSONANT_Y = re.compile("([aeiouy])y")
_HAS_VOWEL = re.compile("[aeiouy]")
# The end of a short syllable.
_SHORT = re.compile("(?:[^aeiouy][aeiouy][^aeiouywxY]|^[aeiouy][^aeiouy])$")
_DOUBLES = frozenset(["bb", "dd", "ff", "gg", "mm", "nn", "pp", "rr", "tt"])
_LI = frozenset("cdeghkmnrt")


def _longest_first(rules: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(rules.items(), key=lambda rule: -len(rule[0])))


# {suffix: replacement} within R1.
_STEP_2 = _longest_first({
    "tional": "tion", "enci": "ence", "anci": "ance", "abli": "able", "entli": "ent", "izer": "ize", "ization": "ize",
    "ational": "ate", "ation": "ate", "ator": "ate", "alism": "al", "aliti": "al", "alli": "al", "fulness": "ful",
    "ousli": "ous", "ousness": "ous", "iveness": "ive", "iviti": "ive", "biliti": "ble", "bli": "ble", "ogi": "og",
    "fulli": "ful", "lessli": "less", "li": "",
})  # fmt: skip
_STEP_3 = _longest_first({
    "tional": "tion", "ational": "ate", "alize": "al", "icate": "ic", "iciti": "ic", "ical": "ic", "ful": "",
    "ness": "", "ative": "",
})  # fmt: skip
# Removed within R2; longest first.
_STEP_4 = (
    "ement", "ance", "ence", "able", "ible", "ment", "ant", "ent", "ism", "ate", "iti", "ous", "ive", "ize", "ion",
    "al", "er", "ic",
)  # fmt: skip


def stem(word: str) -> str:
    """Returns the stem of a lower-case word."""
    if word in _WHOLE:
        return _WHOLE[word]
    if len(word.encode("utf-16-le")) < 6:
        return word
    word = word.removeprefix("'")
    if word[:1] == "y":
        word = "Y" + word[1:]
    word = _CONSONANT_Y.sub(r"\1Y", word)
    first = _PREFIX.match(word) or _REGION.search(word)
    r1 = first.end() if first else len(word)
    second = _REGION.search(word, r1)
    r2 = second.end() if second else len(word)

    word = _step_1a(_step_0(word))
    if word not in _KEPT:
        word = _step_1c(_step_1b(word, r1))
        word = _step_2(word, r1)
        word = _step_3(word, r1, r2)
        word = _step_4(word, r2)
        word = _step_5(word, r1, r2)
    return word.replace("Y", "y")


def _step_0(word: str) -> str:
    for suffix in ("'s'", "'s", "'"):
        if word.endswith(suffix):
            return word[: -len(suffix)]
    return word


def _step_1a(word: str) -> str:
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith(("ied", "ies")):
        return word[:-2] if len(word) > 4 else word[:-1]
    if word.endswith(("us", "ss")):
        return word
    if word.endswith("s") and _HAS_VOWEL.search(word[:-2]):
        return word[:-1]
    return word


def _step_1b(word: str, r1: int) -> str:
    for suffix in ("eedly", "eed"):
        if word.endswith(suffix):
            return word[: -len(suffix)] + "ee" if len(word) - len(suffix) >= r1 else word
    for suffix in ("ingly", "edly", "ing", "ed"):
        if word.endswith(suffix):
            rest = word[: -len(suffix)]
            if not _HAS_VOWEL.search(rest):
                return word
            if rest.endswith(("at", "bl", "iz")):
                return rest + "e"
            if rest[-2:] in _DOUBLES:
                return rest[:-1]
            # R1 is compared as a position: if it was beyond the rest, the word is not short.
            return rest + "e" if len(rest) == r1 and _SHORT.search(rest) else rest
    return word


def _step_1c(word: str) -> str:
    return word[:-1] + "i" if len(word) > 2 and word[-1] in "yY" and word[-2] not in _VOWELS else word


def _step_2(word: str, r1: int) -> str:
    for suffix, replacement in _STEP_2:
        if word.endswith(suffix):
            rest = word[: -len(suffix)]
            allowed = len(rest) >= r1
            if suffix == "ogi":
                allowed = allowed and rest.endswith("l")
            elif suffix == "li":
                allowed = allowed and rest[-1:] in _LI
            return rest + replacement if allowed else word
    return word


def _step_3(word: str, r1: int, r2: int) -> str:
    for suffix, replacement in _STEP_3:
        if word.endswith(suffix):
            rest = word[: -len(suffix)]
            return rest + replacement if len(rest) >= (r2 if suffix == "ative" else r1) else word
    return word


def _step_4(word: str, r2: int) -> str:
    for suffix in _STEP_4:
        if word.endswith(suffix):
            rest = word[: -len(suffix)]
            allowed = len(rest) >= r2 and (suffix != "ion" or rest[-1:] in ("s", "t"))
            return rest if allowed else word
    return word


def _step_5(word: str, r1: int, r2: int) -> str:
    rest = word[:-1]
    if word.endswith("e") and (len(rest) >= r2 or (len(rest) >= r1 and not _SHORT.search(rest))):
        return rest
    if word.endswith("l") and len(rest) >= r2 and rest.endswith("l"):
        return rest
    return word
