"""The registry of encoders, in a module of its own so that encoder modules can import it."""

from typing import Protocol

from capjax.registry import Registry


class Encoder(Protocol):
    """The sizes of an encoder, which every nnx.Module in ENCODERS has.

    Attributes:
      image_size: Height and width of the frames that it is made for.
      width: Channels of a feature grid.

    Optional: `strided`, the layers that reduce the picture (see `receptive_field`), by which maps are drawn where the
    cells of the grid lie; without it the grid is taken to cover the picture.
    """

    image_size: int
    width: int

    def grid(self, h: int, w: int) -> tuple[int, int]:
        """Returns (rows, columns) of the feature grid of frames of h x w pixels."""
        ...


ENCODERS = Registry("encoder")
