"""Multi-head attention. b: batch, q: queries, n: keys, h: heads, k: width of a head, m: beams, l: target positions."""

import jax
import jax.numpy as jnp
from flax import nnx

from capjax.models.layers import Linear


def attention_weights(query, key, mask=None) -> jax.Array:
    """softmax(q k / sqrt(d_k)): [b, q, h, k] x [b, n, h, k] -> float32 [b, h, q, n].

    `mask` is boolean and broadcasts to [b, h, q, n]; True = may be seen.
    """
    scores = jnp.einsum("bqhk,bnhk->bhqn", query, key, preferred_element_type=jnp.float32)
    scores = scores * query.shape[-1] ** -0.5
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    return jax.nn.softmax(scores, axis=-1)


def attend(query, key, value, mask=None) -> jax.Array:
    """Attention output, [b, q, h, k] (Vaswani et al. 2017, equation 1)."""
    return jax.nn.dot_product_attention(query, key, value, mask=mask)


class SelfAttention(nnx.Module):
    """Queries, keys and values from one sequence."""

    def __init__(self, d: int, heads: int, *, dtype=jnp.float32, rngs):
        self.qkv = Linear(d, 3 * d, axes=("embed", "heads"), dtype=dtype, rngs=rngs)
        self.out = Linear(d, d, axes=("heads", "embed"), dtype=dtype, rngs=rngs)
        self.heads = heads

    def project(self, x: jax.Array):
        """[b, n, d] -> query, key, value, each [b, n, h, k]."""
        b, n, d = x.shape
        qkv = self.qkv(x.reshape(b * n, d)).reshape(b, n, 3, self.heads, d // self.heads)
        return qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]

    def merge(self, x: jax.Array) -> jax.Array:
        """[b, n, h, k] -> [b, n, d]."""
        b, n = x.shape[:2]
        return self.out(x.reshape(b * n, -1)).reshape(b, n, -1)

    def __call__(self, x: jax.Array, *, causal: bool = False) -> jax.Array:
        query, key, value = self.project(x)
        return self.merge(jax.nn.dot_product_attention(query, key, value, is_causal=causal))

    def step(self, x: jax.Array, cache: dict, index: jax.Array) -> tuple[jax.Array, dict]:
        """One new position for each beam: x [b, m, d]; cache key and value [b, m, l, h, k], filled below `index`."""
        query, key, value = self.project(x)
        at = (0, 0, index, 0, 0)
        keys = jax.lax.dynamic_update_slice(cache["key"], key[:, :, None].astype(cache["key"].dtype), at)
        values = jax.lax.dynamic_update_slice(cache["value"], value[:, :, None].astype(cache["value"].dtype), at)
        seen = jnp.arange(keys.shape[2]) <= index
        scores = jnp.einsum("bmhk,bmlhk->bmhl", query, keys, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(jnp.where(seen, scores * query.shape[-1] ** -0.5, -jnp.inf), axis=-1)
        out = jnp.einsum("bmhl,bmlhk->bmhk", weights.astype(values.dtype), values)
        return self.merge(out), {"key": keys, "value": values}


class CrossAttention(nnx.Module):
    """Queries from the text, keys and values from the memory. Beams are queries too, so that memory is never copied."""

    def __init__(self, d: int, heads: int, *, dtype=jnp.float32, rngs):
        self.query = Linear(d, d, axes=("embed", "heads"), dtype=dtype, rngs=rngs)
        self.key_value = Linear(d, 2 * d, axes=("embed", "heads"), dtype=dtype, rngs=rngs)
        self.out = Linear(d, d, axes=("heads", "embed"), dtype=dtype, rngs=rngs)
        self.heads = heads

    def project(self, memory: jax.Array):
        """[b, n, d] -> key, value, each [b, n, h, k]."""
        b, n, d = memory.shape
        kv = self.key_value(memory.reshape(b * n, d)).reshape(b, n, 2, self.heads, d // self.heads)
        return kv[:, :, 0], kv[:, :, 1]

    def __call__(self, x: jax.Array, key, value, mask, *, return_weights: bool = False):
        """x [b, q, d], mask [b, n] -> [b, q, d], weights [b, q, n] (mean over heads) or None."""
        b, q, d = x.shape
        query = self.query(x.reshape(b * q, d)).reshape(b, q, self.heads, -1)
        mask = mask[:, None, None, :]
        weights = None
        if return_weights:
            full = attention_weights(query, key, mask)
            out = jnp.einsum("bhqn,bnhk->bqhk", full.astype(value.dtype), value)
            weights = full.mean(1)
        else:
            out = attend(query, key, value, mask)
        return self.out(out.reshape(b * q, d)).reshape(b, q, d), weights
