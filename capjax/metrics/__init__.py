"""Text to scores, in pure Python and numpy. Imports nothing else of capjax."""

from capjax.metrics.score import METRICS, Scores, agreement, score
from capjax.metrics.tokenize import tokenizer_for

__all__ = ["METRICS", "Scores", "agreement", "score", "tokenizer_for"]
