"""chrF and BLEU by sacrebleu, for every language: scores of text as it is written, with sacrebleu's own tokenization
and its own signature. The extra `sacrebleu`."""

from collections.abc import Sequence

import numpy as np

# sacrebleu's tokenizer by language; its `13a` is for languages with spaces, `char` parts every character.
_TOKENIZERS = {"zh": "zh", "yue": "zh"} | dict.fromkeys(("ja", "th", "km", "lo", "my"), "char")


def compute(
    name: str, predictions: Sequence[str], references: Sequence[Sequence[str]], lang: str
) -> tuple[float, np.ndarray, str]:
    """(corpus score, scores float64 [items], sacrebleu's signature), from 0 to 100 as sacrebleu gives them.

    An item's BLEU is its sentence score with the effective order, as sacrebleu advises.

    Args:
      name: `chrF` (Popovic 2015) or `sacreBLEU` (Post 2018).

    Raises:
      ModuleNotFoundError: the extra is not installed.
    """
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{name} needs sacrebleu: pip install 'capjax[sacrebleu]'") from error
    tokenize = _TOKENIZERS.get(lang.replace("_", "-").split("-")[0].lower(), "13a")
    options = {} if name == "chrF" else {"tokenize": tokenize}
    metric = CHRF() if name == "chrF" else BLEU(**options)
    single = CHRF() if name == "chrF" else BLEU(effective_order=True, **options)
    most = max(map(len, references))
    streams = [[group[k] if k < len(group) else None for group in references] for k in range(most)]
    value = metric.corpus_score(list(predictions), streams).score
    items = [single.sentence_score(p, list(group)).score for p, group in zip(predictions, references, strict=True)]
    return float(value), np.array(items), str(metric.get_signature())
