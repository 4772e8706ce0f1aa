"""The state that decoding keeps for each beam, and its reordering with the beams. b: batch, m: beams."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Int


@struct.dataclass
class InPlace:
    """Part of a state that stays where it was written when beams are reordered.

    Reordering the keys and values of all positions would copy them at every step. Instead a decoder keeps a small index
    beside them, which is reordered and gives for each position of a hypothesis the beam whose slot holds it.
    """

    value: Any


def reorder(state, beam: Int[Array, "b m"]):
    """Returns the state whose beam i is the old beam `beam[b, i]`.

    Every leaf [b, m, ...] is reordered except those under `InPlace`.
    """

    def pick(leaf):
        if isinstance(leaf, InPlace):
            return leaf
        # Row by row, so that several devices do it where the rows lie. The indices are promised to be in bounds,
        # otherwise every entry would be checked.
        index = beam.reshape(*beam.shape, *(1,) * (leaf.ndim - 2))
        return jnp.take_along_axis(leaf, index, axis=1, mode="promise_in_bounds")

    return jax.tree.map(pick, state, is_leaf=lambda leaf: isinstance(leaf, InPlace))
