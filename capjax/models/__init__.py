"""Batch to memory to logits."""

from flax import nnx

# Parameters carry logical axis names; without this, building a module with names needs a mesh.
nnx.use_eager_sharding(False)
