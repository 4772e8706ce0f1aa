"""Messages to sentences, and back to whether a sentence is true."""

import numpy as np

from data_prep.synthetic.shapes.languages import LANGUAGES, Language
from data_prep.synthetic.shapes.scene import Scene

# For every kind of message, in every language.
PARAPHRASES = min(len(patterns) for language in LANGUAGES.values() for patterns in language.patterns.values())


def _language(lang: str) -> Language:
    if lang not in LANGUAGES:
        raise ValueError(f"no grammar for {lang!r}; there is one for {', '.join(LANGUAGES)}")
    return LANGUAGES[lang]


def captions(scene: Scene, lang: str, count: int) -> list[str]:
    """`count` different sentences about the scene, chosen and ordered by its seed.

    Raises:
      ValueError: the language has no grammar here, or not so many sentences.
    """
    sentences = _language(lang).sentences(scene.message)
    if not 0 <= count <= len(sentences):
        raise ValueError(f"{count} paraphrases asked for; there are {len(sentences)} for each picture")
    rng = np.random.default_rng([*scene.seed, 2])
    return [sentences[i] for i in rng.permutation(len(sentences))[:count]]


def is_true(scene: Scene, lang: str, text: str) -> bool:
    """Whether the text is one of the sentences that say the scene's message, be it among its captions or not.

    Case, white space and the final period do not matter; every other character does. What is true besides but not
    the message (of three things in a row, how two of them lie) is no sentence of the scene.

    Raises:
      ValueError: the language has no grammar here.
    """
    return _plain(text) in {_plain(sentence) for sentence in _language(lang).sentences(scene.message)}


def _plain(text: str) -> str:
    text = " ".join(text.casefold().split())
    return text[:-1].rstrip() if text.endswith((".", "。")) else text
