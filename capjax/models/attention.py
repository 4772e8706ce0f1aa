"""Multi-head attention. b: batch, q: queries, n: keys, h: heads, k: width of a head, m: beams, l: target positions.

Heads come before positions everywhere, `[b, h, n, k]`, so that every product is a plain batched matrix product.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from capjax.models.layers import Linear


def attention_weights(query, key, mask=None, *, transposed: bool = False) -> jax.Array:
    """softmax(q k / sqrt(d_k)): [b, h, q, k] x [b, h, n, k], or [b, h, k, n] if `transposed` -> float32 [b, h, q, n].

    `mask` is boolean and broadcasts to [b, h, q, n]; True = may be seen.
    """
    # The query is scaled, not the scores, of which there are more.
    query = query * jnp.asarray(query.shape[-1] ** -0.5, query.dtype)
    axes = "bhqk,bhkn->bhqn" if transposed else "bhqk,bhnk->bhqn"
    scores = jnp.einsum(axes, query, key, preferred_element_type=jnp.float32)
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    return jax.nn.softmax(scores, axis=-1)


@jax.custom_vjp
def attend(query, key, value, mask=None) -> jax.Array:
    """Attention output with the heads joined, [b, q, h * k] (Vaswani et al. 2017, equation 1); arguments as
    `attention_weights`.

    The backward pass keeps the weights alone of all [q, n] arrays, and takes the softmax's row sums from the output
    (Dao et al. 2022, section 3.1): on CPU half the time of what autodiff finds.
    """
    return _attend(query, key, value, mask)[0]


def _attend(query, key, value, mask):
    weights = attention_weights(query, key, mask).astype(value.dtype)
    out = _join_heads(jnp.einsum("bhqn,bhnk->bhqk", weights, value))
    return out, (query, key, value, mask, weights, out)


def _attend_backward(saved, of_out):
    query, key, value, mask, weights, out = saved
    heads, k = query.shape[1], query.shape[-1]
    row = (of_out.astype(jnp.float32) * out.astype(jnp.float32)).reshape(*out.shape[:2], heads, k).sum(-1)
    row = row.swapaxes(1, 2)[..., None]
    (of_out,) = _split_heads(of_out, 1, heads)
    of_value = jnp.einsum("bhqn,bhqk->bhnk", weights, of_out)
    of_weights = jnp.einsum("bhqk,bhnk->bhqn", of_out, value, preferred_element_type=jnp.float32)
    of_scores = weights * (of_weights - row) * k**-0.5
    if mask is not None:
        of_scores = jnp.where(mask, of_scores, 0.0)  # where all is masked the weights are not 0
    of_scores = of_scores.astype(query.dtype)
    of_query = jnp.einsum("bhqn,bhnk->bhqk", of_scores, key)
    of_key = jnp.einsum("bhqn,bhqk->bhnk", of_scores, query)
    return of_query, of_key, of_value, None


attend.defvjp(_attend, _attend_backward)


def _split_heads(x: jax.Array, parts: int, heads: int) -> list[jax.Array]:
    """[b, n, parts * h * k] -> `parts` arrays [b, h, n, k]."""
    x = x.reshape(*x.shape[:2], parts, heads, -1)
    return [x[:, :, part].swapaxes(1, 2) for part in range(parts)]


def _join_heads(x: jax.Array) -> jax.Array:
    """[b, h, n, k] -> [b, n, h * k]."""
    b, h, n, k = x.shape
    return x.swapaxes(1, 2).reshape(b, n, h * k)


class SelfAttention(nnx.Module):
    """Queries, keys and values from one sequence."""

    def __init__(self, d: int, heads: int, *, dtype=jnp.float32, rngs):
        self.qkv = Linear(d, 3 * d, axes=("embed", "heads"), dtype=dtype, rngs=rngs)
        self.out = Linear(d, d, axes=("heads", "embed"), dtype=dtype, rngs=rngs)
        self.heads = heads

    def project(self, x: jax.Array):
        """[b, n, d] -> query, key, value, each [b, h, n, k]."""
        return _split_heads(self.qkv(x), 3, self.heads)

    def __call__(self, x: jax.Array, *, causal: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """x [b, n, d]; mask bool [b, n], True where a position may be seen."""
        query, key, value = self.project(x)
        mask = None if mask is None else mask[:, None, None]
        if causal:
            before = jnp.tri(x.shape[1], dtype=bool)
            mask = before if mask is None else before & mask
        return self.out(attend(query, key, value, mask))

    def with_weights(self, x: jax.Array, mask: jax.Array | None, return_weights: bool = True):
        """x [b, n, d], mask bool [b, n] or None -> [b, n, d], weights float32 [b, h, n, n], or None without
        `return_weights`."""
        if not return_weights:
            return self(x, mask=mask), None
        query, key, value = self.project(x)
        weights = attention_weights(query, key, None if mask is None else mask[:, None, None])
        out = jnp.einsum("bhqn,bhnk->bhqk", weights.astype(value.dtype), value)
        return self.out(_join_heads(out)), weights

    def step(self, x: jax.Array, cache: dict, index: jax.Array, mask: jax.Array) -> tuple[jax.Array, dict]:
        """One new position for each beam: x [b, m, d]; cache key and value [b, h, l * m, k], of which the m places of
        `index` are to be filled; mask [b, m, l * m], True where a beam may read a place."""
        m = x.shape[1]
        query, key, value = self.project(x)
        key, value = (
            jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), index * m, 2)
            for old, new in ((cache["key"], key), (cache["value"], value))
        )
        return self.out(attend(query, key, value, mask[:, None])), {"key": key, "value": value}


class CrossAttention(nnx.Module):
    """Queries from the text, keys and values from the memory. Beams are queries too, so that memory is never copied."""

    def __init__(self, d: int, heads: int, *, dtype=jnp.float32, rngs):
        self.query = Linear(d, d, axes=("embed", "heads"), dtype=dtype, rngs=rngs)
        self.key_value = Linear(d, 2 * d, axes=("embed", "heads"), dtype=dtype, rngs=rngs)
        self.out = Linear(d, d, axes=("heads", "embed"), dtype=dtype, rngs=rngs)
        self.heads = heads

    def project(self, memory: jax.Array):
        """[b, n, d] -> key, value, each [b, h, n, k]."""
        return _split_heads(self.key_value(memory), 2, self.heads)

    def __call__(self, x: jax.Array, memory: jax.Array, mask: jax.Array, *, return_weights: bool = False):
        """x [b, q, d], memory [b, n, d], mask [b, n] -> [b, q, d], weights [b, q, n] (mean over heads) or None."""
        key, value = self.project(memory)
        if return_weights:
            return self._with_weights(x, key, value, mask, transposed=False)
        return self.out(attend(self._query(x), key, value, mask[:, None, None])), None

    def prepare(self, memory: jax.Array):
        """(key [b, h, k, n], value [b, h, n, k]) of memory [b, n, d], as `step` reads them."""
        key, value = self.project(memory)
        return key.swapaxes(2, 3), value

    def step(self, x: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array):
        """The same for few queries, with what `prepare` gave: on CPU keys that lie so are read three times faster."""
        return self._with_weights(x, key, value, mask, transposed=True)

    def _with_weights(self, x, key, value, mask, *, transposed: bool):
        weights = attention_weights(self._query(x), key, mask[:, None, None], transposed=transposed)
        out = jnp.einsum("bhqn,bhnk->bhqk", weights.astype(value.dtype), value)
        return self.out(_join_heads(out)), weights.mean(1)

    def _query(self, x: jax.Array) -> jax.Array:
        return _split_heads(self.query(x), 1, self.heads)[0]
