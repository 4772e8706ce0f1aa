"""Predictions and references to scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from capjax.metrics import ptb
from capjax.metrics.bleu import bleu
from capjax.metrics.cider import cider
from capjax.metrics.ngrams import Corpus, grams
from capjax.metrics.rouge import rouge_l
from capjax.metrics.tokenize import Tokenizer, tokenizer_for

METRICS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr", "CIDEr-D")


@dataclass(frozen=True)
class Scores:
    """Attributes:
    corpus: {metric: value}, as published (CIDEr of 0.41 is "41" in papers that multiply by 100).
    items: {metric: float64 [items]}, in the order of `ids`.
    """

    corpus: dict[str, float]
    items: dict[str, np.ndarray]
    ids: list


def score(
    predictions: Mapping[object, str], references: Mapping[object, Sequence[str]], *, tokenize: Tokenizer = ptb.tokenize
) -> Scores:
    """BLEU-1 to BLEU-4, ROUGE-L and CIDEr, equal to pycocoevalcap's.

    `CIDEr` and `CIDEr-D` are one figure under its two names: see capjax.metrics.cider.

    Args:
      predictions: one caption for each id; references: captions for each of the same ids.
      tokenize: text -> words; see `tokenizer_for` for other languages than English.

    Raises:
      ValueError: an id is missing on one side, or has no references; the message names it.
      TypeError: a caption is no string.
    """
    _check(predictions, references)
    ids = list(predictions)
    hypotheses = [tokenize(predictions[id]) for id in ids]
    groups = [[tokenize(text) for text in references[id]] for id in ids]
    corpus = Corpus.of(hypotheses, groups)
    counts = grams(corpus)
    bleus, bleu_items = bleu(corpus, counts)
    rouge, rouge_items = rouge_l(hypotheses, groups)
    cider_d, cider_items = cider(corpus, counts)
    return Scores(
        {f"BLEU-{n}": value for n, value in enumerate(bleus, 1)}
        | {"ROUGE-L": rouge, "CIDEr": cider_d, "CIDEr-D": cider_d},
        {f"BLEU-{n}": values for n, values in enumerate(bleu_items, 1)}
        | {"ROUGE-L": rouge_items, "CIDEr": cider_items, "CIDEr-D": cider_items},
        ids,
    )


def agreement(references: Mapping[object, Sequence[str]], *, tokenize: Tokenizer = ptb.tokenize) -> dict[str, float]:
    """What the references score against each other: each in turn against the others of its item, and the mean.

    A measure of how much people differ, to hold a model's scores against. Items with a single reference are left out.

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
            tokenize=tokenize,
        ).corpus
        for turn in range(turns)
    ]
    return {metric: float(np.mean([s[metric] for s in scores])) for metric in scores[0]}


def _check(predictions, references):
    def some(ids) -> str:
        ids = list(ids)
        return ", ".join(map(repr, ids[:5])) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")

    if not predictions:
        raise ValueError("there are no predictions to score")
    if missing := [id for id in references if id not in predictions]:
        raise ValueError(f"no prediction for {some(missing)}")
    if extra := [id for id in predictions if id not in references]:
        raise ValueError(f"no references for {some(extra)}")
    for id, texts in references.items():
        if isinstance(texts, str) or not len(texts):
            raise ValueError(f"references of {id!r}: expected a list of captions, found {texts!r}")
        for text in (predictions[id], *texts):
            if not isinstance(text, str):
                raise TypeError(f"{id!r}: a caption is a string, not {text!r}")


__all__ = ["Scores", "agreement", "score", "tokenizer_for"]
