"""Occlusion (Zeiler & Fergus 2014): by how much the log-probability of each word falls when one part is hidden."""

import numpy as np

from capjax.explain.explanation import HeatMaps
from capjax.explain.methods import METHODS, Options
from capjax.explain.model import CaptionedBatch, CaptionModel
from capjax.explain.perturbed import PerturbedItem

# Sizes of the parts, in multiples of the smallest.
_SIZES = (1, 2, 4)


@METHODS.register("occlusion")
def occlusion(model: CaptionModel, batch: CaptionedBatch, options: Options) -> list[HeatMaps]:
    """Maps of the fall of each word's log-probability when a superpixel of a photo, or a moment of a video, is replaced
    by the mean color.

    Parts of several sizes are hidden, one after another: what two small parts show, none of them hides alone. The value
    of a pixel is the fall for an area of the smallest size, the mean over the parts that the pixel lies in.
    """
    maps = []
    for row in range(len(batch.items)):
        item = PerturbedItem(model, batch, row)
        sizes = [item.segments(max(options.segments // size, 2)) for size in _SIZES]
        hidden = [(sizes[0], -1), *((each, number) for each in sizes for number in range(each.max() + 1))]

        def visible(part: slice, hidden=hidden) -> np.ndarray:
            return np.stack([segments != number for segments, number in hidden[part]])

        log_probs = item.log_probs(visible, len(hidden), description="occlusion")
        falls = np.split(log_probs[0] - log_probs[1:], np.cumsum([each.max() + 1 for each in sizes])[:-1])
        of_sizes = []
        for segments, fall in zip(sizes, falls, strict=True):
            share = np.bincount(segments[item.mask].ravel()) / segments[item.mask].size
            of_sizes.append((fall / share[:, None] / len(falls[0])).T[:, segments])
        maps.append(item.maps(np.mean(of_sizes, axis=0)))
    return maps
