"""chrF and BLEU by sacrebleu (extra `sacrebleu`), for every language: text as written, sacrebleu's tokenization."""

import numpy as np

from capjax.metrics.languages import primary_language
from capjax.metrics.metric import Captions, Measure, Metric
from capjax.metrics.signature import signature

# sacrebleu's tokenizer by language; its `13a` is for languages with spaces, `char` separates every character.
_TOKENIZERS = {"zh": "zh", "cmn": "zh", "yue": "zh"} | dict.fromkeys(("ja", "th", "km", "lo", "my"), "char")


class _SacreBleuMetric(Metric):
    """A metric of sacrebleu, from 0 to 100, with sacrebleu's own signature. It cannot be resampled."""

    reads_text = True

    def _scorers(self, lang: str):
        """Returns sacrebleu's scorers of a corpus and of a sentence."""
        raise NotImplementedError

    def measure(self, captions: Captions) -> dict[str, Measure]:
        """Scores captions. Raises ModuleNotFoundError if sacrebleu is not installed."""
        (name,) = self.names
        texts, references = captions.texts
        try:
            corpus_scorer, sentence_scorer = self._scorers(captions.lang)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{name} needs sacrebleu: pip install 'capjax[sacrebleu]'") from error
        most = max(map(len, references))
        streams = [[group[k] if k < len(group) else None for group in references] for k in range(most)]
        corpus = corpus_scorer.corpus_score(texts, streams).score
        items = [sentence_scorer.sentence_score(t, group).score for t, group in zip(texts, references, strict=True)]
        fields = {"items": len(items), "sacrebleu": str(corpus_scorer.get_signature())}
        return {name: Measure(float(corpus), np.array(items), None, None, signature(name, **fields))}


class Chrf(_SacreBleuMetric):
    """chrF (Popovic 2015)."""

    family = "chrf"
    names = ("chrF",)

    def _scorers(self, lang: str):
        from sacrebleu.metrics import CHRF

        return CHRF(), CHRF()


class SacreBleu(_SacreBleuMetric):
    """BLEU (Post 2018); an item's score is its sentence BLEU with the effective order, as sacrebleu advises."""

    family = "sacrebleu"
    names = ("sacreBLEU",)

    def _scorers(self, lang: str):
        from sacrebleu.metrics import BLEU

        tokenize = _TOKENIZERS.get(primary_language(lang), "13a")
        return BLEU(tokenize=tokenize), BLEU(tokenize=tokenize, effective_order=True)
