"""Generates the sentences about a scene, and decides whether a sentence is true."""

from collections.abc import Iterable

import numpy as np

from data_prep.synthetic.moving.languages import LANGUAGES, MovingLanguage, Parts, join
from data_prep.synthetic.moving.scene import MovingEvent, MovingScene
from data_prep.synthetic.shapes.grammar import find_language, normalized

# Number of sentences that every kind of event and text has in every language.
PARAPHRASES = min(
    len(patterns)
    for language in LANGUAGES.values()
    for patterns in (*language.clauses.values(), language.before, language.summaries)
)


def captions(scene: MovingScene, lang: str, count: int) -> list[str]:
    """`count` different sentences about the whole video, chosen by the scene's seed: its only event, or that the first
    event was before the last.

    Raises:
      ValueError: the language has no grammar, or fewer sentences.
    """
    language, rng = find_language(lang, LANGUAGES), np.random.default_rng([*scene.seed, 2])
    if scene.message == "direction":
        return _ways(rng, language, language.event(scene.events[0]), count)
    return _texts(rng, language, language.order(scene), count)


def events(scene: MovingScene, lang: str, count: int) -> list[list[str]]:
    """`count` different sentences for each event.

    Raises:
      ValueError: as `captions`.
    """
    language, rng = find_language(lang, LANGUAGES), np.random.default_rng([*scene.seed, 3])
    return [_ways(rng, language, language.event(event), count) for event in scene.events]


def summaries(scene: MovingScene, lang: str, count: int) -> list[str]:
    """`count` different paragraphs about all events in order.

    Raises:
      ValueError: as `captions`.
    """
    language, rng = find_language(lang, LANGUAGES), np.random.default_rng([*scene.seed, 4])
    paragraphs = language.summary(scene)
    if len(scene.events) == 1:
        return _ways(rng, language, paragraphs[0], count)
    return _texts(rng, language, paragraphs, count)


def _check(count: int, most: int):
    if not 0 <= count <= most:
        raise ValueError(f"{count} paraphrases requested; there are {most} for each video")


def _ways(rng, language: MovingLanguage, sentences: list[Parts], count: int) -> list[str]:
    """`count` variants of the sentence about an event."""
    ((clauses, (period,)),) = sentences
    _check(count, len(clauses))
    return [join([clauses[i] + period], language.space) for i in rng.permutation(len(clauses))[:count]]


def _texts(rng, language: MovingLanguage, texts: list[list[Parts]], count: int) -> list[str]:
    """`count` different texts, each with one random variant of each of its parts."""
    _check(count, len(texts))
    result = []
    for i in rng.permutation(len(texts))[:count]:
        sentences = ["".join(ways[rng.integers(len(ways))] for ways in parts) for parts in texts[i]]
        result.append(join(sentences, language.space))
    return result


def is_true(scene: MovingScene, lang: str, text: str, kind: str = "caption") -> bool:
    """Whether the text is one of the texts of this kind, whether or not it is among the scene's captions.

    Case, white space and the final period are ignored; every other character counts. A text that is true but not of
    this kind (for a caption: that the second event was before the last) does not count.

    Args:
      kind: `caption` (of the whole video), `event` (any event), or `summary`.

    Raises:
      ValueError: the language has no grammar, or the kind is unknown.
    """
    language = find_language(lang, LANGUAGES)
    if kind == "event" or (kind == "caption" and scene.message == "direction"):
        texts = [language.event(event) for event in scene.events]
    elif kind == "caption":
        texts = language.order(scene)
    elif kind == "summary":
        texts = language.summary(scene)
    else:
        raise ValueError(f"kind {kind!r} should be caption, event or summary")
    return any(_matches(normalized(text), sentences, language.space) for sentences in texts)


def is_true_of(event: MovingEvent, lang: str, text: str) -> bool:
    """Whether the text is one of the sentences about this event; otherwise as `is_true`."""
    language = find_language(lang, LANGUAGES)
    return _matches(normalized(text), language.event(event), language.space)


def _matches(text: str, sentences: list[Parts], space: str) -> bool:
    """Whether normalized text can be split into the parts of the sentences."""
    parts: list[Iterable[str]] = []
    for sentence in sentences:
        parts += [*([(space,)] if parts else []), *sentence]
    ends = {0}
    for ways in parts[:-1]:
        ends = {end + len(way) for end in ends for way in map(str.casefold, ways) if text.startswith(way, end)}
    # The last part ends in the period, which normalized text does not have.
    return any(text[end:] == normalized(way) for end in ends for way in parts[-1])
