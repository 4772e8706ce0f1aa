"""A pre-norm transformer decoder with cross-attention (Vaswani et al. 2017; Xiong et al. 2020 for pre-norm)."""

import jax
import jax.numpy as jnp
from flax import nnx

from capjax.models.attention import CrossAttention, SelfAttention
from capjax.models.decoders.cache import InPlace
from capjax.models.decoders.embedding import TokenEmbedding
from capjax.models.decoders.registry import DECODERS
from capjax.models.layers import LayerNorm, Mlp, dropout, scan, split, stack, unstack
from capjax.models.memory import DecoderOutput, Memory


class Block(nnx.Module):
    """Self-attention, cross-attention, MLP, each with a residual."""

    def __init__(self, d: int, heads: int, hidden: int, *, rate: float, dtype, rngs):
        self.self_norm = LayerNorm(d, dtype=dtype)
        self.self_attention = SelfAttention(d, heads, dtype=dtype, rngs=rngs)
        self.cross_norm = LayerNorm(d, dtype=dtype)
        self.cross_attention = CrossAttention(d, heads, dtype=dtype, rngs=rngs)
        self.mlp_norm = LayerNorm(d, dtype=dtype)
        self.mlp = Mlp(d, hidden=hidden, dtype=dtype, rngs=rngs)
        self.rate = rate

    def __call__(self, x, memory: Memory, key, *, return_attention: bool):
        keys = split(key, 4)
        x = x + dropout(self.self_attention(self.self_norm(x), causal=True), self.rate, keys[0])
        # All captions of an item are queries of its one memory.
        queries = self.cross_norm(x).reshape(memory.x.shape[0], -1, x.shape[-1])
        seen, weights = self.cross_attention(queries, memory.x, memory.mask, return_weights=return_attention)
        weights = weights if weights is None else weights.reshape(*x.shape[:2], -1)
        x = x + dropout(seen.reshape(x.shape), self.rate, keys[1])
        x = x + dropout(self.mlp(self.mlp_norm(x), rate=self.rate, key=keys[2]), self.rate, keys[3])
        return x, weights

    def step(self, x, index, fixed, cache, own_mask, mask):
        """x [b, m, d] at position `index`; `fixed` is what cross-attention prepared of the memory."""
        out, cache = self.self_attention.step(self.self_norm(x), cache, index, own_mask)
        x = x + out
        seen, weights = self.cross_attention.step(self.cross_norm(x), *fixed, mask)
        x = x + seen
        return x + self.mlp(self.mlp_norm(x)), cache, weights


@DECODERS.register("transformer")
class TransformerDecoder(nnx.Module):
    """Attention is read from the last layer, averaged over heads.

    Args:
      vocab: v, pieces in the vocabulary.
      width: d, also the width of the memory.
      max_len: the longest sequence, prefix included.
      dropout: on embeddings, on each residual branch and inside the MLP.
      tie: the output layer is the embedding, transposed (Press & Wolf 2017).
      remat: what the backward pass computes anew of each layer instead of keeping it: none, light or full (see
        capjax.models.layers.REMAT).
    """

    def __init__(
        self, *, vocab: int, width: int, max_len: int, layers: int = 6, heads: int = 8, mlp_ratio: float = 4.0,
        dropout: float = 0.0, tie: bool = True, remat: str = "none", dtype=jnp.float32, rngs,
    ):  # fmt: skip
        if min(layers, heads) < 1:
            raise ValueError(f"a decoder of {layers} layers with {heads} heads: expected 1 or more of each")
        if width % heads:
            raise ValueError(f"decoder width {width} is not a multiple of its {heads} heads")
        self.embedding = TokenEmbedding(vocab, width, tie=tie, dtype=dtype, rngs=rngs)
        # As large as the embeddings: much smaller, and for long a token does not know its neighbor.
        self.position = nnx.Param(
            nnx.initializers.normal(1.0)(rngs.params(), (max_len, width)), out_sharding=(None, "embed")
        )
        hidden = int(width * mlp_ratio)
        self.blocks = stack(
            lambda rngs: Block(width, heads, hidden, rate=dropout, dtype=dtype, rngs=rngs), layers, rngs
        )
        self.norm = LayerNorm(width, dtype=dtype)
        self.layers, self.heads, self.max_len, self.rate, self.remat = layers, heads, max_len, dropout, remat
        self.dtype = dtype

    def __call__(self, tokens, memory: Memory, key=None, *, return_attention: bool = False) -> DecoderOutput:
        """tokens int32 [b * c, l], c captions of each item of the memory in a row -> logits float32 [b * c, l, v]."""
        self._check_length(tokens.shape[1])
        embed_key, blocks_key, out_key = split(key, 3)
        x = self.embedding(tokens) + self.position[: tokens.shape[1]].astype(self.dtype)
        x = dropout(x, self.rate, embed_key)
        x, weights = scan(
            self.blocks, self.layers, x,
            lambda block, x, key: block(x, memory, key, return_attention=return_attention),
            key=blocks_key, remat=self.remat, dtype=self.dtype,
        )  # fmt: skip
        x = dropout(self.norm(x), self.rate, out_key)
        return DecoderOutput(self.embedding.logits(x), None if weights is None else weights[-1])

    def init_cache(self, memory: Memory, num_beams: int, length: int):
        """Empty self-attention caches for `length` positions, and each layer's keys and values of the memory."""
        self._check_length(length)
        b, _, d = memory.x.shape
        # Layers are taken apart once, here: inside the decoding loop each slice would be copied at every step.
        blocks = [nnx.split(block) for block in unstack(self.blocks, self.layers)]
        # What they read of the memory is projected in a loop: compiled layer by layer, pod_1b's decoding of clips
        # took the TPU compiler 40 s, and takes 28 s so.
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
        return fixed, {"places": jnp.zeros((b, num_beams, length), jnp.int32), "caches": caches}

    def step(self, tokens, index, fixed, state):
        x = self.embedding(tokens) + self.position[...][index].astype(self.dtype)
        # places [b, m, l]: of each position of a hypothesis, the beam in whose place of the caches it lies.
        b, m, length = state["places"].shape
        own = jnp.broadcast_to(jnp.arange(m, dtype=jnp.int32)[:, None], (b, m, 1))
        places = jax.lax.dynamic_update_slice_in_dim(state["places"], own, index, 2)
        own_mask = (places[..., None] == jnp.arange(m)) & (jnp.arange(length) <= index)[:, None]
        own_mask = own_mask.reshape(b, m, length * m)
        caches = []
        for (block, memory), cache in zip(fixed["layers"], state["caches"].value, strict=True):
            block = nnx.merge(fixed["graphdef"], block)
            x, cache, weights = block.step(x, index, memory, cache, own_mask, fixed["mask"])
            caches.append(cache)
        return self.embedding.logits(self.norm(x)), {"places": places, "caches": InPlace(caches)}, weights

    def _check_length(self, length: int):
        if length > self.max_len:
            raise ValueError(
                f"{length} positions asked of a decoder that was made for {self.max_len}, the longest of "
                "data.target_len and decode.max_len with its prefix; lower decode.max_len, or train with more"
            )
