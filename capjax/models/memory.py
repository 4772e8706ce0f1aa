"""The memory, from which a decoder writes, and the output of a decoder. b: batch, n: positions, d: width."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Int32


class Segment(NamedTuple):
    """Consecutive positions of a memory that come from one encoder, frame by frame.

    Attributes:
      modality: name of the encoder.
      frames: t, frames, or groups of frames with one feature grid.
      positions: positions of each frame; the segment has frames * positions in all.
    """

    modality: str
    frames: int
    positions: int


@struct.dataclass
class Memory:
    """Features of b items for a decoder, and where each of the n positions lies.

    Attributes:
      x: the features.
      mask: True = real, False = padding.
      time: seconds.
      grid_index: (frame, row, column) of each position in the grids of its encoder; -1 for what lies in no grid.
      segments: the encoders of the positions, in order.
    """

    x: Float[Array, "b n d"]
    mask: Bool[Array, "b n"]
    time: Float[Array, "b n"]
    grid_index: Int[Array, "n 3"]
    segments: tuple[Segment, ...] = struct.field(pytree_node=False)

    @property
    def modality(self) -> Int32[np.ndarray, " n"]:
        """The index in `segments` of each position."""
        sizes = [segment.frames * segment.positions for segment in self.segments]
        return np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)

    def parts(self) -> list["Memory"]:
        """The segments, each as a memory of its own."""
        parts, start = [], 0
        for segment in self.segments:
            end = start + segment.frames * segment.positions
            parts.append(
                Memory(
                    self.x[:, start:end], self.mask[:, start:end], self.time[:, start:end],
                    self.grid_index[start:end], (segment,),
                )
            )  # fmt: skip
            start = end
        return parts if len(parts) > 1 else [self]

    @property
    def segment(self) -> Segment:
        """The segment of a memory that has only one."""
        (segment,) = self.segments
        return segment

    @property
    def frame_mask(self) -> Bool[Array, "b t"]:
        """Mask of the frames of a memory with one segment."""
        return self.mask[:, :: self.segment.positions]

    @property
    def frame_times(self) -> Float[Array, "b t"]:
        """Seconds of the frames of a memory with one segment."""
        return self.time[:, :: self.segment.positions]

    def frame_means(self) -> Float[Array, "b t d"]:
        """Means over the positions of each frame, of a memory with one segment."""
        b, _, d = self.x.shape
        return self.x.reshape(b, self.segment.frames, self.segment.positions, d).mean(2)


def concatenate(memories: Sequence[Memory]) -> Memory:
    """One memory with the positions of all."""
    if len(memories) == 1:
        return memories[0]
    x, mask, time = (
        jnp.concatenate([getattr(memory, name) for memory in memories], axis=1) for name in ("x", "mask", "time")
    )
    return Memory(
        x, mask, time, jnp.concatenate([memory.grid_index for memory in memories]),
        tuple(segment for memory in memories for segment in memory.segments),
    )  # fmt: skip


@struct.dataclass
class DecoderOutput:
    """Output of a captioner under teacher forcing. The c captions of an item are consecutive.

    Attributes:
      logits: in float32.
      attention: float32 weights over memory positions, if requested.
      mask: mask of the memory.
      events, matched: an EventSet and the query of each true event, if queries find events.
      frames: a FrameSet, if the times of events are written into the text.
    """

    logits: Float[Array, "bc l v"]
    attention: Float[Array, "layers bc h l n"] | None = None
    mask: Bool[Array, "b n"] | None = None
    events: object = None
    matched: Int[Array, "b e"] | None = None
    frames: object = None
