"""The segments of photos and videos that occlusion and LIME hide."""

import numpy as np
from jaxtyping import Int, UInt8


def superpixels(picture: UInt8[np.ndarray, "h w 3"], count: int) -> Int[np.ndarray, "h w"]:
    """Returns the number of the superpixel of each pixel, from 0: SLIC (Achanta et al. 2012) by scikit-image.

    Args:
      count: roughly the number of superpixels.
    """
    from skimage.segmentation import slic

    labels = slic(picture, n_segments=count, compactness=10, start_label=0, channel_axis=-1)
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def time_segments(real: int, frames: int, count: int) -> Int[np.ndarray, " frames"]:
    """Returns the number of the segment of each frame, from 0: at most `count` of equal length, in order.

    Args:
      real: number of frames that are no padding; the padding after them joins the last segment.
    """
    segments = min(real, count)
    return np.minimum(np.arange(frames) * segments // real, segments - 1)
