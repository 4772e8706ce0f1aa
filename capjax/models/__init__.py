"""Models: from a batch to a memory to logits."""

from flax import nnx

# Parameters have logical axis names, and otherwise a module with such names could be built under a mesh only.
nnx.use_eager_sharding(False)
