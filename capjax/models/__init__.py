"""Models: from a batch to a memory to logits.

Signatures give the shapes of arrays with jaxtyping, and tests can check them. NumPy arrays can stand for JAX arrays.
One legend of axis names holds in all of capjax; modules repeat what they use of it, and add their own:

  b       batch: items, that is photos, videos or events; in encoders of images, images
  c       captions of an item (`bc`: of all items, those of an item in sequence); in encoders, channels
  d       width
  e q     events; event queries, or queries of attention
  h w     height and width in pixels, or rows and columns of a grid; beside positions, h is attention heads
  k       width of a head, or size of a convolution's kernel
  l p     positions of a target; tokens of its prefix
  m       beams, or hypotheses
  n       positions of a memory, or of the feature grid of a frame
  t       frames (`groups`: of `time_stride` frames, with one feature grid each)
  v       tokens of the vocabulary
  layers  layers, of stacked results
"""

import flax

# Parameters have logical axis names, and otherwise a module with such names could be built under a mesh only.
flax.config.update("flax_always_shard_variable", False)
