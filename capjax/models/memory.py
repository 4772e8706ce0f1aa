"""What a decoder reads: the encoder's output and where each position of it lies."""

import jax
from flax import struct


@struct.dataclass
class Memory:
    """b items, n positions, d channels.

    Attributes:
      x: [b, n, d].
      mask: bool [b, n], True = real.
      time: float32 [b, n], seconds.
      grid_index: int32 [n, 3], (frame, row, column) of each position.
    """

    x: jax.Array
    mask: jax.Array
    time: jax.Array
    grid_index: jax.Array


@struct.dataclass
class DecoderOutput:
    """logits [b, l, v]; attention float32 [b, l, n] over memory positions, or None where it was not asked for; mask
    bool [b, n], the memory's. `events` (an EventSet) and `matched` int32 [b, e], the query of each true
    event, where events are found by queries; `frames` (a FrameSet), where their times are written into the text."""

    logits: jax.Array
    attention: jax.Array | None = None
    mask: jax.Array | None = None
    events: object = None
    matched: jax.Array | None = None
    frames: object = None
