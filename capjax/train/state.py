"""The training state: all arrays from which a run resumes exactly."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Int

from capjax.config import ConfigError
from capjax.models.build import frozen_patterns
from capjax.models.parameter_aliases import matches
from capjax.models.pure_model import Arrays, PureModel
from capjax.parallel.sharding_rules import ShardingRules
from capjax.train.optimizer import check_patterns


@struct.dataclass
class TrainState:
    """The training state.

    Attributes:
      step: number of steps done, int32.
      params: trainable parameters by name.
      frozen: the other parameters by name.
      batch_stats: running statistics of batch norm by name.
      opt_state: state of the optimizer.
      ema: exponential moving average of `params`, or empty.
    """

    step: Int[Array, ""]
    params: Arrays
    frozen: Arrays
    batch_stats: Arrays
    opt_state: optax.OptState
    ema: Arrays

    def for_eval(self) -> tuple[Arrays, Arrays]:
        """Returns (parameters, batch statistics) for evaluation: averaged parameters, if the run averages them."""
        return {**self.frozen, **(self.ema or self.params)}, self.batch_stats


def trainable_names(pure_model: PureModel, config) -> list[str]:
    """Returns the names of the trainable parameters.

    Raises:
      ConfigError: a pattern in `optimizer.freeze` matches no parameter, or no parameter is left to train.
    """
    check_patterns("optimizer.freeze", config.optimizer.freeze, list(pure_model.shapes))
    frozen = frozen_patterns(config)
    names = [name for name in pure_model.shapes if not matches(name, frozen)]
    if not names:
        raise ConfigError("optimizer.freeze and model.encoder.frozen leave no parameter to train")
    return names


def make_init(pure_model: PureModel, optimizer: optax.GradientTransformation, trainable: Sequence[str], *, ema: bool):
    """Returns a function (key, pretrained parameters, pretrained batch statistics) -> initial TrainState.

    Jit it with out_shardings, so that each array is created on the devices that hold it.
    """

    def init(key, loaded: Arrays, loaded_batch_stats: Arrays) -> TrainState:
        params, batch_stats = pure_model.init(key)
        params, batch_stats = {**params, **loaded}, {**batch_stats, **loaded_batch_stats}
        trained = {name: params[name] for name in trainable}
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=trained,
            frozen={name: value for name, value in params.items() if name not in trained},
            batch_stats=batch_stats,
            opt_state=optimizer.init(trained),
            ema=jax.tree.map(jnp.copy, trained) if ema else {},
        )

    return init


def state_shardings(abstract: TrainState, pure_model: PureModel, rules: ShardingRules) -> TrainState:
    """Returns the sharding of each array of the state."""
    params = rules.params(pure_model.shapes, pure_model.axes)
    return replace(
        cast(Any, abstract),  # whose fields are shardings in the result
        step=rules.replicated,
        params={name: params[name] for name in abstract.params},
        frozen={name: params[name] for name in abstract.frozen},
        batch_stats=dict.fromkeys(abstract.batch_stats, rules.replicated),
        opt_state=rules.like_params(abstract.opt_state, params, pure_model.shapes),
        ema={name: params[name] for name in abstract.ema},
    )
