"""The programs that train the model of a config, for this machine or to be compiled for another one."""

from collections.abc import Callable
from dataclasses import dataclass

import jax

from capjax.models.build import make_pure_model
from capjax.models.pure_model import PureModel, make_key
from capjax.parallel.sharding_rules import ShardingRules
from capjax.text.time_tokens import TimeTokens
from capjax.text.vocabulary import Vocabulary
from capjax.train.optimizer import make_optimizer
from capjax.train.state import TrainState, make_init, state_shardings, trainable_names
from capjax.train.step import make_step


@dataclass(frozen=True)
class Programs:
    """The model and the jitted functions of training.

    Attributes:
      pure_model: the model.
      state: the training state as ShapeDtypeStructs with shardings.
      init_fn: (key, pretrained parameters, pretrained batch statistics) -> state, created on its devices.
      step_fn: (state, batch) -> (state, metrics). The argument state is donated.
    """

    pure_model: PureModel
    state: TrainState
    init_fn: Callable
    step_fn: jax.stages.Wrapped


def make_programs(config, rules: ShardingRules, vocabulary: Vocabulary, *, feature_shape=None) -> Programs:
    """Returns the programs of a config.

    Args:
      feature_shape: (rows, columns, channels), for a model that takes features.

    Raises:
      ConfigError: the settings of the model or the optimizer are impossible.
    """
    writes_times = config.data.task == "dense" and config.data.time_bins
    times = TimeTokens(vocabulary, config.data.time_bins).ids if writes_times else ()
    pure_model = make_pure_model(config, vocab=vocabulary.size, feature_shape=feature_shape, time_ids=times)
    trainable = trainable_names(pure_model, config)
    optimizer, schedule = make_optimizer(config.optimizer, config.train.steps, trainable)
    init = make_init(pure_model, optimizer, trainable, ema=config.train.ema > 0)
    # Pretrained arrays have the shapes of those they replace.
    abstract = jax.eval_shape(init, make_key(config.seed), {}, {})
    shardings = state_shardings(abstract, pure_model, rules)
    step = make_step(pure_model, optimizer, schedule, config.train, rules, seed=config.seed)
    return Programs(
        pure_model,
        jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), abstract, shardings),
        jax.jit(init, out_shardings=shardings),
        jax.jit(
            rules.activate(step),
            donate_argnums=0,
            out_shardings=(shardings, rules.replicated),
            compiler_options=rules.compiler_options(config.train.xla_options),
        ),  # fmt: skip
    )
