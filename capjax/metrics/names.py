"""Names of metrics and of the figures of dense captioning. Importing this module imports no metric and no numpy.

Metrics are chosen by family: a family is a group of metrics that are computed together, such as BLEU-1 to BLEU-4. The
name of a metric chooses its family.
`capjax.metrics.registry.register_metric` adds the names of further families to the tables.
"""

import difflib
from collections.abc import Iterable, Sequence

# {family: its metrics} of captions of single items.
FAMILIES: dict[str, tuple[str, ...]] = {
    "bleu": ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"),
    "rouge": ("ROUGE-L",),
    "cider": ("CIDEr", "CIDEr-D"),
    "meteor": ("METEOR",),
    "chrf": ("chrF",),
    "sacrebleu": ("sacreBLEU",),
    "spice": ("SPICE",),
}
# The same for dense captions, of the families that can score pairs of tokenized sentences.
DENSE_FAMILIES: dict[str, tuple[str, ...]] = {
    "bleu": FAMILIES["bleu"],
    "rouge": FAMILIES["rouge"],
    "cider": ("CIDEr",),
    "meteor": FAMILIES["meteor"],
}
DEFAULT_FAMILIES = ("bleu", "rouge", "cider")

# Thresholds of temporal intersection over union at which dense captions are scored.
TIOUS = (0.3, 0.5, 0.7, 0.9)
# Text metrics for SODA_c in the order of preference.
SODA_METRICS = ("METEOR", "ROUGE-L", "CIDEr")
# {figure: why it may be undefined} of events matched in time; see capjax.metrics.temporal.
TEMPORAL_FIGURES = {
    "matched events": "there are no annotated events",
    "matched tIoU": "no predicted event overlaps an annotated one",
    "boundary error median (s)": "no predicted event overlaps an annotated one",
    "boundary error p90 (s)": "no predicted event overlaps an annotated one",
    "Kendall tau": "no video has two matched events that start at different times",
}
LOWER_IS_BETTER = ("boundary error median (s)", "boundary error p90 (s)")


def find_family(name: str) -> str | None:
    """Returns the family that a name chooses: of a family (`bleu`), or of a metric as tables print it (`BLEU-4`), in
    upper or lower case, with - or _. None if there is no such metric."""
    return _families_by_key().get(_key(name))


def check_families(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the metric families that are named, without repetitions; see `find_family`.

    Raises:
      ValueError: there is no metric of a name, or there are no names.
      TypeError: `names` is a single string.
    """
    if isinstance(names, str):
        raise TypeError(f"metrics: expected a list of names, such as [{names!r}]")
    chosen: dict[str, None] = {}
    for name in names:
        family = find_family(name)
        if family is None:
            near = difflib.get_close_matches(_key(name), _families_by_key(), n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ValueError(f"there is no metric {name.strip()!r}; {hint}choose from {', '.join(FAMILIES)}")
        chosen[family] = None
    if not chosen:
        raise ValueError(f"no metric is named; choose from {', '.join(FAMILIES)}")
    return tuple(chosen)


def _families_by_key() -> dict[str, str]:
    metrics = {_key(metric): family for family, names in FAMILIES.items() for metric in names}
    return metrics | {_key(family): family for family in FAMILIES}


def _key(name: str) -> str:
    return name.strip().lower().replace("_", "-")


def metric_names(families: Iterable[str]) -> list[str]:
    """Returns the names of the metrics that the families give for captions."""
    return [name for family in check_families(families) for name in FAMILIES[family]]


def dense_metric_names(families: Iterable[str]) -> list[str]:
    """Returns the names of the text metrics that the families give for dense captions: METEOR first, as in papers.

    Raises:
      ValueError: there is no such family, or it does not score dense captions.
    """
    families = sorted(check_families(families), key=lambda family: family != "meteor")
    for family in families:
        if family not in DENSE_FAMILIES:
            raise ValueError(f"dense captions are not scored by {family!r}; choose from {', '.join(DENSE_FAMILIES)}")
    return [name for family in families for name in DENSE_FAMILIES[family]]


def dense_figures(families: Iterable[str], tious: Sequence[float] = TIOUS) -> list[str]:
    """Returns the names of all figures of dense captioning with these metric families, absent ones included.

    Raises:
      ValueError: a family does not score dense captions.
    """
    metrics = dense_metric_names(families)
    by_tiou = [*metrics, "Precision", "Recall", "F1"]
    sodas = ["SODA_d", *(soda_name(name) for name in SODA_METRICS if name in metrics)][:2]
    return [
        *by_tiou,
        *(f"{name}@{tiou:g}" for name in by_tiou for tiou in tious),
        *(f"{name}{part}" for name in sodas for part in ("", " precision", " recall")),
        *(f"paragraph {name}" for name in metrics),
        *TEMPORAL_FIGURES,
    ]


def soda_name(metric: str) -> str:
    """Returns the name of SODA_c with a text metric; only with METEOR, as published, it is plain `SODA_c`."""
    return "SODA_c" if metric == "METEOR" else f"SODA_c ({metric})"
