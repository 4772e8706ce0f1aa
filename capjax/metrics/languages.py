"""Language codes (BCP 47, RFC 5646): which exist, and one way of writing each."""

import difflib
import re
from functools import cache, lru_cache
from pathlib import Path

from capjax.metrics.messages import option, show_value

# language, with an extended one, then script, region, variants, extensions and private use; or private use alone.
_CODE = re.compile(
    r"[a-z]{2,3}(-[a-z]{3})?(-[a-z]{4})?(-([a-z]{2}|\d{3}))?(-([a-z\d]{5,8}|\d[a-z\d]{3}))*(-[a-wyz\d](-[a-z\d]{2,8})+)*"
    r"(-x(-[a-z\d]{1,8})+)?|x(-[a-z\d]{1,8})+"
)
# Languages whose varieties have codes such as zh-yue, for which the variety's own code, yue, is preferred.
_EXTENDED = ("ar", "kok", "lv", "ms", "sgn", "sw", "uz", "zh")
_PRIVATE_USE = re.compile("q[a-t][a-z]|x")
_IRREGULAR = {"en-gb-oed": "en-gb-oxendict"}
# Codes of countries that are often taken for those of their languages.
_COUNTRIES = {
    "at": "de", "cn": "zh", "cz": "cs", "dk": "da", "gb": "en", "gr": "el", "il": "he", "jp": "ja", "rs": "sr",
    "tw": "zh", "ua": "uk", "us": "en", "vn": "vi",
}  # fmt: skip


@lru_cache(maxsize=4096)
def canonical(code: str) -> str:
    """Returns a language code as BCP 47 recommends to write it: `en-US` for en_us, `de` for deu, `he` for iw.

    Raises:
      ValueError: the code is malformed, or there is no such language; the message names the code that may be meant.
    """
    tag = code.strip().replace("_", "-").lower()
    tag = _IRREGULAR.get(tag, tag)
    if not _CODE.fullmatch(tag):
        raise ValueError(_explain(code))
    language, *subtags = tag.split("-")
    if language != "x" and subtags and len(subtags[0]) == 3 and subtags[0].isalpha():
        if language not in _EXTENDED:
            raise ValueError(_explain(code))
        language, *subtags = subtags
    codes, _ = _languages()
    if language not in codes and not _PRIVATE_USE.fullmatch(language):
        raise ValueError(_explain(code))
    return "-".join([codes.get(language, language), *_cased(subtags)])


def check_lang(lang: object) -> str:
    """Returns the canonical code of an argument `lang`.

    Raises:
      ValueError: as `canonical` does. TypeError: it is not a string.
    """
    if not isinstance(lang, str):
        raise TypeError(f"{option('lang')}: expected the code of a language, such as 'en', found {show_value(lang)}")
    try:
        return canonical(lang)
    except ValueError as error:
        raise ValueError(f"{option('lang')}: {error}") from None


def is_english(code: str) -> bool:
    """Whether a code is of English: en, eng, en-US and the like. Raises as `canonical` does."""
    return primary_language(code) == "en"


def primary_language(code: str) -> str:
    """Returns the language of a code without script, region and variants: `zh` of zh-Hant-TW. Raises as `canonical`."""
    return canonical(code).split("-")[0]


def matches(code: str, wanted: str) -> bool:
    """Whether a language is the one that is wanted, or a variety of it, as pt-BR is of pt (RFC 4647, section 3.3.1).
    All codes of English are the same. Raises as `canonical` does."""
    if is_english(wanted):
        return is_english(code)
    return f"{canonical(code)}-".startswith(f"{canonical(wanted)}-")


def _cased(subtags: list[str]) -> list[str]:
    """Returns scripts as Latn, regions as US, and all else in lower case."""
    cased: list[str] = []
    for number, subtag in enumerate(subtags):
        if len(subtag) == 1:  # an extension, or private use
            return cased + subtags[number:]
        is_script, is_region = len(subtag) == 4 and subtag.isalpha(), len(subtag) == 2
        cased.append(subtag.title() if is_script else subtag.upper() if is_region else subtag)
    return cased


@cache
def _languages() -> tuple[dict[str, str], dict[str, str]]:
    """Returns {code: the code to write instead, or itself} and {name in lower case: code}."""
    codes: dict[str, str] = {}
    names: dict[str, str] = {}
    for line in Path(__file__).with_name("languages.txt").read_text(encoding="utf-8").splitlines():
        if " = " in line:
            spellings, _, text = line.partition(" = ")
            code, *aliases = spellings.split()
            codes |= dict.fromkeys([code, *aliases], code)
            for name in text.split(", "):
                names.setdefault(name.casefold(), code)
        elif not line.startswith("#"):
            groups = (group.split(":") for group in line.split())
            codes |= {start + end: start + end for start, ends in groups for end in ends}
    return codes, names


def _explain(code: str) -> str:
    """Returns why a code is refused, and which one is probably meant."""
    expected = "expected a code of BCP 47, such as en, de, pt-BR or zh-Hant"
    codes, names = _languages()
    text = code.strip().casefold()
    last_word = re.split(r"[\W_]+", text)[-1]  # `American English`
    if name := next((name for name in (text, last_word) if name in names), None):
        return f"{show_value(code)} is the name of a language, not its code; write {names[name]}"
    if text in _COUNTRIES:
        return f"{show_value(code)} is the code of a country, not of a language; write {_COUNTRIES[text]}"
    locale = re.match(r"[a-z]{2,3}(?:[-_][a-z]{2})?(?=[.@:])", text)  # en_US.UTF-8
    if locale and locale[0][:2] in codes:
        return f"{show_value(code)} is not the code of a language; write {canonical(locale[0])}"
    if len(text) > 3 and (near := difflib.get_close_matches(text[:40], names, n=1, cutoff=0.8)):
        hint = f"did you mean {names[near[0]]}, which is {near[0]}?"
        return f"{show_value(code)} is not the code of a language; {expected} ({hint})"
    return f"there is no language with the code {show_value(code)}; {expected}"
