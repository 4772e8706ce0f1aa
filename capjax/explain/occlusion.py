"""Occlusion (Zeiler & Fergus 2014): by how much the log-probability of each word falls when one part is hidden."""

import numpy as np

from capjax.explain.explanation import HeatMaps
from capjax.explain.methods import METHODS, Options
from capjax.explain.model import CaptionedBatch, CaptionModel
from capjax.explain.perturbed import PerturbedItem


@METHODS.register("occlusion")
def occlusion(model: CaptionModel, batch: CaptionedBatch, options: Options) -> list[HeatMaps]:
    """Maps of the fall of each word's log-probability when a superpixel of a photo, or a moment of a video, is replaced
    by the mean color."""
    maps = []
    for row in range(len(batch.items)):
        item = PerturbedItem(model, batch, row)
        segments = item.segments(options.segments)
        masks = hide_each(int(segments.max()) + 1)
        log_probs = item.log_probs(lambda part: masks[part][:, segments], len(masks), description="occlusion")  # noqa: B023
        maps.append(item.maps(segments, log_probs[0] - log_probs[1:]))
    return maps


def hide_each(segments: int) -> np.ndarray:
    """Returns masks [segments + 1, segments] that show all segments, and then all but one."""
    return np.concatenate([np.ones((1, segments), bool), ~np.eye(segments, dtype=bool)])
