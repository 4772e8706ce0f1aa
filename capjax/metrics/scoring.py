"""Scores of captions against references."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from capjax.metrics import meteor
from capjax.metrics.idf import Idf
from capjax.metrics.languages import check_lang, is_english
from capjax.metrics.messages import option, shorten
from capjax.metrics.metric import Captions, Measure
from capjax.metrics.names import DEFAULT_FAMILIES, check_families
from capjax.metrics.registry import METRICS
from capjax.metrics.signature import Absent
from capjax.metrics.tokenize import Tokenizer, tokenizer_for, tokenizer_name


@dataclass(frozen=True)
class Scores:
    """The scores of a set of captions.

    Attributes:
      measures: {metric: Measure}.
      ids: the items, in the order of every measure's `items`.
      absent: {family: reason} for metrics that cannot be computed here. An absent score is not 0.
      warnings: reasons to distrust a score.
    """

    measures: dict[str, Measure]
    ids: list
    absent: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def corpus(self) -> dict[str, float]:
        """{metric: score of the set}, not multiplied by 100 (papers write a CIDEr of 0.41 as 41)."""
        return {name: measure.corpus for name, measure in self.measures.items()}

    @property
    def items(self) -> dict[str, np.ndarray]:
        """{metric: float64 [items]}."""
        return {name: measure.items for name, measure in self.measures.items()}

    @property
    def signatures(self) -> dict[str, str]:
        """{metric: how it was computed}."""
        return {name: measure.signature for name, measure in self.measures.items()}


def default_families(lang: str = "en") -> tuple[str, ...]:
    """Returns the metric families to compute by default: for English with METEOR, if its data is installed."""
    return (*DEFAULT_FAMILIES, "meteor") if is_english(lang) and meteor.is_installed() else DEFAULT_FAMILIES


def score(
    predictions: Mapping[Any, str],
    references: Mapping[Any, Sequence[str]],
    *,
    lang: str = "en",
    metrics: Iterable[str] = DEFAULT_FAMILIES,
    idf: Idf | None = None,
    tokenize: Tokenizer | None = None,
) -> Scores:
    """Scores captions; BLEU-1 to BLEU-4, ROUGE-L and CIDEr equal pycocoevalcap's.

    `CIDEr` and `CIDEr-D` are two names of one figure: see capjax.metrics.cider.

    Args:
      predictions: {id: caption}.
      references: {id: captions} for the same ids.
      lang: BCP 47 code of the language of the captions; it decides how they are tokenized.
      metrics: metric families, such as "bleu", see capjax.metrics.names.FAMILIES; the name of a metric, such as
        "BLEU-4", chooses its family.
      idf: document frequencies for CIDEr; by default those of the references.
      tokenize: text -> words, instead of the language's own tokenizer.

    Raises:
      ValueError: an id is missing on one side or has no references (the message names it), or there is no such metric
        or language.
      TypeError: a caption is not a string.
      ModuleNotFoundError: a metric needs an extra that is not installed; the message names it.
    """
    _check(predictions, references)
    check_lang(lang)
    families = check_families(metrics)
    ids = list(predictions)
    tokenizer = tokenizer_name(lang) if tokenize is None else f"custom:{getattr(tokenize, '__name__', 'unnamed')}"
    if idf and idf.tokenizer != tokenizer:
        raise ValueError(
            f"the document frequencies of {idf.source} were counted with tokenizer {idf.tokenizer}; captions are "
            f"tokenized by {tokenizer}. Count them again from the captions"
        )
    texts = [predictions[id] for id in ids], [list(references[id]) for id in ids]
    tokenize = tokenize or tokenizer_for(lang)
    captions = Captions(
        [tokenize(text) for text in texts[0]], [[tokenize(text) for text in group] for group in texts[1]],
        texts, lang, tokenizer, idf,
    )  # fmt: skip
    measures: dict[str, Measure] = {}
    absent: dict[str, str] = {}
    for family in families:
        try:
            METRICS[family].check_language(lang)
            measures |= METRICS[family].measure(captions)
        except Absent as error:
            absent[family] = str(error)
    return Scores(measures, ids, absent, _warnings(captions, families))


def leave_one_out(
    references: Mapping[Any, Sequence[str]], *, lang: str = "en", tokenize: Tokenizer | None = None
) -> dict[str, float]:
    """Returns how well the references score against each other, {metric: score}: a measure of human agreement.

    Each reference in turn is scored against the others of its item; the scores are the means over the turns. Items
    with a single reference are left out.

    Raises:
      ValueError: no item has two references.
    """
    groups = {id: texts for id, texts in references.items() if len(texts) > 1}
    if not groups:
        raise ValueError("no item has two references to compare")
    turns = min(map(len, groups.values()))
    scores = [
        score(
            {id: texts[turn] for id, texts in groups.items()},
            {id: [*texts[:turn], *texts[turn + 1 :]] for id, texts in groups.items()},
            lang=lang,
            tokenize=tokenize,
        ).corpus
        for turn in range(turns)
    ]
    return {metric: float(np.mean([each[metric] for each in scores])) for metric in scores[0]}


def _check(predictions: Mapping, references: Mapping):
    if not predictions:
        raise ValueError("there are no predictions to score")
    if missing := [id for id in references if id not in predictions]:
        raise ValueError(f"no prediction for {shorten(missing)}")
    if extra := [id for id in predictions if id not in references]:
        raise ValueError(f"no references for {shorten(extra)}")
    for id, texts in references.items():
        if isinstance(texts, str) or not len(texts):
            raise ValueError(f"references of {id!r}: expected a list of captions, found {texts!r}")
        for text in (predictions[id], *texts):
            if not isinstance(text, str):
                raise TypeError(f"{id!r}: expected a caption as a string, found {text!r}")


def _warnings(captions: Captions, families: Sequence[str]) -> list[str]:
    """Returns the reasons, other than bad captions, why a score is 0 or close to it."""
    warnings = []
    hypotheses, references = captions.hypotheses, captions.references
    empty = sum(not words for words in hypotheses)
    if empty:
        warnings.append(f"{empty} of {len(hypotheses)} predictions have no words: they score 0")
    if "cider" in families and captions.idf is None:
        distinct = {tuple(sorted(map(tuple, group))) for group in references}
        if len(distinct) == 1:
            items = "one item" if len(references) == 1 else "items that all have the same references"
            warnings.append(
                f"CIDEr of {items} is 0 by definition: every n-gram is in all documents. Give the statistics of a "
                "larger set (--idf train.json, or idf=Idf.of(...))"
            )
    if "bleu" in families and max(map(len, hypotheses)) < 4:
        warnings.append("no prediction has four words: BLEU-4 is 0 regardless of the words")
    reference_words = {word for group in references for words in group for word in words}
    if empty < len(hypotheses) and not any(word in reference_words for words in hypotheses for word in words):
        warnings.append(
            "no word of any prediction is in any reference: are they in the same language "
            f"({option('lang')} is {captions.lang}) and tokenized alike?"
        )
    return warnings
