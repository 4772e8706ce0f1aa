"""The training state: everything that a run must keep to go on exactly."""

import jax
import jax.numpy as jnp
import optax
from flax import struct

from capjax.models.build import frozen_patterns
from capjax.models.parameter_aliases import matches
from capjax.models.pure_model import Arrays, PureModel
from capjax.parallel.sharding_rules import ShardingRules
from capjax.train.optimizer import check_patterns


@struct.dataclass
class TrainState:
    """Attributes:
    step: int32, steps done.
    params: parameters that learn, by name; frozen: those that do not.
    batch_stats: running statistics; opt_state: the optimizer's.
    ema: averaged params, or empty.
    """

    step: jax.Array
    params: Arrays
    frozen: Arrays
    batch_stats: Arrays
    opt_state: optax.OptState
    ema: Arrays

    def for_eval(self) -> tuple[Arrays, Arrays]:
        """(parameters, running statistics) to decode with: the averaged ones where there are any."""
        return {**self.frozen, **(self.ema or self.params)}, self.batch_stats


def trainable_names(pure_model: PureModel, config) -> list[str]:
    """The parameters that learn.

    Raises:
      ConfigError: a `freeze` pattern matches no parameter, or nothing is left.
    """
    check_patterns("optimizer.freeze", config.optimizer.freeze, list(pure_model.shapes))
    frozen = frozen_patterns(config)
    names = [name for name in pure_model.shapes if not matches(name, frozen)]
    if not names:
        raise ValueError("optimizer.freeze leaves no parameter to learn")
    return names


def make_init(pure_model: PureModel, optimizer, learns, *, ema: bool):
    """key, pretrained parameters, pretrained statistics -> TrainState.

    Can be jitted with out_shardings, so that state is born where it belongs.
    """

    def init(key, loaded: Arrays, loaded_batch_stats: Arrays) -> TrainState:
        params, batch_stats = pure_model.init(key)
        params, batch_stats = {**params, **loaded}, {**batch_stats, **loaded_batch_stats}
        learned = {name: params[name] for name in learns}
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=learned,
            frozen={name: value for name, value in params.items() if name not in learned},
            batch_stats=batch_stats,
            opt_state=optimizer.init(learned),
            ema=jax.tree.map(jnp.copy, learned) if ema else {},
        )

    return init


def state_shardings(abstract: TrainState, pure_model: PureModel, rules: ShardingRules) -> TrainState:
    """Where each array of the state lies."""
    params = rules.params(pure_model.shapes, pure_model.axes)
    return abstract.replace(
        step=rules.replicated,
        params={name: params[name] for name in abstract.params},
        frozen={name: params[name] for name in abstract.frozen},
        batch_stats=dict.fromkeys(abstract.batch_stats, rules.replicated),
        opt_state=rules.like_params(abstract.opt_state, params, pure_model.shapes),
        ema={name: params[name] for name in abstract.ema},
    )
