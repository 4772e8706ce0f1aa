"""Sharding by logical axis names: one table maps the names to mesh axes and decides where every array lies."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import wraps

import jax
import jax.custom_batching
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Shaped

# The rules of the program that is being traced, set by `ShardingRules.activate`.
_ACTIVE_RULES: ContextVar["ShardingRules | None"] = ContextVar("active_rules", default=None)


def constrain(x: Shaped[Array, "*shape"], *names: str | None) -> Shaped[Array, "*shape"]:
    """Constrains the sharding of an array inside a jitted function, by the logical names of its axes.

    Without it the compiler may gather a batch in order to leave parameters where they are. It is the identity where no
    rules are active, and on one device.
    """
    rules = _ACTIVE_RULES.get()
    if rules is None or rules.mesh.size == 1:
        return x
    sharding, mesh = rules.sharding(names, x.shape), jax.sharding.get_abstract_mesh()
    if mesh.manual_axes:  # inside `shard_map` over slices
        sharding = NamedSharding(mesh, sharding.spec)
    return jax.lax.with_sharding_constraint(x, sharding)


def by_rows(function: Callable) -> Callable:
    """Wraps a function of an array [b, ...] that treats each row alone, so that each device computes its own rows.

    For operations that the compiler does not partition itself: for `jax.lax.top_k` it gathers the whole batch.
    """

    @wraps(function)
    def sharded(x, *args):
        rules = _ACTIVE_RULES.get()
        spec = PartitionSpec() if rules is None else rules.sharding(("batch",), x.shape).spec
        if not any(spec):
            return function(x, *args)
        return jax.shard_map(lambda rows: function(rows, *args), mesh=rules.mesh, in_specs=spec, out_specs=spec)(x)

    return sharded


top_k = by_rows(jax.lax.top_k)


def by_slice(function: Callable) -> Callable:
    """Wraps a function of arrays so that `jax.vmap` over slices runs it once on each slice, without an axis of slices.

    With that axis, of length 1 on each slice, the compiler all-reduces the gradients of kernels, where it would
    otherwise reduce-scatter them and leave each chip its part.
    """
    rules = _ACTIVE_RULES.get()
    if rules is None or rules.mesh.shape["replica"] == 1:
        return function
    mapped = jax.custom_batching.custom_vmap(function)

    @mapped.def_vmap
    def over_slices(count, batched, *args):
        if count != rules.mesh.shape["replica"]:
            raise ValueError(f"mapped over {count}, not over the {rules.mesh.shape['replica']} slices of the mesh")

        def on_slice(*args):
            out = function(*jax.tree.map(lambda x, has_axis: x[0] if has_axis else x, args, tuple(batched)))
            return jax.tree.map(lambda x: x[None], out)

        rows = PartitionSpec("replica")
        out = jax.shard_map(
            on_slice, mesh=rules.mesh, axis_names={"replica"}, out_specs=rows, check_vma=False,
            in_specs=jax.tree.map(lambda has_axis: rows if has_axis else PartitionSpec(), tuple(batched)),
        )(*args)  # fmt: skip
        return out, jax.tree.map(lambda _: True, out)

    return mapped


class ShardingRules:
    """Shardings of arrays on a mesh, by the logical names of their axes.

    Args:
      mesh: the devices.
      logical_axis_rules: (logical axis, mesh axes) pairs; an axis that is not named is replicated.

    Raises:
      ValueError: a rule names a mesh axis that does not exist.
    """

    def __init__(self, mesh: Mesh, logical_axis_rules: Sequence[tuple[str, Sequence[str]]]):
        self.mesh = mesh
        self.logical_axis_rules = {name: tuple(mesh_axes) for name, mesh_axes in logical_axis_rules}
        for name, mesh_axes in self.logical_axis_rules.items():
            for axis in mesh_axes:
                if axis not in mesh.shape:
                    raise ValueError(
                        f"mesh.logical_axis_rules: {name!r} goes to {axis!r}, but the mesh has {', '.join(mesh.shape)}"
                    )

    def sharding(self, names: Sequence[str | None], shape: Sequence[int]) -> NamedSharding:
        """Returns the sharding of an array of this shape with these axis names.

        Each mesh axis is used once per array, by the first name that maps to it; an array axis that a mesh axis does
        not divide is not sharded over it.
        """
        return NamedSharding(self.mesh, PartitionSpec(*self._spec(names, shape)))

    def _spec(self, names: Sequence[str | None], shape: Sequence[int], spare: Sequence[str] = ()) -> list[tuple | None]:
        """Returns the mesh axes of each axis; those of `spare` that no name uses go wherever they divide."""
        used, spec = set(), []

        def assign(mesh_axes, size: int, assigned: tuple[str, ...] = ()) -> tuple[str, ...]:
            for axis in mesh_axes:
                parts = math.prod(self.mesh.shape[each] for each in assigned)
                if axis not in used and size % (parts * self.mesh.shape[axis]) == 0:
                    assigned = (*assigned, axis)
                    used.add(axis)
            return assigned

        for name, size in zip(names, shape, strict=False):
            spec.append(assign(self.logical_axis_rules.get(name, ()) if name else (), size))
        return [assign(spare, size, assigned) or None for size, assigned in zip(shape, spec, strict=False)]

    def activate(self, function: Callable) -> Callable:
        """Wraps a function so that `constrain`, `by_rows` and `by_slice` use these rules while it is traced."""

        @wraps(function)
        def traced(*args):
            token = _ACTIVE_RULES.set(self)
            try:
                return function(*args)
            finally:
                _ACTIVE_RULES.reset(token)

        return traced

    def compiler_options(self, options: Mapping) -> dict | None:
        """Returns options of the TPU compiler for `jax.jit`; None on other devices, whose compilers reject them."""
        return dict(options) if self.mesh.devices.flat[0].platform == "tpu" else None

    def gathered(self) -> "ShardingRules":
        """Returns rules under which parameters are whole on the devices that share a batch, for programs that read
        them repeatedly."""
        batch_axes = self.logical_axis_rules.get("batch", ())
        rules = self.without(*batch_axes).logical_axis_rules | {"batch": batch_axes}
        return ShardingRules(self.mesh, list(rules.items()))

    def without(self, *axes: str) -> "ShardingRules":
        """Returns rules under which nothing is sharded over these mesh axes."""
        return ShardingRules(
            self.mesh,
            [(name, [axis for axis in kept if axis not in axes]) for name, kept in self.logical_axis_rules.items()],
        )

    def sum_spread(self, x: Float[Array, "replicas ..."], names: Sequence[str | None]) -> Float[Array, "..."]:
        """Sums over the first axis, which is sharded over `replica`; the other axes have these names.

        Devices that share a batch hold the same numbers: each of them sums a part, so that slices exchange each number
        once.
        """
        within, names = self.without("replica"), (*names, *(None,) * (x.ndim - 1 - len(names)))
        parts = within._spec(names, x.shape[1:], spare=within.logical_axis_rules.get("batch", ()))
        x = jax.lax.with_sharding_constraint(x, NamedSharding(self.mesh, PartitionSpec("replica", *parts))).sum(0)
        x = jax.lax.with_sharding_constraint(x, NamedSharding(self.mesh, PartitionSpec(*parts)))
        return jax.lax.with_sharding_constraint(x, within.sharding(names, x.shape))

    @property
    def replicated(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def batch_parts(self) -> int:
        """Number of parts into which a batch is divided; its size must be a multiple."""
        return math.prod(self.mesh.shape[axis] for axis in self.logical_axis_rules.get("batch", ()))

    def batch(self, size: int) -> NamedSharding:
        """Returns the sharding of arrays [size, ...] over the mesh axes of `batch`.

        Raises:
          ValueError: `size` does not divide.
        """
        count = self.batch_parts
        if size % count:
            raise ValueError(f"a batch of {size} does not divide over {count} devices; use a multiple of {count}")
        return NamedSharding(self.mesh, PartitionSpec(self.logical_axis_rules.get("batch", ())))

    def rows(self, size: int) -> Int[np.ndarray, " rows"]:
        """Returns the rows of a batch that lie on this process's devices, ascending: those that it must load.

        Raises:
          ValueError: `size` does not divide.
        """
        parts = self.batch(size).addressable_devices_indices_map((size,)).values()
        return np.unique(np.concatenate([np.arange(size)[part] for part in parts]))

    def params(self, shapes: Mapping[str, jax.ShapeDtypeStruct], axes: Mapping[str, Sequence[str]]) -> dict:
        """Returns the shardings of a flat dict of parameters."""
        return {name: self.sharding(axes.get(name, ()), value.shape) for name, value in shapes.items()}

    def like_params(self, tree, params: Mapping[str, NamedSharding], shapes: Mapping) -> object:
        """Returns the shardings of a tree such as an optimizer's state.

        A leaf under a parameter's name with the parameter's shape gets its sharding; all others are replicated.
        """

        def leaf_sharding(path, leaf):
            keys = [entry.key for entry in path if isinstance(entry, jax.tree_util.DictKey)]
            name = next((key for key in reversed(keys) if key in params), None)
            if name is not None and leaf.shape == shapes[name].shape:
                return params[name]
            return self.replicated

        return jax.tree_util.tree_map_with_path(leaf_sharding, tree)
