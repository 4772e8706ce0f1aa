"""The sanity check of Adebayo et al. (2018): maps of a model whose layers are replaced by random ones, one after
another from the output to the input."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy.stats import spearmanr

from capjax.explain.explanation import HeatMaps
from capjax.explain.methods import METHODS, Options
from capjax.explain.model import CaptionedBatch, CaptionModel
from capjax.models.pure_model import make_key


def randomized(model: CaptionModel, seed: int = 1) -> Iterator[tuple[str, tuple]]:
    """Yields (last randomized part, weights) for the decoder, what connects it, and the parts of the encoder from the
    last to the first."""
    params, batch_stats, *of_encoder = (dict(part) for part in model.weights)
    fresh = [dict(part) for part in model.parts.pure_model.init(make_key(seed))]
    assert not of_encoder, "for models that contain their encoder"
    for part in _parts([*params, *batch_stats]):
        for own, new in zip((params, batch_stats), fresh, strict=True):
            own.update({name: new[name] for name in own if _part_of(name) == part})
        yield "/".join(map(str, part)), (dict(params), dict(batch_stats))


def _part_of(name: str) -> tuple:
    top, *path = name.split("/")
    if top != "encoders":
        return (top,)
    numbers = path.index("stages") if "stages" in path else None
    return (top, *path[: numbers + 3]) if numbers is not None else (top, *path[:2])


def _parts(names: Sequence[str]) -> list[tuple]:
    parts = list(dict.fromkeys(map(_part_of, names)))
    order = {"decoder": 0, "temporal": 1, "events": 1, "connectors": 2}
    inner = sorted((part for part in parts if part[0] == "encoders"), reverse=True)  # `stem` is the input of `stages`
    stem = [part for part in inner if part[-1] in ("stem", "embed", "position")]
    outer = sorted((part for part in parts if part[0] != "encoders"), key=lambda part: order.get(part[0], 1))
    return [*outer, *(part for part in inner if part not in stem), *stem]


def maps_of(
    model: CaptionModel, batches: Sequence[CaptionedBatch], weights: tuple, methods: Mapping[str, Options]
) -> dict[str, list[HeatMaps]]:
    """The maps of every item by method, with other weights than the model's."""
    own, model.weights = model.weights, weights
    try:
        return {
            name: [maps for batch in batches for maps in METHODS.get(name)(model, batch, options)]
            for name, options in methods.items()
        }
    finally:
        model.weights = own


def mean_rank_correlation(first: Sequence[HeatMaps], second: Sequence[HeatMaps]) -> float:
    """Spearman's correlation of two maps of the same word, the mean over words and items. A constant map has 0."""
    values = []
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one.values, other.values, strict=True):
            if np.ptp(a) == 0 or np.ptp(b) == 0:
                values.append(0.0)
            else:
                values.append(float(spearmanr(a.ravel(), b.ravel()).statistic))
    return float(np.mean(values))
