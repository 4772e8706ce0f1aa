"""A Flax NNX model as pure functions of two flat dicts.

Outside capjax.models there are no modules: parameters are `{"decoder/blocks/mlp/up/kernel": array}`. A flat dict is a
pytree with readable paths, which keeps patterns over names (freezing, weight decay, sharding), checkpoints and
converters of weights simple.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import jax
from flax import nnx

Arrays = dict[str, jax.Array]
# An array, or the shape and dtype of one.
AnyArray = jax.Array | jax.ShapeDtypeStruct

# XLA's own generator. JAX's default, threefry, is expanded in the program at every draw, which costs compile time and
# much of the time of a dropout. The bits do not depend on the sharding.
RNG = "rbg"


def make_key(seed: int) -> jax.Array:
    """The key from which all randomness of a run is derived."""
    return jax.random.key(seed, impl=RNG)


def name_of(path: tuple) -> str:
    """The name of a parameter or running statistic, of its path in a module."""
    return "/".join(map(str, path))


def _flat(state: nnx.State) -> Arrays:
    return {name_of(path): variable[...] for path, variable in nnx.to_flat_state(state)}


def params_of(model: nnx.Module) -> Arrays:
    """The model's parameters by path."""
    return _flat(nnx.state(model, nnx.Param))


def batch_stats_of(model: nnx.Module) -> Arrays:
    """The model's running statistics (batch norm) by path."""
    return _flat(nnx.state(model, nnx.BatchStat))


@dataclass(frozen=True)
class PureModel:
    """A model as pure functions.

    Attributes:
      make: key -> nnx.Module.
      graphdef, paths: structure of the module, from which `bind` builds it around arrays.
      shapes: abstract parameters by path.
      batch_stat_shapes: abstract running statistics by path.
      axes: logical axis names of each parameter, one per dimension, or () if it has none.
    """

    make: Callable[[jax.Array], nnx.Module]
    graphdef: nnx.GraphDef
    paths: dict[str, tuple]
    shapes: dict[str, jax.ShapeDtypeStruct]
    batch_stat_shapes: dict[str, jax.ShapeDtypeStruct]
    axes: dict[str, tuple]

    @classmethod
    def of(cls, make: Callable[[jax.Array], nnx.Module]) -> "PureModel":
        """The pure functions of the module that `make` returns, which is traced without allocating arrays."""
        model = nnx.eval_shape(make, jax.eval_shape(lambda: make_key(0)))
        graphdef, params, batch_stats = cast(
            tuple[nnx.GraphDef, nnx.State, nnx.State], nnx.split(model, nnx.Param, nnx.BatchStat)
        )
        flat_params, flat_batch_stats = nnx.to_flat_state(params), nnx.to_flat_state(batch_stats)
        return cls(
            make=make,
            graphdef=graphdef,
            paths={name_of(path): path for path, _ in [*flat_params, *flat_batch_stats]},
            shapes={name_of(path): variable.get_value() for path, variable in flat_params},
            batch_stat_shapes={name_of(path): variable.get_value() for path, variable in flat_batch_stats},
            axes={
                name_of(path): tuple(variable.get_metadata().get("out_sharding") or ())
                for path, variable in flat_params
            },
        )

    def init(self, key: jax.Array) -> tuple[Arrays, Arrays]:
        """(parameters, running statistics) drawn with a key of `make_key`. Can be jitted."""
        model = self.make(key)
        return params_of(model), batch_stats_of(model)

    def bind(self, params: Mapping[str, AnyArray], batch_stats: Mapping[str, AnyArray]):
        """The module with these arrays. Within jit it costs nothing."""
        flat = {self.paths[name]: value for name, value in {**params, **batch_stats}.items()}
        return nnx.merge(self.graphdef, nnx.from_flat_state(flat))
