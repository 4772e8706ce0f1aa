"""Finds the errors of captions: of their form in any language, and of what they say in English."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from capjax.analyze.content_errors import Comparison
from capjax.analyze.disagreement import Disagreement
from capjax.analyze.facts import ParsedCaption
from capjax.analyze.findings import GENERIC, LANGUAGE, MISSING, TRUNCATION, Finding
from capjax.analyze.form_errors import FormChecker
from capjax.analyze.labels import LabeledObject
from capjax.analyze.lexicon import Lexicon
from capjax.analyze.parser import Parser
from capjax.metrics.languages import is_english

Id = int | str


@dataclass
class CaptionErrors:
    """The errors of a set of captions in one language.

    Attributes:
      findings: {id: errors}.
      captions, references: {id: what they say}, of English ones.
      disagreement: how references differ from each other; None of other languages than English.
    """

    findings: dict[Id, list[Finding]]
    captions: dict[Id, ParsedCaption] = field(default_factory=dict)
    references: dict[Id, list[ParsedCaption]] = field(default_factory=dict)
    disagreement: Disagreement | None = None


def find_errors(
    captions: Mapping[Id, str],
    references: Mapping[Id, Sequence[str]],
    *,
    lang: str = "en",
    labels: Mapping[Id, list[LabeledObject]] | None = None,
    scores: Mapping[Id, Mapping[str, float]] | None = None,
    lexicon: Lexicon | None = None,
) -> CaptionErrors:
    """Finds the errors of captions.

    Args:
      captions: {id: caption}.
      references: {id: captions by people}, with the same ids.
      lang: language that the captions should have.
      labels: {id: objects in the picture}. Where an id has none, objects are judged by the agreement of the references.
      scores: {id: {category: highest score}} of the detector that made the labels; None for labels by people.
      lexicon: English words; by default those of capjax and the categories of the labels.
    """
    if not is_english(lang):
        checker = FormChecker(lang, captions, references)
        return CaptionErrors({id: checker.findings(id) for id in captions})
    lexicon = lexicon or Lexicon.of({item.category for objects in (labels or {}).values() for item in objects})
    parser = Parser(lexicon)
    checker = FormChecker(lang, captions, references, lexicon)
    result = CaptionErrors({})
    result.references = {id: [parser.parse(text) for text in references[id]] for id in captions}
    result.disagreement = Disagreement.of(result.references.values(), lexicon)
    for id, text in captions.items():
        result.captions[id] = parser.parse(text)
        form = checker.findings(id, result.captions[id])
        kinds = {finding.kind for finding in form}
        if LANGUAGE in kinds:
            result.findings[id] = form
            continue
        if checker.find_repetition(checker.words[id]):
            result.captions[id] = parser.parse(checker.without_repetition(id))
        own, own_scores = (labels or {}).get(id), (scores or {}).get(id)
        comparison = Comparison(result.captions[id], result.references[id], lexicon, own, own_scores)
        content = [f for f in comparison.findings() if result.disagreement.is_error(f)]
        if kinds & {GENERIC, TRUNCATION}:  # which is why something is missing
            content = [finding for finding in content if finding.kind != MISSING]
        cut = {finding.said for finding in form if finding.kind == TRUNCATION}
        content = [finding for finding in content if finding.said not in cut or not finding.said]
        result.findings[id] = [*content, *form]
    return result
