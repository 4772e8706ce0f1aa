"""Generates the sentences of a message, and decides whether a sentence is true."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from data_prep.synthetic.shapes.languages import LANGUAGES
from data_prep.synthetic.shapes.scene import Scene

# Number of sentences that every kind of message has in every language.
PARAPHRASES = min(len(patterns) for language in LANGUAGES.values() for patterns in language.patterns.values())

L = TypeVar("L")


def find_language(lang: str, languages: Mapping[str, L]) -> L:
    """The grammar of a language. Raises ValueError if there is none."""
    if lang not in languages:
        raise ValueError(f"no grammar for {lang!r}; available: {', '.join(languages)}")
    return languages[lang]


def captions(scene: Scene, lang: str, count: int) -> list[str]:
    """`count` different sentences about the scene, chosen and ordered by its seed.

    Raises:
      ValueError: the language has no grammar, or fewer sentences.
    """
    sentences = find_language(lang, LANGUAGES).sentences(scene.message)
    if not 0 <= count <= len(sentences):
        raise ValueError(f"{count} paraphrases requested; there are {len(sentences)} for each picture")
    rng = np.random.default_rng([*scene.seed, 2])
    return [sentences[i] for i in rng.permutation(len(sentences))[:count]]


def is_true(scene: Scene, lang: str, text: str) -> bool:
    """Whether the text is one of the sentences of the scene's message, whether or not it is among the captions.

    Case, white space and the final period are ignored; every other character counts. A sentence that is true but is not
    the message (the relation of two of three things in a row) does not count.

    Raises:
      ValueError: the language has no grammar.
    """
    sentences = find_language(lang, LANGUAGES).sentences(scene.message)
    return normalized(text) in {normalized(sentence) for sentence in sentences}


def normalized(text: str) -> str:
    """A text in lower case, with single spaces and without the final period."""
    text = " ".join(text.casefold().split())
    return text[:-1].rstrip() if text.endswith((".", "。")) else text
