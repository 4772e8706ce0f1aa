"""Caption metrics in numpy: BLEU, ROUGE-L, CIDEr, METEOR, dense captioning, diversity, CHAIR. No Java, no JAX.

The package imports nothing else of capjax, and its modules are imported at first use, so that
`capjax.metrics.names` costs nothing.

>>> from capjax.metrics import score
>>> score({"a.jpg": "a dog runs"}, {"a.jpg": ["A dog is running."]}, metrics=["bleu"]).corpus["BLEU-1"]
"""

import importlib
from typing import TYPE_CHECKING

from capjax.metrics.names import DEFAULT_FAMILIES, FAMILIES, check_families

if TYPE_CHECKING:
    from capjax.metrics.idf import Idf
    from capjax.metrics.metric import Measure, Metric
    from capjax.metrics.registry import register_metric
    from capjax.metrics.scoring import Scores, default_families, leave_one_out, score
    from capjax.metrics.tokenize import tokenizer_for

# {name: module that defines it}
_MODULES = {
    "Idf": "idf",
    "Measure": "metric",
    "Metric": "metric",
    "Scores": "scoring",
    "default_families": "scoring",
    "leave_one_out": "scoring",
    "register_metric": "registry",
    "score": "scoring",
    "tokenizer_for": "tokenize",
}

__all__ = [
    "DEFAULT_FAMILIES", "FAMILIES", "Idf", "Measure", "Metric", "Scores", "check_families", "default_families",
    "leave_one_out", "register_metric", "score", "tokenizer_for",
]  # fmt: skip


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
