"""What decoding remembers of each beam, and how it follows when beams are reordered. b: batch, m: beams."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class InPlace:
    """Part of a state that stays where it was written when beams are reordered.

    A decoder that keeps much of every position (keys and values) would copy all of it at every step. Instead it keeps
    a small index beside it, which is reordered and says in which beam's place each position of a hypothesis lies.
    """

    value: Any


def reorder(state, beam: jax.Array):
    """The state of which beam i is the old beam `beam[b, i]`: every leaf [b, m, ...] but those under `InPlace`."""

    def pick(leaf):
        if isinstance(leaf, InPlace):
            return leaf
        # Row by row, which several devices do where the rows lie. In bounds: promised, for otherwise every entry is
        # looked at again to see whether it is there.
        index = beam.reshape(*beam.shape, *(1,) * (leaf.ndim - 2))
        return jnp.take_along_axis(leaf, index, axis=1, mode="promise_in_bounds")

    return jax.tree.map(pick, state, is_leaf=lambda leaf: isinstance(leaf, InPlace))
