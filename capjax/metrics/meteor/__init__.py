"""METEOR 1.5 for English without Java. Its data is in the package pycocoevalcap: `pip install 'capjax[meteor]'`."""

from capjax.metrics.meteor.resources import is_installed
from capjax.metrics.meteor.scorer import STATISTICS, aggregate, statistics

__all__ = ["STATISTICS", "aggregate", "is_installed", "statistics"]
