"""Images or clips to feature grids. Importing this package registers every encoder by name.

Every encoder is made alike:

  ENCODERS.make(name, image_size=..., dtype=..., rngs=..., **options)
  encoder.width, encoder.image_size, encoder.grid(h, w) -> (rows, columns)

and has one of two faces. An encoder of images (resnet, efficientnet, vit) sees one at a time:

  encoder(images [n, h, w, 3], train=False, key=None) -> [n, rows, columns, width]

An encoder over space and time (i3d, convlstm, video_vit, resnet with `differences`) has `over_time = True` and sees
whole clips. `time_stride` frames give one grid, t' = ceil(t / time_stride) in all:

  encoder(frames [b, t, h, w, 3], times [b, t] (s), mask [b, t], train=False, key=None) -> [b, t', rows, columns, width]

One that `attends` over time takes `return_attention=True` and gives a SpaceTimeAttention too. `encode_clip` calls
either kind, and tells the times and the mask of what comes out.

Images are uint8 or float in 0..255 and are normalized inside. `train` uses batch statistics and moves the
running ones; randomness comes from `key` alone. `mask` is True where a frame is real: what the others show changes
nothing.
"""

from capjax.models.encoders import convlstm, efficientnet, i3d, resnet, video_vit, vit  # noqa: F401
from capjax.models.encoders.clip import encode_clip
from capjax.models.encoders.registry import ENCODERS

__all__ = ["ENCODERS", "encode_clip"]
