"""METEOR 1.5 for English, without Java. The package pycocoevalcap has its data: `pip install 'capjax[meteor]'`."""

from capjax.metrics.meteor.resources import is_installed
from capjax.metrics.meteor.scorer import STATISTICS, Meteor, aggregate, statistics

__all__ = ["STATISTICS", "Meteor", "aggregate", "is_installed", "statistics"]
