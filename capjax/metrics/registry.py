"""The table of metric families. A plug-in adds its own with `register_metric`."""

from collections.abc import Callable, Iterable, Mapping

from capjax.metrics.bleu import Bleu
from capjax.metrics.cider import Cider
from capjax.metrics.meteor import Meteor
from capjax.metrics.metric import FunctionMetric, Metric
from capjax.metrics.names import DENSE_FAMILIES, FAMILIES, check_families, dense_metric_names
from capjax.metrics.rouge import RougeL
from capjax.metrics.sacre import Chrf, SacreBleu
from capjax.metrics.spice import Spice

METRICS: dict[str, Metric] = {
    metric.family: metric for metric in (Bleu(), RougeL(), Cider(), Meteor(), Chrf(), SacreBleu(), Spice())
}


def register_metric(metric: Metric):
    """Makes a metric available by the name of its family, to `score`, `score_dense`, configs and the command line.

    Raises:
      ValueError: the family, or one of its names, is taken by another metric.
    """
    old = METRICS.get(metric.family)
    is_same = (type(old).__module__, type(old).__qualname__) == (type(metric).__module__, type(metric).__qualname__)
    if old and not is_same:  # the module of a metric may be imported again
        raise ValueError(f"there is a metric {metric.family!r} already: {type(old).__name__}")
    for family, names in FAMILIES.items():
        if family != metric.family and (taken := set(names) & set(metric.names)):
            raise ValueError(f"metric {metric.family!r}: {sorted(taken)[0]} is a metric of {family!r} already")
    METRICS[metric.family] = metric
    FAMILIES[metric.family] = metric.names
    if not metric.reads_text:
        DENSE_FAMILIES[metric.family] = metric.names


def dense_metrics(metrics: Mapping[str, Callable] | Iterable[str]) -> list[Metric]:
    """Returns the metrics of dense captions.

    Args:
      metrics: families, METEOR first in the result; or {name: function}, see `FunctionMetric`.

    Raises:
      ValueError: a family does not score dense captions.
      TypeError: a value is not a function, or `metrics` is a single string.
    """
    if isinstance(metrics, Mapping):
        for name, function in metrics.items():
            if not callable(function):
                raise TypeError(f"metric {name!r}: expected function(hypotheses, references), found {function!r}")
        return [FunctionMetric(name, function) for name, function in metrics.items()]
    families = check_families(metrics)
    dense_metric_names(families)
    return [METRICS[family] for family in sorted(families, key=lambda family: family != "meteor")]
