"""Optimizers and learning-rate schedules of a config. Patterns select parameters by name."""

from collections.abc import Iterable, Sequence

import jax
import optax

from capjax.config import ConfigError
from capjax.models.parameter_aliases import matches
from capjax.registry import Registry

# Optimizers by name, for `optimizer.name`: functions (`optimizer` section of the config) -> the transformations of
# gradients into update directions, before weight decay and learning rate.
OPTIMIZERS = Registry("optimizer")


def check_patterns(key: str, patterns: Iterable[str], names: Sequence[str]):
    """Raises ConfigError for a pattern that matches no parameter, which would otherwise have no effect."""
    for pattern in patterns:
        if not any(matches(name, [pattern]) for name in names):
            groups = sorted({"/".join(name.split("/")[:2]) for name in names})
            raise ConfigError(f"{key}: {pattern!r} matches no parameter; names start with {', '.join(groups)}")


def make_schedule(config, steps: int) -> optax.Schedule:
    """Returns the schedule step -> learning rate: linear warmup to the peak, then the decay over the rest of `steps`.

    Step 0 is the first. The peak is reached at the last step of the warmup, without a warmup at the first step, and the
    decay ends at the last step, `steps - 1`.

    rsqrt: peak * sqrt(warmup / step) after the warmup (Vaswani et al. 2017, with the config's peak).
    """
    peak, warmup = config.learning_rate, max(config.warmup_steps, 1)
    rest = max(steps - warmup, 1)
    if config.schedule == "cosine":
        decay = optax.cosine_decay_schedule(peak, rest, alpha=config.end_factor)
    elif config.schedule == "linear":
        decay = optax.linear_schedule(peak, peak * config.end_factor, rest)
    elif config.schedule == "rsqrt":

        def decay(step):
            return peak * (warmup / (step + warmup)) ** 0.5
    else:
        decay = optax.constant_schedule(peak)
    if warmup == 1:
        return decay
    # The warmup starts above 0: a first step with learning rate 0 would be wasted.
    return optax.join_schedules([optax.linear_schedule(peak / warmup, peak, warmup - 1), decay], [warmup - 1])


def _matrices(params) -> dict:
    """Returns the input axes (with the window of a convolution) and the output axis of each kernel for Muon; None for
    parameters that Adam updates: embeddings, biases, scales."""

    def axes(name: str, value):
        if not name.endswith("kernel") or not hasattr(value, "shape"):  # optax masks the parameters of Adam
            return None
        shape = value.shape
        layers = len(shape) == 3  # a stack of layers, each with a matrix of its own
        return optax.contrib.MuonDimensionNumbers(tuple(range(layers, len(shape) - 1)), len(shape) - 1)

    return {name: axes(name, value) for name, value in params.items()}


@OPTIMIZERS.register("adam")
@OPTIMIZERS.register("adamw")
def adam(config) -> list[optax.GradientTransformation]:
    """Adam (Kingma & Ba 2015)."""
    return [optax.scale_by_adam(b1=config.b1, b2=config.b2)]


@OPTIMIZERS.register("lion")
def lion(config) -> list[optax.GradientTransformation]:
    """Lion (Chen et al. 2023)."""
    return [optax.scale_by_lion(b1=config.b1, b2=config.b2)]


@OPTIMIZERS.register("adafactor")
def adafactor(config) -> list[optax.GradientTransformation]:
    """Adafactor (Shazeer & Stern 2018): factored second moments, update clipping, steps relative to the parameters."""
    momentum = [optax.ema(config.b1, debias=False)] if config.b1 else []
    return [optax.scale_by_factored_rms(), optax.clip_by_block_rms(1.0), optax.scale_by_param_block_rms(), *momentum]


@OPTIMIZERS.register("muon")
def muon(config) -> list[optax.GradientTransformation]:
    """Muon (Jordan et al. 2024) for matrices, Adam for the other parameters."""
    # A learning rate of -1 gives directions; 0.2 makes them as large as Adam's, so that both have one learning rate.
    return [
        optax.contrib.muon(
            -1.0, adam_b1=config.b1, adam_b2=config.b2, consistent_rms=0.2, muon_weight_dimension_numbers=_matrices
        )
    ]


def make_optimizer(config, steps: int, names: Sequence[str]) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Returns (optimizer, learning-rate schedule) for a flat dict of parameters with these names.

    Weight decay is decoupled (Loshchilov & Hutter 2019), except with `adam`, where it is an L2 term in the gradient.

    Raises:
      ConfigError: a pattern matches no name.
    """
    schedule = make_schedule(config, steps)
    check_patterns("optimizer.lr_multipliers", [pattern for pattern, _ in config.lr_multipliers], names)
    decayed = {name: not matches(name, config.no_decay) for name in names}
    decay = [optax.add_decayed_weights(config.weight_decay, decayed)] if config.weight_decay else []
    directions = OPTIMIZERS.make(config.name, config)
    chain = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    chain += [*decay, *directions] if config.name == "adam" else [*directions, *decay]
    if config.lr_multipliers:
        factors = {
            name: next((factor for pattern, factor in config.lr_multipliers if matches(name, [pattern])), 1.0)
            for name in names
        }
        chain.append(optax.stateless(lambda updates, _: jax.tree.map(lambda u, f: u * f, updates, factors)))
    return optax.chain(*chain, optax.scale_by_learning_rate(schedule)), schedule
