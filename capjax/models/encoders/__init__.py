"""Images to feature grids. Importing this package registers every encoder by name.

Every encoder has the same face:

  ENCODERS.make(name, image_size=..., dtype=..., rngs=..., **options)
  encoder(images [n, h, w, 3], train=False, key=None) -> [n, rows, columns, width]
  encoder.width, encoder.image_size, encoder.grid(h, w) -> (rows, columns)

Images are uint8 or float in 0..255 and are normalised inside. `train` uses batch statistics and moves the
running ones; randomness comes from `key` alone.
"""

from capjax.models.encoders import efficientnet, resnet, vit  # noqa: F401
from capjax.models.encoders.registry import ENCODERS

__all__ = ["ENCODERS"]
