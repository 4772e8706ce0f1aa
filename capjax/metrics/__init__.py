"""Text to scores, in pure Python and numpy. Imports nothing else of capjax."""

from capjax.metrics.score import Scores, score
from capjax.metrics.tokenize import tokenizer_for

__all__ = ["Scores", "score", "tokenizer_for"]
