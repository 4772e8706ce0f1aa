"""Layers stacked along a leading axis of their parameters, and applied by one traced loop."""

import jax
from flax import nnx

from capjax.models.layers import PRODUCT
from capjax.parallel.sharding_rules import constrain

# Which values of a layer the backward pass keeps, by the name of what it recomputes. `none`: all are kept; `light`: the
# results of matrix products are kept, and norms, activations and attention weights are recomputed; `full`: only the
# input of the layer is kept.
REMAT = {
    "none": None,
    "light": jax.checkpoint_policies.save_only_these_names(PRODUCT),
    "full": jax.checkpoint_policies.nothing_saveable,
}


def stack(make_layer, count: int, rngs: nnx.Rngs):
    """`count` modules as one module, with a leading `layers` axis on every parameter, for `scan`.

    Args:
      make_layer: rngs -> one module.
    """

    @nnx.split_rngs(splits=count)
    @nnx.vmap(in_axes=(0,), out_axes=0, transform_metadata={nnx.PARTITION_NAME: "layers"})
    def make(rngs):
        return make_layer(rngs)

    return make(rngs)


def unstack(blocks: nnx.Module, count: int) -> list[nnx.Module]:
    """The modules of `stack`, one by one."""
    graphdef, state = nnx.split(blocks)
    return [nnx.merge(graphdef, jax.tree.map(lambda a, i=i: a[i], state)) for i in range(count)]


def take(blocks: nnx.Module, first: int, end: int) -> nnx.Module:
    """The modules of `stack` from `first` to before `end`, stacked."""
    graphdef, state = nnx.split(blocks)
    return nnx.merge(graphdef, jax.tree.map(lambda a: a[first:end], state))


def scan(blocks: nnx.Module, count: int, x, call, *, key=None, remat: str = "none", dtype=None):
    """Applies stacked blocks in turn and returns (x, the outputs stacked by layer).

    One body is traced for any depth, so that compile time does not grow with it.

    Args:
      x: the carry from layer to layer, a pytree whose first array is [b, ..., d].
      call: (block, x, key) -> (x, output).
      remat: what the backward pass recomputes, a key of REMAT.
      dtype: of the computation. Kernels are cast once, so that devices which share them exchange no more than that.

    Raises:
      ValueError: `remat` is not a key of REMAT.
    """
    if remat not in REMAT:
        raise ValueError(f"remat {remat!r}: expected one of {', '.join(REMAT)}")
    graphdef, state = nnx.split(blocks)
    keys = None if key is None else jax.random.split(key, count)
    if dtype is not None:
        state = jax.tree.map(lambda value: value.astype(dtype) if value.ndim > 2 else value, state)

    def body(x, layer):
        layer_state, layer_key = layer
        first, *rest = jax.tree.leaves(x)
        x = jax.tree.unflatten(jax.tree.structure(x), [constrain(first, "batch"), *rest])
        return call(nnx.merge(graphdef, layer_state), x, layer_key)

    if REMAT[remat] is not None:
        # Within a scan no common-subexpression elimination across forward and backward pass can undo this.
        body = jax.checkpoint(body, policy=REMAT[remat], prevent_cse=False)
    return jax.lax.scan(body, x, (state, keys))
