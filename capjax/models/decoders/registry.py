"""The table of decoders, apart so that decoder modules can import it.

Every decoder has the same entries, and one search serves all:

  __call__(tokens [b, l], memory, key=None, return_attention=False) -> DecoderOutput      training, teacher forcing
  init_cache(memory, beams, length) -> (fixed, state)                                   before decoding
  step(tokens [b, m], index, fixed, state) -> (logits [b, m, v], state, attention)      one position of every beam

`fixed` is shared by an item's beams and never changes; every leaf of `state` is [b, m, ...] or marked `InPlace`, so
that a search can reorder beams (`cache.reorder`) without knowing the decoder. attention: float32 [b, m, n].
"""

from capjax.registry import Registry

DECODERS = Registry("decoder")
