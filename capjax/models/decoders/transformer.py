"""A pre-norm transformer decoder with cross-attention (Vaswani et al. 2017; pre-norm as in Xiong et al. 2020).

b: items of the memory, c: captions of an item, m: beams, l: target positions, n: memory positions, d: width, h: heads,
v: vocabulary.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from capjax.models.decoders.cache import InPlace
from capjax.models.decoders.embedding import TokenEmbedding
from capjax.models.decoders.registry import DECODERS
from capjax.models.layers import LayerNorm, dropout, split
from capjax.models.memory import DecoderOutput, Memory
from capjax.models.stacked import scan, unstack
from capjax.models.transformer_block import make_blocks


@DECODERS.register("transformer")
class TransformerDecoder(nnx.Module):
    """Transformer decoder.

    Args:
      vocab: number of tokens in the vocabulary.
      width: d, also the width of the memory.
      max_len: maximum length of a sequence, prefix included.
      dropout: on embeddings, on each residual branch and inside the MLP.
      tie: the output layer is the transposed embedding (Press & Wolf 2017).
      remat: what the backward pass recomputes of each layer instead of keeping it: none, light or full (see
        capjax.models.stacked.REMAT).

    Raises:
      ValueError: an option has an impossible value; the message says which.
    """

    def __init__(
        self, *, vocab: int, width: int, max_len: int, layers: int = 6, heads: int = 8, mlp_ratio: float = 4.0,
        dropout: float = 0.0, tie: bool = True, remat: str = "none", dtype=jnp.float32, rngs,
    ):  # fmt: skip
        self.embedding = TokenEmbedding(vocab, width, tie=tie, dtype=dtype, rngs=rngs)
        # As large as the embeddings: with much smaller ones a token is slow to learn about its neighbor.
        self.position = nnx.Param(
            nnx.initializers.normal(1.0)(rngs.params(), (max_len, width)), out_sharding=(None, "embed")
        )
        self.blocks = make_blocks(
            "decoder", layers, width, heads, mlp_ratio, cross=True, dropout=dropout, dtype=dtype, rngs=rngs
        )
        self.norm = LayerNorm(width, dtype=dtype)
        self.layers, self.heads, self.max_len, self.rate, self.remat = layers, heads, max_len, dropout, remat
        self.dtype = dtype

    def __call__(
        self, tokens: Int[Array, "bc l"], memory: Memory, key=None, *, return_attention: bool = False
    ) -> DecoderOutput:
        """Teacher forcing: logits float32 [bc, l, v] and, if requested, attention [layers, bc, h, l, n].

        Args:
          tokens: the c captions of an item are consecutive.
        """
        self._check_length(tokens.shape[1])
        embed_key, blocks_key, out_key = split(key, 3)
        x = self.embedding(tokens) + self.position[: tokens.shape[1]].astype(self.dtype)
        x = dropout(x, self.rate, embed_key)

        def layer(block, x, key):
            return block(
                x, key, causal=True, memory=memory.x, memory_mask=memory.mask, return_attention=return_attention
            )

        x, weights = scan(self.blocks, self.layers, x, layer, key=blocks_key, remat=self.remat, dtype=self.dtype)
        x = dropout(self.norm(x), self.rate, out_key)
        return DecoderOutput(self.embedding.logits(x), weights.get("cross_attention"))

    def init_cache(self, memory: Memory, num_beams: int, length: int):
        """Empty self-attention caches for `length` positions, and the keys and values of the memory in each layer."""
        self._check_length(length)
        b, _, d = memory.x.shape
        # Layers are separated once, here: slices inside the decoding loop would be copied at every step.
        blocks = [nnx.split(block) for block in unstack(self.blocks, self.layers)]
        # The memory is projected in a loop over layers, because layer by layer it takes much longer to compile.
        _, prepared = scan(
            self.blocks.cross_attention, self.layers, memory.x, lambda attention, x, _: (x, attention.prepare(x)),
            dtype=self.dtype,
        )  # fmt: skip
        fixed = {
            "graphdef": blocks[0][0],
            "layers": [(state, tuple(each[i] for each in prepared)) for i, (_, state) in enumerate(blocks)],
            "mask": memory.mask,
        }
        empty = jnp.zeros((b, self.heads, length * num_beams, d // self.heads), self.dtype)
        caches = InPlace([{"key": empty, "value": empty} for _ in blocks])
        return fixed, {"slots": jnp.zeros((b, num_beams, length), jnp.int32), "caches": caches}

    def step(
        self, tokens: Int[Array, "b m"], index: Int[Array, ""], fixed, state, *, return_attention: bool = False
    ) -> tuple[Float[Array, "b m v"], dict, Float[Array, "layers b m h n"] | None]:
        """One position of every beam: the logits, the state, and the attention if requested."""
        x = self.embedding(tokens) + self.position[...][index].astype(self.dtype)
        # slots [b, m, l]: for each position of a hypothesis, the beam in whose slot of the caches it lies.
        b, m, length = state["slots"].shape
        own = jnp.broadcast_to(jnp.arange(m, dtype=jnp.int32)[:, None], (b, m, 1))
        slots = jax.lax.dynamic_update_slice_in_dim(state["slots"], own, index, 2)
        cache_mask = (slots[..., None] == jnp.arange(m)) & (jnp.arange(length) <= index)[:, None]
        cache_mask = cache_mask.reshape(b, m, length * m)
        caches, layer_weights = [], []
        for (block, prepared), cache in zip(fixed["layers"], state["caches"].value, strict=True):
            block = nnx.merge(fixed["graphdef"], block)
            x, cache, weights = block.step(x, index, cache, cache_mask, prepared, fixed["mask"])
            caches.append(cache)
            layer_weights.append(weights)
        attention = jnp.stack(layer_weights).swapaxes(2, 3) if return_attention else None
        return self.embedding.logits(self.norm(x)), {"slots": slots, "caches": InPlace(caches)}, attention

    def _check_length(self, length: int):
        if length > self.max_len:
            raise ValueError(
                f"{length} positions requested of a decoder that was made for {self.max_len}, the larger of "
                "data.target_len and decode.max_len with its prefix; lower decode.max_len, or train with more"
            )
