"""What happens to sentences, and back to whether a sentence is true."""

from collections.abc import Iterable

import numpy as np

from data_prep.synthetic.moving.languages import LANGUAGES, MovingLanguage, Parts, join
from data_prep.synthetic.moving.scene import Event, MovingScene

# For every kind of event and of text, in every language.
PARAPHRASES = min(
    len(patterns)
    for language in LANGUAGES.values()
    for patterns in (*language.clauses.values(), language.before, language.summaries)
)


def _language(lang: str) -> MovingLanguage:
    if lang not in LANGUAGES:
        raise ValueError(f"no grammar for {lang!r}; there is one for {', '.join(LANGUAGES)}")
    return LANGUAGES[lang]


def captions(scene: MovingScene, lang: str, count: int) -> list[str]:
    """`count` different sentences about the whole: its only event, or that the first event was before the last.

    Chosen by the scene's seed, as all that follows.

    Raises:
      ValueError: the language has no grammar here, or not so many sentences.
    """
    language, rng = _language(lang), np.random.default_rng([*scene.seed, 2])
    if scene.message == "direction":
        return _ways(rng, language, language.event(scene.events[0]), count)
    return _texts(rng, language, language.order(scene), count)


def events(scene: MovingScene, lang: str, count: int) -> list[list[str]]:
    """For each event `count` different sentences.

    Raises:
      ValueError: as `captions`.
    """
    language, rng = _language(lang), np.random.default_rng([*scene.seed, 3])
    return [_ways(rng, language, language.event(event), count) for event in scene.events]


def summaries(scene: MovingScene, lang: str, count: int) -> list[str]:
    """`count` different paragraphs about all events in order.

    Raises:
      ValueError: as `captions`.
    """
    language, rng = _language(lang), np.random.default_rng([*scene.seed, 4])
    paragraphs = language.summary(scene)
    if len(scene.events) == 1:
        return _ways(rng, language, paragraphs[0], count)
    return _texts(rng, language, paragraphs, count)


def _check(count: int, most: int):
    if not 0 <= count <= most:
        raise ValueError(f"{count} paraphrases asked for; there are {most} for each video")


def _ways(rng, language: MovingLanguage, sentences: list[Parts], count: int) -> list[str]:
    """Different ways to put the one sentence about an event."""
    ((clauses, (period,)),) = sentences
    _check(count, len(clauses))
    return [join([clauses[i] + period], language.space) for i in rng.permutation(len(clauses))[:count]]


def _texts(rng, language: MovingLanguage, texts: list[list[Parts]], count: int) -> list[str]:
    """Different texts, each with one way to put each of its parts."""
    _check(count, len(texts))
    told = []
    for i in rng.permutation(len(texts))[:count]:
        sentences = ["".join(ways[rng.integers(len(ways))] for ways in parts) for parts in texts[i]]
        told.append(join(sentences, language.space))
    return told


def is_true(scene: MovingScene, lang: str, text: str, kind: str = "caption") -> bool:
    """Whether the text is one of those that say what happens, be it among the scene's captions or not.

    Case, white space and the final period do not matter; every other character does. What is true besides but not
    what is asked for (in a caption: that the second event was before the last) is none of them.

    Args:
      kind: `caption` (of the whole), `event` (any of them), or `summary`.

    Raises:
      ValueError: the language has no grammar here, or the kind is none of these.
    """
    language = _language(lang)
    if kind == "event" or (kind == "caption" and scene.message == "direction"):
        texts = [language.event(event) for event in scene.events]
    elif kind == "caption":
        texts = language.order(scene)
    elif kind == "summary":
        texts = language.summary(scene)
    else:
        raise ValueError(f"kind {kind!r} should be caption, event or summary")
    return any(_says(_plain(text), sentences, language.space) for sentences in texts)


def is_true_of(event: Event, lang: str, text: str) -> bool:
    """Whether the text is one of those that say what happens in this event; otherwise as `is_true`."""
    language = _language(lang)
    return _says(_plain(text), language.event(event), language.space)


def _says(text: str, sentences: list[Parts], space: str) -> bool:
    """Whether plain text can be read as the sentences, part by part."""
    parts: list[Iterable[str]] = []
    for sentence in sentences:
        parts += [(space,)] * bool(parts) + sentence
    ends = {0}
    for ways in parts[:-1]:
        ends = {end + len(way) for end in ends for way in map(str.casefold, ways) if text.startswith(way, end)}
    # The last part ends in the period, which `text` has no more.
    return any(text[end:] == _plain(way) for end in ends for way in parts[-1])


def _plain(text: str) -> str:
    text = " ".join(text.casefold().split())
    return text[:-1].rstrip() if text.endswith((".", "。")) else text
