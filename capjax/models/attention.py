"""Multi-head attention. b: batch, q: queries, n: keys, h: heads, k: width of a head, m: beams, l: target positions.

Heads come before positions everywhere, `[b, h, n, k]`, so that every product is a plain batched matrix product.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from capjax.models.gradients import are_weights_held, by_platform, custom_gradient, hold
from capjax.models.layers import PRODUCT, Linear, flat_product
from capjax.parallel.sharding_rules import constrain


def _scores(query, key, mask, *, transposed: bool = False) -> jax.Array:
    # The query is scaled rather than the scores, which are more numerous.
    query = query * jnp.asarray(query.shape[-1] ** -0.5, query.dtype)
    axes = "bhqk,bhkn->bhqn" if transposed else "bhqk,bhnk->bhqn"
    scores = jnp.einsum(axes, query, key, preferred_element_type=jnp.float32)
    return scores if mask is None else jnp.where(mask, scores, jnp.finfo(jnp.float32).min)


def attention_weights(
    query: Float[Array, "b h q k"], key: Float[Array, "b h n k"] | Float[Array, "b h k n"],
    mask: Bool[Array, "..."] | None = None, *, transposed: bool = False,
) -> Float[Array, "b h q n"]:  # fmt: skip
    """softmax(q k / sqrt(d_k)) in float32.

    Args:
      key: [b, h, k, n] if `transposed`.
      mask: broadcasts to [b, h, q, n]; True = the key is visible to the query.
    """
    return jax.nn.softmax(_scores(query, key, mask, transposed=transposed), axis=-1)


def _row_sums(scores) -> tuple[jax.Array, jax.Array]:
    """The maximum of each row of scores and the sum of exp(score - maximum), both [b, h, q, 1]."""
    maximum = scores.max(-1, keepdims=True)
    return maximum, jnp.exp(scores - maximum).sum(-1, keepdims=True)


def _no_row_sums(scores) -> tuple[jax.Array, jax.Array]:
    zeros = jnp.zeros((*scores.shape[:3], 1))
    return zeros, zeros


def _weights_from_row_sums(scores, row_sums) -> jax.Array:
    maximum, total = row_sums
    return jnp.exp(scores - maximum) * (1.0 / total)


def _weights_from_scores(scores, row_sums) -> jax.Array:
    del row_sums
    return jax.nn.softmax(scores, axis=-1)


def _attend(query, key, value, mask=None):
    scores = _scores(query, key, mask)
    row_sums = jax.lax.platform_dependent(scores, cpu=_no_row_sums, default=_row_sums)
    row_sums = jax.tree.map(lambda each: checkpoint_name(each, PRODUCT), row_sums)
    weights = jax.lax.platform_dependent(scores, row_sums, cpu=_weights_from_scores, default=_weights_from_row_sums)
    weights = weights.astype(value.dtype)
    out = checkpoint_name(jnp.einsum("bhqn,bhnk->bhqk", weights, value), PRODUCT)
    return out, (query, key, value, mask, weights, out)


def _attend_backward(saved, dout):
    query, key, value, mask, weights, out = saved
    row_sum = (dout.astype(jnp.float32) * out.astype(jnp.float32)).sum(-1, keepdims=True)
    dvalue = jnp.einsum("bhqn,bhqk->bhnk", weights, dout)
    dweights = jnp.einsum("bhqk,bhnk->bhqn", dout, value, preferred_element_type=jnp.float32)
    dscores = weights * (dweights - row_sum) * query.shape[-1] ** -0.5
    if mask is not None:
        dscores = jnp.where(mask, dscores, 0.0)  # in a row that is masked throughout, the weights are not 0
    dscores = dscores.astype(query.dtype)
    dquery = jnp.einsum("bhqn,bhnk->bhqk", dscores, key)
    dkey = jnp.einsum("bhqn,bhqk->bhnk", dscores, query)
    return dquery, dkey, dvalue, None


@custom_gradient(_attend, _attend_backward)
def attend(
    query: Float[Array, "b h q k"], key: Float[Array, "b h n k"], value: Float[Array, "b h n k"],
    mask: Bool[Array, "..."] | None = None,
) -> Float[Array, "b h q k"]:  # fmt: skip
    """Attention output (Vaswani et al. 2017, equation 1); arguments as in `attention_weights`.

    Of all [q, n] arrays the backward pass keeps the weights alone, and it takes the softmax's row sums from the output
    (Dao et al. 2022, section 3.1). If a layer is recomputed in the backward pass, two numbers per row are kept (except
    on CPU), from which the weights follow in one pass.
    """
    return _attend(query, key, value, mask)[0]


def _flat_heads(x, kernel, bias, *, parts: int, heads: int) -> tuple[jax.Array, ...]:
    out = flat_product(x, kernel) + bias
    out = out.reshape(*x.shape[:2], parts, heads, -1)
    return tuple(out[:, :, part].swapaxes(1, 2) for part in range(parts))


def _direct_heads(x, kernel, bias, *, parts: int, heads: int) -> tuple[jax.Array, ...]:
    kernel, bias = (each.reshape(*each.shape[:-1], parts, heads, -1) for each in (kernel, bias))
    kernels = [constrain(kernel[:, i], "embed", "heads") for i in range(parts)]
    # Heads that do not fill the 128 lanes of a tile are faster with the gradient that JAX derives.
    to_heads = _to_heads if kernel.shape[-1] % 128 else _to_wide_heads
    return tuple(to_heads(x, kernels[i]) + bias[i][:, None] for i in range(parts))


def _to_heads(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[b, n, d] times [d, h, k] -> [b, h, n, k]."""
    return jnp.einsum("bnd,dhk->bhnk", x, kernel)


def _to_heads_backward(saved, dout):
    x, kernel = saved
    # The kernel's gradient has the layout of the kernel, see `layers.product`.
    return jnp.einsum("bhnk,dhk->bnd", dout, kernel), jnp.tensordot(x, dout, ((0, 1), (0, 2)))


_to_wide_heads = custom_gradient(lambda x, kernel: (_to_heads(x, kernel), (x, kernel)), _to_heads_backward)(_to_heads)


def project_heads(
    linear: Linear, x: Float[Array, "b n d"], parts: int, heads: int, *, keys: int | None = None
) -> list[Float[Array, "b h n k"]]:
    """Applies a linear layer of parts * h * k outputs and returns its `parts` arrays.

    On CPU by one product whose result is split; elsewhere, where the split would copy, by one product for each part.

    Args:
      keys: index of the part that holds keys, if any. A bias of the keys shifts all scores of a row alike, which the
        softmax ignores: its gradient is 0 but for rounding, which Adam would scale up to full steps. So that bias gets
        no gradient.
    """
    kernel, bias = linear.arrays()
    assert bias is not None
    if keys is not None:
        is_key = np.arange(parts).repeat(bias.size // parts) == keys
        bias = jnp.where(is_key, jax.lax.stop_gradient(bias), bias)
    shape = {"parts": parts, "heads": heads}
    project = by_platform(partial(_flat_heads, **shape), partial(_direct_heads, **shape))
    out = project(x.astype(linear.dtype), kernel, bias)
    return [checkpoint_name(constrain(each, "batch", "heads"), PRODUCT) for each in out]


def _flat_join(x, kernel) -> jax.Array:
    b, h, n, k = x.shape
    return flat_product(x.swapaxes(1, 2).reshape(b, n, h * k), kernel)


def _direct_join(x, kernel) -> jax.Array:
    return jnp.einsum("bhnk,hkd->bnd", x, constrain(kernel.reshape(*x.shape[1::2], -1), "heads", None, "embed"))


def join_heads(linear: Linear, x: Float[Array, "b h n k"]) -> Float[Array, "b n d"]:
    """Applies a linear layer of h * k inputs to the concatenated heads."""
    kernel, bias = linear.arrays()
    # A new partial for each program: JAX caches the trace of a function, and this one depends on the active mesh.
    joined = by_platform(_flat_join, partial(_direct_join))(x.astype(linear.dtype), kernel)
    return checkpoint_name(joined + bias, PRODUCT)


def _attend_with_weights(query, key, value, mask, *, transposed: bool = False):
    """(output [b, h, q, k], weights float32 [b, h, q, n])."""
    weights = hold(attention_weights(query, key, mask, transposed=transposed))
    return jnp.einsum("bhqn,bhnk->bhqk", weights.astype(value.dtype), value), weights


def _attend_on_request(query, key, value, mask, return_weights: bool):
    """As `_attend_with_weights`; None in place of weights that are not requested."""
    if return_weights:
        return _attend_with_weights(query, key, value, mask)
    if are_weights_held():
        return _attend_with_weights(query, key, value, mask)[0], None
    return attend(query, key, value, mask), None


class SelfAttention(nnx.Module):
    """Attention with queries, keys and values from one sequence."""

    def __init__(self, d: int, heads: int, *, dtype=jnp.float32, rngs):
        self.qkv = Linear(d, 3 * d, axes=("embed", "heads"), dtype=dtype, rngs=rngs)
        self.out = Linear(d, d, axes=("heads", "embed"), dtype=dtype, rngs=rngs)
        self.heads = heads

    def project(self, x: Float[Array, "b n d"]) -> list[Float[Array, "b h n k"]]:
        """Query, key and value."""
        return project_heads(self.qkv, x, 3, self.heads, keys=1)

    def __call__(
        self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"] | None = None, *, causal: bool = False,
        return_weights: bool = False,
    ) -> tuple[Float[Array, "b n d"], Float[Array, "b h n n"] | None]:  # fmt: skip
        """Returns the output, and the weights in float32 if they are requested.

        Args:
          mask: True = the position is visible.
          causal: a position sees itself and those before it only.
        """
        query, key, value = self.project(x)
        mask = None if mask is None else mask[:, None, None]
        if causal:
            before = jnp.tri(x.shape[1], dtype=bool)
            mask = before if mask is None else before & mask
        out, weights = _attend_on_request(query, key, value, mask, return_weights)
        return join_heads(self.out, out), weights

    def step(
        self, x: Float[Array, "b m d"], cache: dict, index: Int[Array, ""], mask: Bool[Array, "b m slots"]
    ) -> tuple[Float[Array, "b m d"], dict[str, Float[Array, "b h slots k"]]]:
        """One new position for each beam.

        Args:
          cache: key and value [b, h, l * m, k]; the m slots of position `index` are filled.
          mask: True = the beam reads that slot of the cache.
        """
        m = x.shape[1]
        query, key, value = self.project(x)
        key, value = (
            jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), index * m, 2)
            for old, new in ((cache["key"], key), (cache["value"], value))
        )
        return join_heads(self.out, attend(query, key, value, mask[:, None])), {"key": key, "value": value}


class CrossAttention(nnx.Module):
    """Attention with queries from one sequence, keys and values from another, the memory.

    All beams of an item are queries of its one memory, so that the memory is never copied.
    """

    def __init__(self, d: int, heads: int, *, dtype=jnp.float32, rngs):
        self.query = Linear(d, d, axes=("embed", "heads"), dtype=dtype, rngs=rngs)
        self.key_value = Linear(d, 2 * d, axes=("embed", "heads"), dtype=dtype, rngs=rngs)
        self.out = Linear(d, d, axes=("heads", "embed"), dtype=dtype, rngs=rngs)
        self.heads = heads

    def project(self, memory: Float[Array, "b n d"]) -> list[Float[Array, "b h n k"]]:
        """Key and value."""
        return project_heads(self.key_value, memory, 2, self.heads, keys=0)

    def __call__(
        self, x: Float[Array, "b q d"], memory: Float[Array, "b n d"], mask: Bool[Array, "b n"], *,
        return_weights: bool = False,
    ) -> tuple[Float[Array, "b q d"], Float[Array, "b h q n"] | None]:  # fmt: skip
        """Returns the output, and the weights in float32 if they are requested."""
        key, value = self.project(memory)
        out, weights = _attend_on_request(self._query(x), key, value, mask[:, None, None], return_weights)
        return join_heads(self.out, out), weights

    def prepare(self, memory: Float[Array, "b n d"]) -> tuple[Float[Array, "b h k n"], Float[Array, "b h n k"]]:
        """Key and value as `step` reads them: with few queries a CPU reads transposed keys faster."""
        key, value = self.project(memory)
        return key.swapaxes(2, 3), value

    def step(
        self, x: Float[Array, "b q d"], key: Float[Array, "b h k n"], value: Float[Array, "b h n k"],
        mask: Bool[Array, "b n"],
    ) -> tuple[Float[Array, "b q d"], Float[Array, "b h q n"]]:  # fmt: skip
        """As `__call__`, for few queries and with the result of `prepare`. Returns the output and the weights."""
        out, weights = _attend_with_weights(self._query(x), key, value, mask[:, None, None], transposed=True)
        return join_heads(self.out, out), weights

    def _query(self, x: Float[Array, "b q d"]) -> Float[Array, "b h q k"]:
        return project_heads(self.query, x, 1, self.heads)[0]
