"""Where the cells of a feature grid lie in the picture."""

from collections.abc import Iterable
from typing import NamedTuple

from capjax.models.encoders.convolution import pad_widths


class Strided(NamedTuple):
    """A layer that reduces the height and width of a picture.

    Attributes:
      kernel: size of its window.
      stride: distance of two windows.
      padding: as of `pad_widths`.
    """

    kernel: int
    stride: int
    padding: str = "symmetric"


def grid_extent(strided: Iterable[Strided], size: int, cells: int) -> tuple[float, float]:
    """Returns low and high end, in pixels, of a row of cells that are centered on their receptive fields.

    Neither end need be an end of the picture: with symmetric padding the first cell is centered on the first pixel.

    Args:
      strided: the reducing layers of the encoder, in order.
      size: pixels of the picture along the row.
      cells: cells of the grid, which may be that of a layer between. Without layers they cover the picture.
    """
    pitch, center, length = 1, 0.5, size
    for kernel, stride, padding in strided:
        if length == cells:
            break
        before, _ = pad_widths(length, kernel, stride, padding)
        center += pitch * ((kernel - 1) / 2 - before)
        pitch, length = pitch * stride, -(-length // stride)
    if length != cells:
        return 0.0, float(size)
    return center - pitch / 2, center + pitch * (cells - 0.5)
