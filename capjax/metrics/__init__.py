"""Text to scores, in pure Python and numpy. Imports nothing else of capjax."""

from capjax.metrics.score import Scores, agreement, score
from capjax.metrics.tokenize import tokenizer_for

__all__ = ["Scores", "agreement", "score", "tokenizer_for"]
