"""Compares the languages that captions claim with those that a language identifier recognizes in a sample of them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from capjax.metrics.messages import show_value
from capjax.text import languages
from data_prep.readers.item import Item, Problem

# Captions of a language that are looked at, and the fewest that are worth it: loading the identifier takes longer than
# preparing a few photos.
_MAX_CAPTIONS, _MIN_CAPTIONS = 500, 8
_MIN_SHARE = 0.05


def check_languages(splits: Mapping[str, Iterable[Item]]) -> list[Problem]:
    """A Problem for each claimed language of which many captions are in another one; generated data is not checked."""
    captions: dict[str, list[tuple[Item, str]]] = {}
    for items in splits.values():
        for item in items:
            if isinstance(item.media, Path):
                for caption in item.captions:
                    captions.setdefault(caption.lang, []).append((item, caption.text))
    return [problem for lang in sorted(captions) for problem in _check_language(lang, captions[lang])]


def _check_language(lang: str, captions: list[tuple[Item, str]]) -> Iterator[Problem]:
    if len(captions) < _MIN_CAPTIONS:
        return
    if not languages.is_recognized(lang):
        return
    varieties = languages.varieties(lang)
    sample = captions[:: -(-len(captions) // _MAX_CAPTIONS)]
    other_languages: Counter[str] = Counter()
    example: tuple[Item, str] | None = None
    for item, text in sample:
        recognized, confidence = languages.recognize(text)
        if confidence >= languages.MIN_CONFIDENCE and recognized not in varieties and recognized != "zxx":
            other_languages[recognized] += 1
            example = example or (item, text)
    if example is None or other_languages.total() < _MIN_SHARE * len(sample):
        return
    item, text = example
    listed = ", ".join(f"{count / len(sample):.0%} {code}" for code, count in other_languages.most_common(3))
    share = other_languages.total() / len(sample)
    message = (
        f"{share:.0%} of the captions with the language {lang} seem to be in another one "
        f"({listed}; {len(sample)} of {len(captions)} were looked at), such as {show_value(text)}; give each caption "
        "its language in the annotations, or that of all with --lang"
    )
    yield Problem("other_language", message, item.where, item.id, "nothing")
