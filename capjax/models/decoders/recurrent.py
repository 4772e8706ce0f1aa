"""LSTM and GRU decoders with additive attention ("Show, Attend and Tell", Xu et al. 2015).

b: batch, c: captions of an item, m: beams (in training, captions of an item), l: target positions, n: memory positions,
d: width, a: attention width, v: vocabulary.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from capjax.models.decoders.embedding import TokenEmbedding
from capjax.models.decoders.registry import DECODERS
from capjax.models.gradients import hold
from capjax.models.layers import LayerNorm, Linear, dropout, split
from capjax.models.memory import DecoderOutput, Memory


class AdditiveAttention(nnx.Module):
    """score = v . tanh(W_memory x + W_state h) (Bahdanau et al. 2015), and the gate sigmoid(W h) of Xu et al."""

    def __init__(self, d: int, a: int, *, dtype, rngs):
        self.memory = Linear(d, a, axes=("embed", "mlp"), dtype=dtype, rngs=rngs)
        self.state = Linear(d, a, axes=("embed", "mlp"), bias=False, dtype=dtype, rngs=rngs)
        self.score = Linear(a, 1, axes=("mlp", None), bias=False, dtype=dtype, rngs=rngs)
        self.gate = Linear(d, d, axes=("embed", "embed_out"), dtype=dtype, rngs=rngs)

    def __call__(
        self, h: Float[Array, "b m d"], projected: Float[Array, "b n a"], memory: Memory
    ) -> tuple[Float[Array, "b m d"], Float[Array, "b m n"]]:
        """Returns (context, weights in float32) for hidden states h and the memory projected by `self.memory`."""
        hidden = jnp.tanh(projected[:, None] + self.state(h)[:, :, None])
        scores = self.score(hidden)[..., 0].astype(jnp.float32)
        weights = hold(jax.nn.softmax(jnp.where(memory.mask[:, None], scores, jnp.finfo(jnp.float32).min), axis=-1))
        context = jnp.einsum("bmn,bnd->bmd", weights.astype(memory.x.dtype), memory.x)
        return jax.nn.sigmoid(self.gate(h)) * context, weights


class _Recurrent(nnx.Module):
    """A decoder with a recurrent cell, which a subclass defines by `gates`, `states` and `cell`.

    Args:
      vocab: number of tokens in the vocabulary.
      max_len: maximum length of a sequence; it bounds nothing here.
      attention_width: a; 0: the width of the model.
      dropout: on embeddings and before the output layer.
      tie: the output layer is the transposed embedding.
    """

    gates: int
    states: int

    def __init__(
        self, *, vocab: int, width: int, max_len: int, attention_width: int = 0, dropout: float = 0.0,
        tie: bool = True, dtype=jnp.float32, rngs,
    ):  # fmt: skip
        d, gates = width, self.gates
        self.embedding = TokenEmbedding(vocab, d, tie=tie, dtype=dtype, rngs=rngs)
        self.attention = AdditiveAttention(d, attention_width or d, dtype=dtype, rngs=rngs)
        self.initial = Linear(d, self.states * d, axes=("embed", "mlp"), dtype=dtype, rngs=rngs)
        self.from_token = Linear(d, gates * d, axes=("embed", "mlp"), dtype=dtype, rngs=rngs)
        self.from_context = Linear(d, gates * d, axes=("embed", "mlp"), bias=False, dtype=dtype, rngs=rngs)
        orthogonal = nnx.initializers.orthogonal()
        self.from_state = Linear(
            d, gates * d, axes=("embed", "mlp"), bias=self.gates == 3, init=orthogonal, dtype=dtype, rngs=rngs
        )
        self.out_state = Linear(d, d, axes=("embed", "embed_out"), dtype=dtype, rngs=rngs)
        self.out_context = Linear(d, d, axes=("embed", "embed_out"), bias=False, dtype=dtype, rngs=rngs)
        self.out_norm = LayerNorm(d, dtype=dtype)
        self.max_len, self.rate, self.dtype = max_len, dropout, dtype

    def __call__(
        self, tokens: Int[Array, "bc l"], memory: Memory, key=None, *, return_attention: bool = False
    ) -> DecoderOutput:
        """Teacher forcing: logits float32 [bc, l, v] and, if requested, attention [1, bc, 1, l, n].

        Args:
          tokens: the c captions of an item are consecutive.
        """
        embed_key, state_key, out_key = split(key, 3)
        embedded = dropout(self.embedding(tokens), self.rate, embed_key)
        # All that does not depend on the state is computed by one large product outside the loop.
        inputs = self.from_token(embedded)
        projected = self.attention.memory(memory.x)

        b = memory.x.shape[0]
        captions, length = tokens.shape[0] // b, tokens.shape[1]

        def body(state, x):
            state, context, weights = self._advance(x, state, projected, memory)
            return state, (state[0], context, weights if return_attention else None)

        def by_position(x):  # [bc, l, ...] -> [l, b, c, ...]
            return jnp.moveaxis(x.reshape(b, captions, *x.shape[1:]), 2, 0)

        def by_caption(x):  # [l, b, c, ...] -> [bc, l, ...]
            return jnp.moveaxis(x, 0, 2).reshape(b * captions, length, -1)

        _, (hidden, context, weights) = jax.lax.scan(body, self._initial_state(memory, captions), by_position(inputs))
        hidden, context = by_caption(hidden), by_caption(context)
        attention = by_caption(weights)[None, :, None] if return_attention else None
        hidden = dropout(hidden, self.rate, state_key)
        logits = self._logits(embedded, hidden, context, out_key)
        return DecoderOutput(logits, attention)

    def init_cache(self, memory: Memory, num_beams: int, length: int):
        """The memory's share of the attention scores, and the initial state. `length` needs no room here."""
        del length
        return {"memory": memory, "projected": self.attention.memory(memory.x)}, self._initial_state(memory, num_beams)

    def step(
        self, tokens: Int[Array, "b m"], index: Int[Array, ""], fixed, state, *, return_attention: bool = False
    ) -> tuple[Float[Array, "b m v"], tuple[Float[Array, "b m d"], ...], Float[Array, "1 b m 1 n"] | None]:
        """One position of every beam: the logits, the state, and the attention if requested."""
        del index
        embedded = self.embedding(tokens)
        inputs = self.from_token(embedded)
        state, context, weights = self._advance(inputs, state, fixed["projected"], fixed["memory"])
        attention = weights[None, :, :, None] if return_attention else None
        return self._logits(embedded, state[0], context, None), state, attention

    def _initial_state(self, memory: Memory, num_beams: int):
        """tanh of a projection of the mean memory vector, the same for every beam."""
        mask = memory.mask[:, None]
        mean = jnp.einsum("bcn,bnd->bcd", mask.astype(memory.x.dtype), memory.x)
        mean = mean / jnp.maximum(mask.sum(-1, keepdims=True), 1).astype(mean.dtype)
        state = jnp.tanh(self.initial(mean)).reshape(*mean.shape[:2], self.states, -1)
        state = jnp.broadcast_to(state, (state.shape[0], num_beams, *state.shape[2:]))
        return tuple(state[:, :, i] for i in range(self.states))

    def _advance(
        self, inputs: Float[Array, "b m gates"], state, projected: Float[Array, "b n a"], memory: Memory
    ) -> tuple[tuple[Float[Array, "b m d"], ...], Float[Array, "b m d"], Float[Array, "b m n"]]:
        """The new state, the context and the attention weights."""
        context, weights = self.attention(state[0], projected, memory)
        return self.cell(inputs + self.from_context(context), state), context, weights

    def cell(
        self, x: Float[Array, "b m gates"], state: tuple[Float[Array, "b m d"], ...]
    ) -> tuple[Float[Array, "b m d"], ...]:
        """The next state; x is the contribution of token and context to the gates."""
        raise NotImplementedError

    def _logits(self, embedded, hidden, context, key):
        """Deep output (Pascanu et al. 2014), as in Xu et al., equation 7."""
        x = self.out_norm(embedded + self.out_state(hidden) + self.out_context(context))
        return self.embedding.logits(dropout(jnp.tanh(x), self.rate, key))


@DECODERS.register("lstm")
class LstmDecoder(_Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997), with a forget gate that starts open."""

    gates, states = 4, 2

    def cell(
        self, x: Float[Array, "b m gates"], state: tuple[Float[Array, "b m d"], ...]
    ) -> tuple[Float[Array, "b m d"], ...]:
        h, c = state
        i, f, g, o = jnp.split(x + self.from_state(h), 4, axis=-1)
        c = jax.nn.sigmoid(f + 1.0) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c


@DECODERS.register("gru")
class GruDecoder(_Recurrent):
    """Gated recurrent unit (Cho et al. 2014) in cuDNN's form: the reset gate acts after the recurrent product."""

    gates, states = 3, 1

    def cell(
        self, x: Float[Array, "b m gates"], state: tuple[Float[Array, "b m d"], ...]
    ) -> tuple[Float[Array, "b m d"], ...]:
        (h,) = state
        x_r, x_z, x_n = jnp.split(x, 3, axis=-1)
        h_r, h_z, h_n = jnp.split(self.from_state(h), 3, axis=-1)
        z = jax.nn.sigmoid(x_z + h_z)
        candidate = jnp.tanh(x_n + jax.nn.sigmoid(x_r + h_r) * h_n)
        return ((1.0 - z) * candidate + z * h,)
