"""Generates the sentences of a message, and decides whether a sentence is true."""

import numpy as np

from data_prep.synthetic.shapes.languages import LANGUAGES, Language
from data_prep.synthetic.shapes.scene import Scene

# Number of sentences that every kind of message has in every language.
PARAPHRASES = min(len(patterns) for language in LANGUAGES.values() for patterns in language.patterns.values())


def _language(lang: str) -> Language:
    if lang not in LANGUAGES:
        raise ValueError(f"no grammar for {lang!r}; available: {', '.join(LANGUAGES)}")
    return LANGUAGES[lang]


def captions(scene: Scene, lang: str, count: int) -> list[str]:
    """`count` different sentences about the scene, chosen and ordered by its seed.

    Raises:
      ValueError: the language has no grammar, or fewer sentences.
    """
    sentences = _language(lang).sentences(scene.message)
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
    return _normalized(text) in {_normalized(sentence) for sentence in _language(lang).sentences(scene.message)}


def _normalized(text: str) -> str:
    text = " ".join(text.casefold().split())
    return text[:-1].rstrip() if text.endswith((".", "。")) else text
