"""What a decoder reads: the encoder's output and where each position of it lies."""

import jax
from flax import struct


@struct.dataclass
class Memory:
    """b items, n positions, d channels.

    Attributes:
      x: [b, n, d].
      mask: bool [b, n], True = real; or [b, c, n], what each of c captions of an item may see.
      time: float32 [b, n], seconds.
      place: int32 [n, 3], (frame, row, column) of each position.
    """

    x: jax.Array
    mask: jax.Array
    time: jax.Array
    place: jax.Array


@struct.dataclass
class DecoderOutput:
    """logits [b, l, v]; attention float32 [b, l, n] over memory positions, or None where it was not asked for; mask
    bool [b, n] or [b, c, n], the memory's. `events` (an EventSet) and `matched` int32 [b, e], the query of each true
    event, where events are found by queries."""

    logits: jax.Array
    attention: jax.Array | None = None
    mask: jax.Array | None = None
    events: object = None
    matched: jax.Array | None = None
