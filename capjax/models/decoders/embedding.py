"""Embedding of tokens and output layer, the two ends of every decoder. d: width, v: vocabulary."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from capjax.models.layers import Linear
from capjax.parallel.sharding_rules import constrain


class TokenEmbedding(nnx.Module):
    """Embeds tokens, and computes their logits from the same table if `tie`, else with a linear layer."""

    def __init__(self, vocab: int, width: int, *, tie: bool, dtype=jnp.float32, rngs):
        self.table = nnx.Param(
            nnx.initializers.normal(width**-0.5)(rngs.params(), (vocab, width)), out_sharding=("vocab", "embed")
        )
        self.bias = nnx.Param(jnp.zeros(vocab), out_sharding=("vocab",)) if tie else None
        self.head = None if tie else Linear(width, vocab, axes=("embed", "vocab"), dtype=dtype, rngs=rngs)
        self.scale, self.dtype = width**0.5, dtype

    def __call__(self, tokens: Int[Array, "*b"]) -> Float[Array, "*b d"]:
        """Embeddings scaled to unit variance (Vaswani et al. 2017, section 3.4)."""
        return constrain(self.table[...].astype(self.dtype)[tokens] * self.scale, "batch")

    def logits(self, x: Float[Array, "*b d"]) -> Float[Array, "*b v"]:
        """Logits in float32."""
        flat = x.reshape(-1, x.shape[-1])
        if self.head is not None:
            out = self.head(flat)
        else:
            assert self.bias is not None
            out = flat @ self.table[...].astype(self.dtype).T + self.bias[...].astype(self.dtype)
        out = out.astype(jnp.float32).reshape(*x.shape[:-1], -1)
        return constrain(out, "batch", *(None,) * (x.ndim - 2), "vocab")
