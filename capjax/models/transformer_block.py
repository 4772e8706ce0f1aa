"""The transformer block of every encoder and decoder.

b: batch, t: frames, n: positions, of each frame if there are frames, d: width, h: heads, k: width of a head, m:
positions of the memory; in `step`, n: positions of the memory, m: beams.
"""

from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from capjax.models.attention import CrossAttention, SelfAttention
from capjax.models.layers import LayerNorm, Mlp, drop_path, dropout, split
from capjax.models.stacked import stack


def make_blocks(owner: str, count: int, width: int, heads: int, mlp_ratio: float, *, rngs, **options):
    """`count` blocks as one TransformerBlock with stacked parameters, for `scan`.

    Args:
      owner: name of the module that has the blocks, for error messages.
      **options: of TransformerBlock.

    Raises:
      ValueError: there is no layer, or the heads do not divide the width.
    """
    if count < 1 or heads < 1 or width % heads:
        raise ValueError(
            f"{count} layers of width {width} with {heads} heads in the {owner}: expected 1 layer or more, and heads "
            "that divide the width"
        )
    hidden = int(width * mlp_ratio)
    return stack(lambda rngs: TransformerBlock(width, heads, hidden, rngs=rngs, **options), count, rngs)


class TransformerBlock(nnx.Module):
    """Self-attention and MLP, each a residual branch behind a norm (pre-norm, Xiong et al. 2020).

    Further branches are optional: attention over time before self-attention, which then acts within each frame
    (Bertasius et al. 2021, TimeSformer, section 3), and cross-attention to a memory after it (Vaswani et al. 2017).

    Args:
      d, heads, hidden: width, heads, and hidden units of the MLP.
      time: with attention over time.
      cross: with cross-attention.
      stochastic_depth: branches can be dropped for whole items, at the rate that the call gives.
      dropout: rate on each branch and on the hidden units of the MLP.
    """

    def __init__(
        self, d: int, heads: int, hidden: int, *, time: bool = False, cross: bool = False,
        stochastic_depth: bool = False, dropout: float = 0.0, dtype=jnp.float32, rngs,
    ):  # fmt: skip
        options = {"dtype": dtype, "rngs": rngs}
        self.time_norm = LayerNorm(d, dtype=dtype) if time else None
        self.time_attention = SelfAttention(d, heads, **options) if time else None
        self.attention_norm = LayerNorm(d, dtype=dtype)
        self.attention = SelfAttention(d, heads, **options)
        self.cross_norm = LayerNorm(d, dtype=dtype) if cross else None
        self.cross_attention = CrossAttention(d, heads, **options) if cross else None
        self.mlp_norm = LayerNorm(d, dtype=dtype)
        self.mlp = Mlp(d, hidden=hidden, **options)
        self.rate, self.stochastic_depth = dropout, stochastic_depth

    def __call__(
        self, x: Float[Array, "b *n d"], key=None, *, mask: Bool[Array, "b visible"] | None = None,
        causal: bool = False, memory: Float[Array, "items m d"] | None = None,
        memory_mask: Bool[Array, "items m"] | None = None, drop=0.0, return_attention: bool = False,
    ) -> tuple[Float[Array, "b *n d"], dict[str, Float[Array, "b h ..."]]]:  # fmt: skip
        """Returns x and, if requested, the attention weights in float32 by the name of their branch.

        Args:
          x: [b, n, d] or [b, t, n, d]. Without attention over time the positions of all frames form one sequence.
          key: for dropout; or a list of keys in the order of their use: of each branch dropout and, with
            `stochastic_depth`, the drop of the branch; of the MLP first the dropout of the hidden units.
          mask: True = the position is visible; [b, t * n] for [b, t, n, d], and [b, t] with attention over time.
          causal: in self-attention a position sees itself and those before it only.
          memory, memory_mask: for cross-attention; b / items consecutive items of x share an item of the memory.
          drop: rate of stochastic depth, which may be traced.

        Returns:
          With cross-attention only `cross_attention` [b, h, n, m]. With attention over time `time_attention`
          [b, h, t, n, t] and `attention` [b, h, t, n, n]. Otherwise `attention` [b, h, n, n], or [b, h, t * n, t * n].
        """
        keys = iter(key if isinstance(key, list) else split(key, self._num_keys))
        weights = {}
        return_own = return_attention and self.cross_attention is None
        if self.time_norm is not None:
            x, weights["time_attention"] = self._residual(
                x, self.time_norm, lambda x: self._over_time(x, mask, return_own), drop, keys
            )
            x, weights["attention"] = self._residual(
                x, self.attention_norm, lambda x: self._over_space(x, return_own), drop, keys
            )
        else:
            options = {"causal": causal, "return_weights": return_own}
            x, weights["attention"] = self._residual(
                x, self.attention_norm, lambda x: self._over_all(x, mask, **options), drop, keys
            )
        if self.cross_norm is not None:
            x, weights["cross_attention"] = self._residual(
                x, self.cross_norm, lambda x: self._cross(x, memory, memory_mask, return_attention), drop, keys
            )
        hidden_key = next(keys)
        x, _ = self._residual(
            x, self.mlp_norm, lambda x: (self.mlp(x, rate=self.rate, key=hidden_key), None), drop, keys
        )
        return x, {name: value for name, value in weights.items() if value is not None}

    def step(
        self, x: Float[Array, "b m d"], index: Int[Array, ""], cache: dict, cache_mask: Bool[Array, "b m slots"],
        prepared: tuple[Float[Array, "b h k n"], Float[Array, "b h n k"]], memory_mask: Bool[Array, "b n"],
    ) -> tuple[Float[Array, "b m d"], dict, Float[Array, "b h m n"]]:  # fmt: skip
        """One new position of each beam: x, the cache, and the weights of cross-attention in float32.

        Args:
          index, cache, cache_mask: as in `SelfAttention.step`.
          prepared: result of `CrossAttention.prepare`.
        """
        out, cache = self.attention.step(self.attention_norm(x), cache, index, cache_mask)
        x = x + out
        assert self.cross_norm is not None and self.cross_attention is not None
        key, value = prepared
        out, weights = self.cross_attention.step(self.cross_norm(x), key, value, memory_mask)
        x = x + out
        return x + self.mlp(self.mlp_norm(x)), cache, weights

    @property
    def _num_keys(self) -> int:
        branches = 2 + (self.time_attention is not None) + (self.cross_attention is not None)
        return branches * (1 + self.stochastic_depth) + 1

    def _residual(self, x, norm: LayerNorm, branch: Callable, drop, keys):
        """The one place that decides where norms are: x + branch(norm(x)), and the weights of the branch."""
        out, weights = branch(norm(x))
        out = dropout(out, self.rate, next(keys))
        return x + (drop_path(out, drop, next(keys)) if self.stochastic_depth else out), weights

    def _over_all(self, x, mask, **options):
        out, weights = self.attention(x.reshape(x.shape[0], -1, x.shape[-1]), mask, **options)
        return out.reshape(x.shape), weights

    def _over_time(self, x, mask, return_weights: bool):
        assert self.time_attention is not None
        b, t, n, d = x.shape
        rows = x.swapaxes(1, 2).reshape(b * n, t, d)
        out, weights = self.time_attention(rows, jnp.repeat(mask, n, axis=0), return_weights=return_weights)
        if weights is not None:
            weights = weights.reshape(b, n, -1, t, t).transpose(0, 2, 3, 1, 4)
        return out.reshape(b, n, t, d).swapaxes(1, 2), weights

    def _over_space(self, x, return_weights: bool):
        b, t, n, d = x.shape
        out, weights = self.attention(x.reshape(b * t, n, d), return_weights=return_weights)
        if weights is not None:
            weights = weights.reshape(b, t, -1, n, n).swapaxes(1, 2)
        return out.reshape(x.shape), weights

    def _cross(self, x, memory, mask, return_weights: bool):
        assert self.cross_attention is not None
        b, n, d = x.shape
        rows = x.reshape(memory.shape[0], -1, d)
        out, weights = self.cross_attention(rows, memory, mask, return_weights=return_weights)
        if weights is not None:
            heads = weights.shape[1]
            weights = weights.reshape(memory.shape[0], heads, -1, n, weights.shape[-1]).swapaxes(1, 2)
            weights = weights.reshape(b, heads, n, -1)
        return out.reshape(b, n, d), weights
