"""LIME (Ribeiro et al. 2016): a linear model of each word's log-probability around one photo or video.

p: perturbed inputs; s: segments; words: those of a caption and then the whole caption.
"""

import numpy as np
from jaxtyping import Bool, Float

from capjax.explain.explanation import HeatMaps
from capjax.explain.methods import METHODS, Options
from capjax.explain.model import CaptionedBatch, CaptionModel
from capjax.explain.perturbed import PerturbedItem

# Of the `lime` package: width of the kernel, and the penalty on coefficients.
_KERNEL_WIDTH, _PENALTY = 0.25, 1.0


@METHODS.register("lime")
def lime(model: CaptionModel, batch: CaptionedBatch, options: Options) -> list[HeatMaps]:
    """Maps of the coefficients of the segments in a linear model of each word's log-probability.

    Superpixels of a photo, or moments of a video, are replaced by the mean color in random combinations.
    """
    maps = []
    for row in range(len(batch.items)):
        item = PerturbedItem(model, batch, row)
        segments = item.segments(options.segments)
        masks = random_masks(options.samples, int(segments.max()) + 1)
        log_probs = item.log_probs(lambda part: masks[part][:, segments], len(masks), description="lime")  # noqa: B023
        maps.append(item.maps(coefficients(masks, log_probs).T[:, segments]))
    return maps


def random_masks(samples: int, segments: int) -> Bool[np.ndarray, "p s"]:
    """Returns masks in which each segment is visible with a probability of one half; in the first, all are."""
    masks = np.random.default_rng(0).random((samples, segments)) < 0.5
    masks[0] = True
    return masks


def coefficients(
    masks: Bool[np.ndarray, "p s"], log_probs: Float[np.ndarray, "p words"]
) -> Float[np.ndarray, "s words"]:  # fmt: skip
    """Returns the coefficients of a weighted ridge regression from what is visible to each word's log-probability.

    The weight of a perturbed input falls with its cosine distance from the whole input, as in the `lime` package.
    """
    from sklearn.linear_model import Ridge

    visible = masks.astype(np.float64)
    distance = 1 - np.sqrt(visible.mean(1))  # the cosine distance of a mask from all ones
    weights = np.sqrt(np.exp(-((distance / _KERNEL_WIDTH) ** 2)))
    model = Ridge(alpha=_PENALTY).fit(visible, log_probs.astype(np.float64), sample_weight=weights)
    return model.coef_.reshape(log_probs.shape[1], -1).T  # of a single word it has one axis
