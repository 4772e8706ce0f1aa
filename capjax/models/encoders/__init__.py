"""Encoders: images or clips to feature grids. Importing this package registers every encoder by name.

All encoders are created alike and have the same attributes:

  ENCODERS.make(name, image_size=..., dtype=..., rngs=..., **options)
  encoder.width, encoder.image_size, encoder.grid(h, w) -> (rows, columns)

There are two kinds. An encoder of images (resnet, efficientnet, vit) sees one image at a time:

  encoder(images [b, h, w, 3], train=False, key=None) -> [b, rows, columns, width]

An encoder over time (i3d, convlstm, video_vit, resnet with `differences`) has `over_time = True` and sees whole clips.
`time_stride` frames give one grid, so that there are ceil(t / time_stride) groups of frames:

  encoder(frames [b, t, h, w, 3], times [b, t] (s), mask [b, t], train=False, key=None)
      -> [b, groups, rows, columns, width]

An encoder with `attends = True` accepts `return_attention=True` and then returns a SpaceTimeAttention too. Function
`encode_clip` calls either kind and returns the times and the mask of the grids as well.

Images are uint8 or float in 0..255 and are normalized inside. With `train` an encoder normalizes by batch statistics
and updates the running ones; all randomness comes from `key`. `mask` is True for real frames, and the content of
padding frames does not influence the features of real ones.
"""

from capjax.models.encoders import convlstm, efficientnet, i3d, resnet, video_vit, vit  # noqa: F401
from capjax.models.encoders.clip import encode_clip
from capjax.models.encoders.registry import ENCODERS

__all__ = ["ENCODERS", "encode_clip"]
