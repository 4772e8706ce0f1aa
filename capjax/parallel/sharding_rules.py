"""One table from logical axis names to mesh axes decides where every array lies."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import wraps

import jax
import jax.custom_batching
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_ACTIVE: ContextVar["ShardingRules | None"] = ContextVar("rules", default=None)


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Says where an array within a program lies, by the logical names of its axes: without that the compiler may gather
    a batch to leave parameters where they are. The identity in programs that are not made for several devices.
    """
    rules = _ACTIVE.get()
    if rules is None or rules.mesh.size == 1:
        return x
    sharding, here = rules.sharding(names, x.shape), jax.sharding.get_abstract_mesh()
    if here.manual_axes:  # in a part of the program that is written for each slice
        sharding = NamedSharding(here, sharding.spec)
    return jax.lax.with_sharding_constraint(x, sharding)


def by_rows(function: Callable) -> Callable:
    """A function of an array [b, ...] that works on each row alone, computed where the rows lie. For what the compiler
    does not divide itself: it gathers a whole batch for `jax.lax.top_k`.
    """

    @wraps(function)
    def divided(x, *args):
        rules = _ACTIVE.get()
        spec = PartitionSpec() if rules is None else rules.sharding(("batch",), x.shape).spec
        if not any(spec):
            return function(x, *args)
        return jax.shard_map(lambda rows: function(rows, *args), mesh=rules.mesh, in_specs=spec, out_specs=spec)(x)

    return divided


top_k = by_rows(jax.lax.top_k)


def by_slice(function: Callable) -> Callable:
    """A function of arrays that is written for a slice alone where `jax.vmap` maps it over slices: the compiler then
    sees no axis of them. With that axis, of length 1 on each slice, it sums kernels' gradients whole, where it would
    sum them and leave each chip its part.
    """
    rules = _ACTIVE.get()
    if rules is None or rules.mesh.shape["replica"] == 1:
        return function
    mapped = jax.custom_batching.custom_vmap(function)

    @mapped.def_vmap
    def over_slices(count, batched, *args):
        if count != rules.mesh.shape["replica"]:
            raise ValueError(f"mapped over {count}, not over the {rules.mesh.shape['replica']} slices of the mesh")

        def own(*args):
            out = function(*jax.tree.map(lambda x, has: x[0] if has else x, args, tuple(batched)))
            return jax.tree.map(lambda x: x[None], out)

        rows = PartitionSpec("replica")
        out = jax.shard_map(
            own, mesh=rules.mesh, axis_names={"replica"}, out_specs=rows, check_vma=False,
            in_specs=jax.tree.map(lambda has: rows if has else PartitionSpec(), tuple(batched)),
        )(*args)  # fmt: skip
        return out, jax.tree.map(lambda _: True, out)

    return mapped


class ShardingRules:
    """Shardings by logical name.

    Args:
      mesh: the devices.
      table: (logical axis, mesh axes) pairs; what is not named is replicated.

    Raises:
      ValueError: the table names a mesh axis that does not exist.
    """

    def __init__(self, mesh: Mesh, table: Sequence[tuple[str, Sequence[str]]]):
        self.mesh, self.table = mesh, {name: tuple(axes) for name, axes in table}
        for name, axes in self.table.items():
            for axis in axes:
                if axis not in mesh.shape:
                    raise ValueError(
                        f"mesh.logical_axis_rules: {name!r} goes to {axis!r}, but the mesh has {', '.join(mesh.shape)}"
                    )

    def sharding(self, names: Sequence[str | None], shape: Sequence[int]) -> NamedSharding:
        """Where an array of this shape with these axis names lies.

        A mesh axis is used once an array, by the first name that asks; an axis that does not divide stays whole.
        """
        return NamedSharding(self.mesh, PartitionSpec(*self._spec(names, shape)))

    def _spec(self, names: Sequence[str | None], shape: Sequence[int], spare: Sequence[str] = ()) -> list[tuple | None]:
        """The mesh axes of each axis; `spare` ones, that no name asks for, go where they divide."""
        used, spec = set(), []

        def take(axes, size: int, taken: tuple[str, ...] = ()) -> tuple[str, ...]:
            for axis in axes:
                share = math.prod(self.mesh.shape[each] for each in taken)
                if axis not in used and size % (share * self.mesh.shape[axis]) == 0:
                    taken = (*taken, axis)
                    used.add(axis)
            return taken

        for name, size in zip(names, shape, strict=False):
            spec.append(take(self.table.get(name, ()), size))
        return [take(spare, size, taken) or None for size, taken in zip(shape, spec, strict=False)]

    def activate(self, function: Callable) -> Callable:
        """The function with `constrain` in it, and in all that it calls, meaning these rules while it is traced."""

        @wraps(function)
        def traced(*args):
            token = _ACTIVE.set(self)
            try:
                return function(*args)
            finally:
                _ACTIVE.reset(token)

        return traced

    def compiler_options(self, options: Mapping) -> dict | None:
        """What `jax.jit` is to pass on to the TPU's compiler; None on other devices, whose compilers refuse them."""
        return dict(options) if self.mesh.devices.flat[0].platform == "tpu" else None

    def gathered(self) -> "ShardingRules":
        """These, but parameters are whole on the devices that share a batch: for what reads them again and again."""
        shared = self.table.get("batch", ())
        return ShardingRules(self.mesh, [*(self.without(*shared).table | {"batch": shared}).items()])

    def without(self, *axes: str) -> "ShardingRules":
        """These, but nothing lies over some axes of the mesh."""
        return ShardingRules(
            self.mesh, [(name, [each for each in kept if each not in axes]) for name, kept in self.table.items()]
        )

    def sum_spread(self, x: jax.Array, names: Sequence[str | None]) -> jax.Array:
        """The sum of [replicas, ...] along its first axis, which lies over `replica`, where its other axes have these
        names. Devices that share a batch hold the same numbers, and each of them sums a part.
        """
        within, names = self.without("replica"), (*names, *(None,) * (x.ndim - 1 - len(names)))
        parts = within._spec(names, x.shape[1:], spare=within.table.get("batch", ()))
        x = jax.lax.with_sharding_constraint(x, NamedSharding(self.mesh, PartitionSpec("replica", *parts))).sum(0)
        x = jax.lax.with_sharding_constraint(x, NamedSharding(self.mesh, PartitionSpec(*parts)))
        return jax.lax.with_sharding_constraint(x, within.sharding(names, x.shape))

    @property
    def replicated(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())

    def batch(self, size: int) -> NamedSharding:
        """The first axis over the mesh axes of `batch`.

        Raises:
          ValueError: `size` does not divide.
        """
        axes = self.table.get("batch", ())
        count = 1
        for axis in axes:
            count *= self.mesh.shape[axis]
        if size % count:
            raise ValueError(f"a batch of {size} does not divide over {count} devices; use a multiple of {count}")
        return NamedSharding(self.mesh, PartitionSpec(axes))

    def rows(self, size: int) -> np.ndarray:
        """The rows of a batch that lie on this process's devices, in order: those that it has to give.

        Raises:
          ValueError: `size` does not divide.
        """
        parts = self.batch(size).addressable_devices_indices_map((size,)).values()
        return np.unique(np.concatenate([np.arange(size)[part] for part in parts]))

    def params(self, shapes: Mapping[str, jax.ShapeDtypeStruct], axes: Mapping[str, Sequence[str]]) -> dict:
        """Shardings of a flat dict of parameters."""
        return {name: self.sharding(axes.get(name, ()), value.shape) for name, value in shapes.items()}

    def like_params(self, tree, params: Mapping[str, NamedSharding], shapes: Mapping) -> object:
        """Shardings of a tree such as an optimizer's state: a leaf that sits under a parameter's name and has its
        shape lies where the parameter lies, and all else is replicated."""

        def place(path, leaf):
            names = [entry.key for entry in path if isinstance(entry, jax.tree_util.DictKey)]
            name = next((name for name in reversed(names) if name in params), None)
            if name is not None and leaf.shape == shapes[name].shape:
                return params[name]
            return self.replicated

        return jax.tree_util.tree_map_with_path(place, tree)
