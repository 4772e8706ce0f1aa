"""Text to scores, in pure Python and numpy. Imports nothing else of capjax."""

from capjax.metrics.idf import Idf
from capjax.metrics.score import (
    DEFAULT,
    FAMILIES,
    NAMES,
    Measure,
    Scores,
    check_metrics,
    default_metrics,
    leave_one_out,
    score,
)
from capjax.metrics.tokenize import tokenizer_for

__all__ = [
    "DEFAULT",
    "FAMILIES",
    "NAMES",
    "Idf",
    "Measure",
    "Scores",
    "check_metrics",
    "default_metrics",
    "leave_one_out",
    "score",
    "tokenizer_for",
]
