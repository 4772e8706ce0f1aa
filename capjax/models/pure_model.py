"""A Flax NNX model as pure functions of two flat dicts.

Outside capjax.models nobody holds a module: parameters are `{"decoder/blocks/mlp/up": array}`. A flat dict is a
pytree with readable paths, so patterns over names (freezing, weight decay, sharding), checkpoints and weight
converters stay simple.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
from flax import nnx

Arrays = dict[str, jax.Array]

# XLA's own generator: JAX's default, threefry, would be spelled out in the program at every draw, which costs seconds
# of compilation and much of a dropout's time. The bits are the same however arrays are sharded.
RNG = "rbg"


def make_key(seed: int) -> jax.Array:
    """The key that all randomness of a run comes from."""
    return jax.random.key(seed, impl=RNG)


def _flat(state: nnx.State) -> Arrays:
    return {"/".join(map(str, path)): variable[...] for path, variable in nnx.to_flat_state(state)}


def params_of(model: nnx.Module) -> Arrays:
    """The model's parameters by path."""
    return _flat(nnx.state(model, nnx.Param))


def batch_stats_of(model: nnx.Module) -> Arrays:
    """The model's running statistics (batch norm) by path."""
    return _flat(nnx.state(model, nnx.BatchStat))


@dataclass(frozen=True)
class PureModel:
    """The pure side of a model.

    Attributes:
      make: key -> nnx.Module.
      graphdef, paths: what `bind` needs to build the module again around arrays.
      shapes: abstract parameters by path; `batch_stat_shapes`: abstract running statistics.
      axes: the logical axis names of each parameter, one a dimension, () where none were given.
    """

    make: Callable[[jax.Array], nnx.Module]
    graphdef: nnx.GraphDef
    paths: dict[str, tuple]
    shapes: dict[str, jax.ShapeDtypeStruct]
    batch_stat_shapes: dict[str, jax.ShapeDtypeStruct]
    axes: dict[str, tuple]

    @classmethod
    def of(cls, make: Callable[[jax.Array], nnx.Module]) -> "PureModel":
        """Traces `make` without allocating anything."""
        model = nnx.eval_shape(make, jax.eval_shape(lambda: make_key(0)))
        graphdef, params, batch_stats = nnx.split(model, nnx.Param, nnx.BatchStat)
        flat_params, flat_batch_stats = nnx.to_flat_state(params), nnx.to_flat_state(batch_stats)
        return cls(
            make=make,
            graphdef=graphdef,
            paths={"/".join(map(str, path)): path for path, _ in [*flat_params, *flat_batch_stats]},
            shapes={"/".join(map(str, path)): variable.get_value() for path, variable in flat_params},
            batch_stat_shapes={"/".join(map(str, path)): variable.get_value() for path, variable in flat_batch_stats},
            axes={
                "/".join(map(str, path)): tuple(variable.get_metadata().get("out_sharding") or ())
                for path, variable in flat_params
            },
        )

    def init(self, key: jax.Array) -> tuple[Arrays, Arrays]:
        """(parameters, running statistics), drawn with a key of `make_key`. Can be jitted."""
        model = self.make(key)
        return params_of(model), batch_stats_of(model)

    def bind(self, params: Arrays, batch_stats: Arrays):
        """The module around these arrays; costs nothing inside jit."""
        flat = {self.paths[name]: value for name, value in (params | batch_stats).items()}
        return nnx.merge(self.graphdef, nnx.from_flat_state(flat))
