"""Records the attention with which each token of a search was chosen.

b: batch, m: beams, n: memory positions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from capjax.decode.search import StepFn
from capjax.models.decoders.cache import InPlace


class RecorderState(NamedTuple):
    """State of a search whose attention is recorded.

    Attributes:
      inner: the decoder's state.
      rows: the beam that held each position of a hypothesis when its attention was written.
      weights: float32 [b, length, m, layers, heads, n], attention by position and beam. It stays where it was written
        when beams are reordered, since it is too large to copy at every step; `rows` is reordered instead.
    """

    inner: Any
    rows: Int[Array, "b m length"]
    weights: InPlace


def record_attention(
    step_with_attention: Callable[..., tuple], state: Any, *, b: int, m: int, length: int
) -> tuple[StepFn, RecorderState]:
    """Returns a step function for a search over `length` positions that records attention, and its initial state.

    Args:
      step_with_attention: a step function of capjax.decode.search that returns attention, float32
        [layers, b, m, heads, n], as a third value.
      state: the initial state of `step_with_attention`.
      b: items in the batch.
      m: beams.
      length: positions of a sequence, prefix included.
    """

    def step_fn(
        tokens: Int[Array, "b m"], index: Int[Array, ""], state: RecorderState
    ) -> tuple[Float[Array, "b m v"], RecorderState]:
        logits, inner, attention = step_with_attention(tokens, index, state.inner)
        own = jnp.broadcast_to(jnp.arange(m, dtype=jnp.int32)[:, None], (b, m, 1))
        rows = jax.lax.dynamic_update_slice_in_dim(state.rows, own, index, 2)
        attention = jnp.moveaxis(attention, 0, 2)[:, None].astype(jnp.float32)
        weights = jax.lax.dynamic_update_slice_in_dim(state.weights.value, attention, index, 1)
        return logits, RecorderState(inner, rows, InPlace(weights))

    token = jnp.zeros((b, m), jnp.int32)
    layers, *_, heads, n = jax.eval_shape(step_with_attention, token, jnp.int32(0), state)[2].shape
    weights = InPlace(jnp.zeros((b, length, m, layers, heads, n), jnp.float32))
    return step_fn, RecorderState(state, jnp.zeros((b, m, length), jnp.int32), weights)


def recorded_attention(
    rows: Int[Array, "b m length"], weights: Float[Array, "b length beams layers heads n"], prefix_len: int
) -> Float[Array, "b m tokens layers heads n"]:
    """Returns the attention with which each token after the prefix was chosen, by hypothesis.

    Args:
      rows: of a `RecorderState` after the search, or only the first hypotheses of it.
      weights: of the same state.
      prefix_len: tokens in the prefix. The last of them chooses the first written token.
    """
    index = jnp.swapaxes(rows, 1, 2)[..., None, None, None]
    chosen = jnp.take_along_axis(weights, index, axis=2)[:, prefix_len - 1 : -1]
    return jnp.swapaxes(chosen, 1, 2)
