"""Multi-head attention. b: batch, q: queries, n: keys, h: heads, k: width of a head, m: beams, l: target positions.

Heads come before positions everywhere, `[b, h, n, k]`, so that every product is a plain batched matrix product.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from capjax.models.layers import PRODUCT, Linear, by_platform, flat_product
from capjax.parallel.sharding_rules import constrain


def _scores(query, key, mask, *, transposed: bool = False) -> jax.Array:
    # The query is scaled, not the scores, of which there are more.
    query = query * jnp.asarray(query.shape[-1] ** -0.5, query.dtype)
    axes = "bhqk,bhkn->bhqn" if transposed else "bhqk,bhnk->bhqn"
    scores = jnp.einsum(axes, query, key, preferred_element_type=jnp.float32)
    return scores if mask is None else jnp.where(mask, scores, jnp.finfo(jnp.float32).min)


def attention_weights(query, key, mask=None, *, transposed: bool = False) -> jax.Array:
    """softmax(q k / sqrt(d_k)): [b, h, q, k] x [b, h, n, k], or [b, h, k, n] if `transposed` -> float32 [b, h, q, n].

    `mask` is boolean and broadcasts to [b, h, q, n]; True = may be seen.
    """
    return jax.nn.softmax(_scores(query, key, mask, transposed=transposed), axis=-1)


def _row_stats(scores) -> tuple[jax.Array, jax.Array]:
    """Of each row of scores: its largest, and the sum of exp(score - largest); both [b, h, q, 1]."""
    most = scores.max(-1, keepdims=True)
    return most, jnp.exp(scores - most).sum(-1, keepdims=True)


def _no_stats(scores) -> tuple[jax.Array, jax.Array]:
    none = jnp.zeros((*scores.shape[:3], 1))
    return none, none


def _weights_by_stats(scores, stats) -> jax.Array:
    most, total = stats
    return jnp.exp(scores - most) * (1.0 / total)


def _weights_anew(scores, stats) -> jax.Array:
    del stats
    return jax.nn.softmax(scores, axis=-1)


@jax.custom_vjp
def attend(query, key, value, mask=None) -> jax.Array:
    """Attention output [b, h, q, k] (Vaswani et al. 2017, equation 1); arguments as `attention_weights`.

    The backward pass keeps the weights alone of all [q, n] arrays, and takes the softmax's row sums from the output
    (Dao et al. 2022, section 3.1): on CPU half the time of what autodiff finds. Where a layer is computed anew in the
    backward pass, two numbers a row are kept (elsewhere than on CPU), from which the weights follow in one pass.
    """
    return _attend(query, key, value, mask)[0]


def _attend(query, key, value, mask):
    scores = _scores(query, key, mask)
    stats = jax.lax.platform_dependent(scores, cpu=_no_stats, default=_row_stats)
    stats = jax.tree.map(lambda each: checkpoint_name(each, PRODUCT), stats)
    weights = jax.lax.platform_dependent(scores, stats, cpu=_weights_anew, default=_weights_by_stats)
    weights = weights.astype(value.dtype)
    out = checkpoint_name(jnp.einsum("bhqn,bhnk->bhqk", weights, value), PRODUCT)
    return out, (query, key, value, mask, weights, out)


def _attend_backward(saved, dout):
    query, key, value, mask, weights, out = saved
    row = (dout.astype(jnp.float32) * out.astype(jnp.float32)).sum(-1, keepdims=True)
    dvalue = jnp.einsum("bhqn,bhqk->bhnk", weights, dout)
    dweights = jnp.einsum("bhqk,bhnk->bhqn", dout, value, preferred_element_type=jnp.float32)
    of_scores = weights * (dweights - row) * query.shape[-1] ** -0.5
    if mask is not None:
        of_scores = jnp.where(mask, of_scores, 0.0)  # where all is masked the weights are not 0
    of_scores = of_scores.astype(query.dtype)
    of_query = jnp.einsum("bhqn,bhnk->bhqk", of_scores, key)
    of_key = jnp.einsum("bhqn,bhqk->bhnk", of_scores, query)
    return of_query, of_key, dvalue, None


attend.defvjp(_attend, _attend_backward)


def _flat_heads(x, kernel, bias, *, parts: int, heads: int) -> tuple[jax.Array, ...]:
    out = flat_product(x, kernel) + bias
    out = out.reshape(*x.shape[:2], parts, heads, -1)
    return tuple(out[:, :, part].swapaxes(1, 2) for part in range(parts))


def _direct_heads(x, kernel, bias, *, parts: int, heads: int) -> tuple[jax.Array, ...]:
    kernel, bias = (each.reshape(*each.shape[:-1], parts, heads, -1) for each in (kernel, bias))
    kernels = [constrain(kernel[:, i], "embed", "heads") for i in range(parts)]
    # Heads that do not fill a tile's 128 are faster as autodiff has them.
    to_heads = _to_heads if kernel.shape[-1] % 128 else _to_wide_heads
    return tuple(to_heads(x, kernels[i]) + bias[i][:, None] for i in range(parts))


def _to_heads(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[b, n, d] times [d, h, k] -> [b, h, n, k]."""
    return jnp.einsum("bnd,dhk->bhnk", x, kernel)


def _to_heads_backward(saved, dout):
    x, kernel = saved
    # As the kernel lies, see `layers.product`.
    return jnp.einsum("bhnk,dhk->bnd", dout, kernel), jnp.tensordot(x, dout, ((0, 1), (0, 2)))


_to_wide_heads = jax.custom_vjp(_to_heads)
_to_wide_heads.defvjp(lambda x, kernel: (_to_heads(x, kernel), (x, kernel)), _to_heads_backward)


def project_heads(linear: Linear, x: jax.Array, parts: int, heads: int, *, keys: int | None = None) -> list[jax.Array]:
    """x [b, n, d] through a linear layer of parts * h * k outputs -> `parts` arrays [b, h, n, k].

    On CPU by one product whose result is taken apart; elsewhere, where that would copy, by one product a part.

    Args:
      keys: which part is the keys, if any. Their bias moves all scores of a row alike, which the softmax does not see:
        its gradient is 0 but for rounding, which Adam would scale up to full steps. So it stays as it is.
    """
    kernel, bias = linear.arrays()
    if keys is not None:
        of_keys = np.arange(parts).repeat(bias.size // parts) == keys
        bias = jnp.where(of_keys, jax.lax.stop_gradient(bias), bias)
    how = {"parts": parts, "heads": heads}
    out = by_platform(partial(_flat_heads, **how), partial(_direct_heads, **how))(x.astype(linear.dtype), kernel, bias)
    return [checkpoint_name(constrain(each, "batch", "heads"), PRODUCT) for each in out]


def _flat_join(x, kernel) -> jax.Array:
    return flat_product(_join_heads(x), kernel)


def _direct_join(x, kernel) -> jax.Array:
    return jnp.einsum("bhnk,hkd->bnd", x, constrain(kernel.reshape(*x.shape[1::2], -1), "heads", None, "embed"))


def join_heads(linear: Linear, x: jax.Array) -> jax.Array:
    """Heads [b, h, n, k] through a linear layer of h * k inputs: [b, n, d]."""
    kernel, bias = linear.arrays()
    # JAX remembers what a function traces to: one that says where arrays lie is made anew for each program.
    joined = by_platform(_flat_join, partial(_direct_join))(x.astype(linear.dtype), kernel)
    return checkpoint_name(joined + bias, PRODUCT)


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
        return project_heads(self.qkv, x, 3, self.heads, keys=1)

    def __call__(self, x: jax.Array, *, causal: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """x [b, n, d]; mask bool [b, n], True where a position may be seen."""
        query, key, value = self.project(x)
        mask = None if mask is None else mask[:, None, None]
        if causal:
            before = jnp.tri(x.shape[1], dtype=bool)
            mask = before if mask is None else before & mask
        return join_heads(self.out, attend(query, key, value, mask))

    def with_weights(self, x: jax.Array, mask: jax.Array | None, return_weights: bool = True):
        """x [b, n, d], mask bool [b, n] or None -> [b, n, d], weights float32 [b, h, n, n], or None without
        `return_weights`."""
        if not return_weights:
            return self(x, mask=mask), None
        query, key, value = self.project(x)
        weights = attention_weights(query, key, None if mask is None else mask[:, None, None])
        out = jnp.einsum("bhqn,bhnk->bhqk", weights.astype(value.dtype), value)
        return join_heads(self.out, out), weights

    def step(self, x: jax.Array, cache: dict, index: jax.Array, mask: jax.Array) -> tuple[jax.Array, dict]:
        """One new position for each beam: x [b, m, d]; cache key and value [b, h, l * m, k], of which the m places of
        `index` are to be filled; mask [b, m, l * m], True where a beam may read a place."""
        m = x.shape[1]
        query, key, value = self.project(x)
        key, value = (
            jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), index * m, 2)
            for old, new in ((cache["key"], key), (cache["value"], value))
        )
        return join_heads(self.out, attend(query, key, value, mask[:, None])), {"key": key, "value": value}


class CrossAttention(nnx.Module):
    """Queries from the text, keys and values from the memory. Beams are queries too, so that memory is never copied."""

    def __init__(self, d: int, heads: int, *, dtype=jnp.float32, rngs):
        self.query = Linear(d, d, axes=("embed", "heads"), dtype=dtype, rngs=rngs)
        self.key_value = Linear(d, 2 * d, axes=("embed", "heads"), dtype=dtype, rngs=rngs)
        self.out = Linear(d, d, axes=("heads", "embed"), dtype=dtype, rngs=rngs)
        self.heads = heads

    def project(self, memory: jax.Array):
        """[b, n, d] -> key, value, each [b, h, n, k]."""
        return project_heads(self.key_value, memory, 2, self.heads, keys=0)

    def __call__(self, x: jax.Array, memory: jax.Array, mask: jax.Array, *, return_weights: bool = False):
        """x [b, q, d], memory [b, n, d], mask [b, n] -> [b, q, d], weights [b, q, n] (mean over heads) or None."""
        key, value = self.project(memory)
        if return_weights:
            return self._with_weights(x, key, value, mask, transposed=False)
        return join_heads(self.out, attend(self._query(x), key, value, mask[:, None, None])), None

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
        return join_heads(self.out, out), weights.mean(1)

    def _query(self, x: jax.Array) -> jax.Array:
        return project_heads(self.query, x, 1, self.heads)[0]
