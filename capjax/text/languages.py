"""Recognizes the language of a text."""

import functools

from py3langid.langid import MODEL_FILE, LanguageIdentifier

MIN_CONFIDENCE = 0.6
# Codes of one language, or of languages that short texts do not tell apart.
_VARIETIES = [
    {"zh", "cmn", "yue", "wuu"}, {"no", "nb", "nn"}, {"hr", "bs", "sr", "sh"}, {"id", "ms"}, {"ar", "arz", "ary"},
    {"tl", "fil"}, {"he", "iw", "hbo"}, {"el", "grc"}, {"uz", "uzs"}, {"ht", "gcf", "gcr"}, {"cs", "sk"},
]  # fmt: skip


def recognize(text: str) -> tuple[str, float]:
    """Returns the language of a text, as the identifier writes its code, and the confidence from 0 to 1."""
    return _identifier().classify(text)


def likelihood(text: str, lang: str) -> float:
    """Returns the probability, from 0 to 1, that the identifier gives to a language or one that it takes for it."""
    codes = varieties(lang)
    return float(sum(share for code, share in _identifier().rank(text) if code in codes))


def varieties(lang: str) -> set[str]:
    """Returns the codes that the identifier may give to a text in a language."""
    primary = lang.split("-")[0]
    return next((codes for codes in _VARIETIES if primary in codes), {primary})


def is_recognized(lang: str) -> bool:
    """Whether the identifier knows a language."""
    return bool(varieties(lang) & set(_identifier().labels))


@functools.cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
