"""The registry of decoders, in a module of its own so that decoder modules can import it.

Every decoder has the same methods, so that one search serves all of them:

  __call__(tokens [b, l], memory, key=None, return_attention=False) -> DecoderOutput       teacher forcing
  init_cache(memory, num_beams, length) -> (fixed, state)                                  before decoding
  step(tokens [b, m], index, fixed, state, return_attention=False) -> (logits [b, m, v], state, attention)
                                                                                           one position of every beam

`fixed` is shared by the beams of an item and never changes. Every leaf of `state` is [b, m, ...] or within `InPlace`,
so that a search can reorder beams (`cache.reorder`) without knowing the decoder.

The attention over memory positions is float32 [layers, b, h, l, n] of a call and [layers, b, m, h, n] of a step, and
None if it is not requested. A recurrent decoder has one layer and one head.
"""

from capjax.registry import Registry

DECODERS = Registry("decoder")
