"""One table from logical axis names to mesh axes decides where every array lies."""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import wraps

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_ACTIVE: ContextVar["Rules | None"] = ContextVar("rules", default=None)


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Says where an array within a program lies, by the logical names of its axes: without that the compiler may gather
    a batch to leave parameters where they are. The identity in programs that are not made for several devices.
    """
    rules = _ACTIVE.get()
    if rules is None or rules.mesh.size == 1:
        return x
    return jax.lax.with_sharding_constraint(x, rules.sharding(names, x.shape))


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


class Rules:
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
                    raise ValueError(f"mesh.rules: {name!r} goes to {axis!r}, but the mesh has {', '.join(mesh.shape)}")

    def sharding(self, names: Sequence[str | None], shape: Sequence[int]) -> NamedSharding:
        """Where an array of this shape with these axis names lies.

        A mesh axis is used once an array, by the first name that asks; an axis that does not divide stays whole.
        """
        used, spec = set(), []
        for name, size in zip(names, shape, strict=False):
            axes, share = [], 1
            for axis in self.table.get(name, ()):
                if axis not in used and size % (share * self.mesh.shape[axis]) == 0:
                    axes.append(axis)
                    share *= self.mesh.shape[axis]
            used.update(axes)
            spec.append(tuple(axes) or None)
        return NamedSharding(self.mesh, PartitionSpec(*spec))

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

    def gathered(self) -> "Rules":
        """These, but parameters are whole on the devices that share a batch: for what reads them again and again."""
        shared = self.table.get("batch", ())
        kept = {name: [axis for axis in axes if axis not in shared] for name, axes in self.table.items()}
        return Rules(self.mesh, [*(kept | {"batch": shared}).items()])

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
