"""The ten kinds of errors, and one error of a caption with its evidence."""

from dataclasses import dataclass

Box = tuple[float, float, float, float]

HALLUCINATED, MISSING = "hallucinated object", "missing object"
ATTRIBUTE, NUMBER, RELATION, ACTION = "wrong attribute", "wrong number", "wrong relation", "wrong action"
REPETITION, TRUNCATION, GENERIC, LANGUAGE = "repetition", "truncation", "generic caption", "wrong language"
# Of what a caption says, in English; and of its form, in any language.
CONTENT_KINDS = (HALLUCINATED, MISSING, ATTRIBUTE, NUMBER, RELATION, ACTION)
FORM_KINDS = (REPETITION, TRUNCATION, GENERIC, LANGUAGE)
KINDS = (*CONTENT_KINDS, *FORM_KINDS)


@dataclass(frozen=True)
class Finding:
    """An error of a caption.

    Attributes:
      kind: one of KINDS.
      words: words of the caption that are wrong; empty where something is missing.
      said, expected: what they say, and what was to be said; empty where nothing is.
      source: what it was compared with: `labels`, `boxes`, `detector`, `references`, or `caption`, the caption alone.
      reason: the evidence in words.
      boxes: of the labels that are evidence, (x0, y0, x1, y1) as fractions of width and height.
      category: what kinds of evidence are compared with each other for `Disagreement`; empty: it needs no comparison.
    """

    kind: str
    words: str
    said: str
    expected: str
    source: str
    reason: str
    boxes: tuple[Box, ...] = ()
    category: str = ""
