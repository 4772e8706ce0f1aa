"""Predictions and references to scores."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from capjax.metrics import bleu, meteor, sacre, spice
from capjax.metrics.cider import cider
from capjax.metrics.idf import Idf
from capjax.metrics.messages import shorten
from capjax.metrics.names import DEFAULT_FAMILIES, check_families
from capjax.metrics.ngrams import Corpus, Grams, grams
from capjax.metrics.rouge import rouge_l
from capjax.metrics.signature import Absent, signature, spread
from capjax.metrics.tokenize import Tokenizer, is_english, tokenizer_for, tokenizer_name


@dataclass(frozen=True)
class Measure:
    """One metric of a set of captions.

    Attributes:
      corpus: its value for the set.
      items: float64 [items].
      statistics: float64 [k, items], which a value is made of once they are summed over items, and
      aggregate: [k, ...] -> [...], which makes it: what resampling needs. None where the metric cannot tell.
      signature: how it was computed.
    """

    corpus: float
    items: np.ndarray
    statistics: np.ndarray | None
    aggregate: Callable[[np.ndarray], np.ndarray] | None
    signature: str


@dataclass(frozen=True)
class Scores:
    """Attributes:
    measures: {metric: Measure}.
    ids: the items, in the order of every measure's `items`.
    absent: {metric: why}, of those that were asked for and cannot be computed here. They are not 0.
    warnings: what to know before a figure is believed.
    """

    measures: dict[str, Measure]
    ids: list
    absent: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def corpus(self) -> dict[str, float]:
        """{metric: value}, as published (CIDEr of 0.41 is "41" in papers that multiply by 100)."""
        return {name: measure.corpus for name, measure in self.measures.items()}

    @property
    def items(self) -> dict[str, np.ndarray]:
        """{metric: float64 [items]}."""
        return {name: measure.items for name, measure in self.measures.items()}

    @property
    def signatures(self) -> dict[str, str]:
        """{metric: how it was computed}."""
        return {name: measure.signature for name, measure in self.measures.items()}


@dataclass(frozen=True)
class _Captions:
    """What the metrics compute from, each thing once."""

    predictions: list[str]
    references: list[list[str]]
    lang: str
    tokenize: Tokenizer
    tokenizer: str
    idf: Idf | None

    @cached_property
    def hypotheses(self) -> list[list[str]]:
        return [self.tokenize(text) for text in self.predictions]

    @cached_property
    def groups(self) -> list[list[list[str]]]:
        return [[self.tokenize(text) for text in texts] for texts in self.references]

    @cached_property
    def corpus(self) -> Corpus:
        return Corpus.of(self.hypotheses, self.groups)

    @cached_property
    def counts(self) -> list[Grams]:
        return grams(self.corpus)

    def signature(self, metric: str, **fields) -> str:
        """With what all metrics have in common."""
        told = {"items": len(self.predictions), "refs": spread(map(len, self.references)), "tok": self.tokenizer}
        return signature(metric, **(told | fields))

    def mean(self, metric: str, values: np.ndarray, **fields) -> Measure:
        """A metric that is the mean over items."""
        statistics = np.stack([values, np.ones(len(values))])
        return Measure(float(values.mean()), values, statistics, _mean, self.signature(metric, **fields))


def _mean(sums: np.ndarray) -> np.ndarray:
    return sums[0] / sums[1]


def _bleu(captions: _Captions) -> dict[str, Measure]:
    statistics = bleu.statistics(captions.corpus, captions.counts)
    whole, items = bleu.aggregate(statistics.sum(1)), bleu.aggregate(statistics)
    return {
        f"BLEU-{n + 1}": Measure(
            float(whole[n]), items[n], statistics, lambda sums, n=n: bleu.aggregate(sums)[n],
            captions.signature(f"BLEU-{n + 1}", length="closest"),
        )
        for n in range(len(whole))
    }  # fmt: skip


def _rouge(captions: _Captions) -> dict[str, Measure]:
    return {"ROUGE-L": captions.mean("ROUGE-L", rouge_l(captions.hypotheses, captions.groups)[1])}


def _cider(captions: _Captions) -> dict[str, Measure]:
    values = cider(captions.corpus, captions.counts, captions.idf)[1]
    source = f"{captions.idf.source}({captions.idf.documents})" if captions.idf else "references"
    return {name: captions.mean(name, values, idf=source) for name in ("CIDEr", "CIDEr-D")}


def _meteor(captions: _Captions) -> dict[str, Measure]:
    if not is_english(captions.lang):
        raise Absent("METEOR 1.5 has its synonyms and paraphrases for English only here")
    statistics = meteor.statistics(captions.hypotheses, captions.groups)
    whole, items = meteor.aggregate(statistics.sum(1)), meteor.aggregate(statistics)
    told = captions.signature("METEOR", version="1.5", task="rank", norm="yes")
    return {"METEOR": Measure(float(whole), items, statistics, meteor.aggregate, told)}


def _sacre(captions: _Captions, name: str) -> dict[str, Measure]:
    value, items, told = sacre.compute(name, captions.predictions, captions.references, captions.lang)
    return {name: Measure(value, items, None, None, signature(name, items=len(items), sacrebleu=told))}


def _spice(captions: _Captions) -> dict[str, Measure]:
    if not is_english(captions.lang):
        raise Absent("it is defined for English only")
    return {"SPICE": captions.mean("SPICE", spice.compute(captions.predictions, captions.references), tok="corenlp")}


# Each family computes its metrics from captions; what it raises of Absent is told instead of a figure.
_FAMILIES: dict[str, Callable[[_Captions], dict[str, Measure]]] = {
    "bleu": _bleu,
    "rouge": _rouge,
    "cider": _cider,
    "meteor": _meteor,
    "chrf": lambda captions: _sacre(captions, "chrF"),
    "sacrebleu": lambda captions: _sacre(captions, "sacreBLEU"),
    "spice": _spice,
}


def default_families(lang: str = "en") -> tuple[str, ...]:
    """What is computed where nobody chose: DEFAULT_FAMILIES, and METEOR for English where its data is installed."""
    return (*DEFAULT_FAMILIES, "meteor") if is_english(lang) and meteor.is_installed() else DEFAULT_FAMILIES


def score(
    predictions: Mapping[object, str],
    references: Mapping[object, Sequence[str]],
    *,
    lang: str = "en",
    metrics: Iterable[str] = DEFAULT_FAMILIES,
    idf: Idf | None = None,
    tokenize: Tokenizer | None = None,
) -> Scores:
    """Scores captions; BLEU-1 to BLEU-4, ROUGE-L and CIDEr equal pycocoevalcap's.

    `CIDEr` and `CIDEr-D` are one figure under its two names: see capjax.metrics.cider.

    Args:
      predictions: one caption for each id; references: captions for each of the same ids.
      lang: which language they are in; it decides how they are tokenized.
      metrics: names of FAMILIES.
      idf: document frequencies for CIDEr; without them those of the references.
      tokenize: text -> words, in place of the language's own.

    Raises:
      ValueError: an id is missing on one side, or has no references; the message names it. An unknown metric.
      TypeError: a caption is no string.
      ModuleNotFoundError: a metric needs an extra that is not installed; the message says which.
    """
    _check(predictions, references)
    metrics = check_families(metrics)
    ids = list(predictions)
    tokenizer = tokenizer_name(lang) if tokenize is None else f"custom:{getattr(tokenize, '__name__', 'unnamed')}"
    if idf and idf.tokenizer != tokenizer:
        raise ValueError(f"the idf of {idf.source} was counted with tokenizer {idf.tokenizer}, and this is {tokenizer}")
    captions = _Captions(
        [predictions[id] for id in ids], [list(references[id]) for id in ids], lang,
        tokenize or tokenizer_for(lang), tokenizer, idf,
    )  # fmt: skip
    measures, absent = {}, {}
    for name in metrics:
        try:
            measures |= _FAMILIES[name](captions)
        except Absent as why:
            absent[name] = str(why)
    return Scores(measures, ids, absent, _traps(captions, metrics))


def _traps(captions: _Captions, metrics: Sequence[str]) -> list[str]:
    """Figures that are 0, or nearly, for another reason than bad captions."""
    warnings = []
    empty = sum(not words for words in captions.hypotheses)
    if empty:
        warnings.append(f"{empty} of {len(captions.hypotheses)} predictions have no word: they score 0")
    if "cider" in metrics and captions.idf is None:
        distinct = {tuple(map(tuple, sorted(group))) for group in captions.groups}
        if len(distinct) == 1:
            what = "one item" if len(captions.groups) == 1 else "items that all have the same references"
            warnings.append(
                f"CIDEr of {what} is 0 by definition: every n-gram is in all documents. Give the statistics of a "
                "larger set (--idf train.json, or idf=Idf.of(...))"
            )
    if "bleu" in metrics and max(map(len, captions.hypotheses)) < 4:
        warnings.append("no prediction has four words: BLEU-4 is 0 whatever they say")
    known = {word for group in captions.groups for words in group for word in words}
    if empty < len(captions.hypotheses) and not any(word in known for words in captions.hypotheses for word in words):
        warnings.append(
            "no word of any prediction stands in any reference: are they of the same language "
            f"(lang is {captions.lang!r}), and tokenized alike?"
        )
    return warnings


def leave_one_out(
    references: Mapping[object, Sequence[str]], *, lang: str = "en", tokenize: Tokenizer | None = None
) -> dict[str, float]:
    """What the references score against each other: each in turn against the others of its item, and the mean.

    A measure of how much people agree, to hold a model's scores against. Items with a single reference are left out.

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
    return {metric: float(np.mean([s[metric] for s in scores])) for metric in scores[0]}


def _check(predictions, references):
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
                raise TypeError(f"{id!r}: a caption is a string, not {text!r}")
