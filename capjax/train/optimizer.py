"""Optimizers and schedules, by config. Parameters are a flat dict by name, so patterns over names say what differs."""

from collections.abc import Iterable, Sequence

import jax
import optax

from capjax.config import ConfigError
from capjax.models.parameter_aliases import matches


def check_patterns(key: str, patterns: Iterable[str], names: Sequence[str]):
    """Raises ConfigError for a pattern that matches no parameter: it would silently do nothing."""
    for pattern in patterns:
        if not any(matches(name, [pattern]) for name in names):
            groups = sorted({"/".join(name.split("/")[:2]) for name in names})
            raise ConfigError(f"{key}: {pattern!r} matches no parameter; there are {', '.join(groups)}")


def make_schedule(config, steps: int) -> optax.Schedule:
    """Step -> learning rate: linear warm-up to the peak, then cosine, linear or rsqrt decay over `steps`.

    rsqrt: peak * sqrt(warmup / step) after the warm-up (Vaswani et al. 2017, with its own peak).
    """
    peak, warmup = config.learning_rate, config.warmup_steps
    rest = max(steps - warmup, 1)
    if config.schedule == "cosine":
        decay = optax.cosine_decay_schedule(peak, rest, alpha=config.end_factor)
    elif config.schedule == "linear":
        decay = optax.linear_schedule(peak, peak * config.end_factor, rest)
    elif config.schedule == "rsqrt":
        scale = max(warmup, 1)

        def decay(step):
            return peak * (scale / (step + scale)) ** 0.5
    else:
        decay = optax.constant_schedule(peak)
    if not warmup:
        return decay
    # The very first step already learns: a rate of 0 would waste it.
    return optax.join_schedules([optax.linear_schedule(peak / warmup, peak, warmup - 1), decay], [warmup - 1])


def _matrices(params) -> dict:
    """Which axes of each kernel are those of its matrix: of inputs, a convolution's window among them, and of outputs.
    None where Muon has none: embeddings, biases, scales."""

    def axes(name: str, value):
        if not name.endswith("kernel") or not hasattr(value, "shape"):  # Adam's, which optax masks
            return None
        shape = value.shape
        layers = len(shape) == 3  # of a stack, each a matrix of its own
        return optax.contrib.MuonDimensionNumbers(tuple(range(layers, len(shape) - 1)), len(shape) - 1)

    return {name: axes(name, value) for name, value in params.items()}


def _directions(config) -> list[optax.GradientTransformation]:
    """Gradients to update directions, before decay and learning rate."""
    if config.name == "adafactor":
        # Shazeer & Stern 2018: factored second moments, update clipping, steps relative to the parameter's scale.
        momentum = [optax.ema(config.b1, debias=False)] if config.b1 else []
        return [
            optax.scale_by_factored_rms(),
            optax.clip_by_block_rms(1.0),
            optax.scale_by_param_block_rms(),
            *momentum,
        ]
    if config.name == "muon":
        # A rate of -1 leaves directions; 0.2 makes them as large as Adam's, so that both take one rate.
        return [
            optax.contrib.muon(
                -1.0, adam_b1=config.b1, adam_b2=config.b2, consistent_rms=0.2,
                muon_weight_dimension_numbers=_matrices,
            )
        ]  # fmt: skip
    if config.name == "lion":
        return [optax.scale_by_lion(b1=config.b1, b2=config.b2)]
    return [optax.scale_by_adam(b1=config.b1, b2=config.b2)]


def make_optimizer(config, steps: int, names: Sequence[str]) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """(optimizer over a flat dict with these names, its schedule).

    Weight decay is decoupled (Loshchilov & Hutter 2019), except under plain `adam`, where it is the L2 term in the
    gradient.

    Raises:
      ConfigError: a pattern matches no name.
    """
    schedule = make_schedule(config, steps)
    check_patterns("optimizer.lr_multipliers", [pattern for pattern, _ in config.lr_multipliers], names)
    decayed = {name: not matches(name, config.no_decay) for name in names}
    decay = [optax.add_decayed_weights(config.weight_decay, decayed)] if config.weight_decay else []
    directions = _directions(config)
    chain = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    chain += [*decay, *directions] if config.name == "adam" else [*directions, *decay]
    if config.lr_multipliers:
        factors = {
            name: next((factor for pattern, factor in config.lr_multipliers if matches(name, [pattern])), 1.0)
            for name in names
        }
        chain.append(optax.stateless(lambda updates, _: jax.tree.map(lambda u, f: u * f, updates, factors)))
    return optax.chain(*chain, optax.scale_by_learning_rate(schedule)), schedule
