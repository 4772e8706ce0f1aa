"""Figures of explanations, with matplotlib (extra `explain`)."""

import math
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg

from capjax.explain.explanation import Explanation
from capjax.explain.overlay import word_overlay

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 5
# Thumbnails under the curves of a video.
_THUMBNAILS = 8


def figure(explanation: Explanation, method: str) -> "Figure":
    """Returns a figure of the maps of a method: of a photo the overlay of each word and of the whole caption, of a
    video their curves over time above thumbnails.

    Raises:
      ValueError: the explanation has no such method, or an error.
    """
    if explanation.error:
        raise ValueError(f"{explanation.media} was not explained: {explanation.error}")
    explanation.map(method)  # an unknown method
    return (_curves if explanation.is_video else _overlays)(explanation, method)


def _overlays(explanation: Explanation, method: str) -> "Figure":
    from matplotlib.figure import Figure

    has_words = len(explanation.maps[method].values) > 1
    targets: list[int | None] = [*(range(len(explanation.words)) if has_words else ()), None]
    rows = math.ceil(len(targets) / _COLUMNS)
    drawn = Figure(figsize=(2.4 * _COLUMNS, 2.6 * rows), layout="constrained")
    for axes, target in zip(drawn.subplots(rows, _COLUMNS, squeeze=False).flat, targets, strict=False):
        axes.imshow(word_overlay(explanation, method, target))
        axes.set_title("the caption" if target is None else explanation.words[target].text)
    for axes in drawn.axes:
        axes.set_axis_off()
    drawn.suptitle(f"{explanation.caption} ({method})")
    return drawn


def _curves(explanation: Explanation, method: str) -> "Figure":
    from matplotlib.figure import Figure

    maps = explanation.maps[method]
    drawn = Figure(figsize=(10, 5), layout="constrained")
    grid = drawn.add_gridspec(2, _THUMBNAILS, height_ratios=(3, 1))
    axes = drawn.add_subplot(grid[0, :])
    for number in range(len(maps.values)):
        is_caption = number == len(maps.values) - 1
        label = "the caption" if is_caption else explanation.words[number].text
        axes.plot(maps.times, maps.curve(number), label=label, linewidth=2.5 if is_caption else 1)
    if explanation.event:
        axes.axvspan(*explanation.event, alpha=0.15)
    axes.set(xlabel="seconds", ylabel=method, title=explanation.caption)
    axes.legend(fontsize="small", ncols=2)
    count = len(explanation.frames)
    for column, frame in enumerate(np.linspace(0, count - 1, min(count, _THUMBNAILS)).round().astype(int)):
        thumbnail = drawn.add_subplot(grid[1, column])
        thumbnail.imshow(simplejpeg.decode_jpeg(explanation.frames[frame], "RGB"))
        thumbnail.set_title(f"{explanation.times[frame]:.1f} s", fontsize="small")
        thumbnail.set_axis_off()
    return drawn
