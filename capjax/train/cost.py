"""An estimate of what training on the CPU takes, before a compilation of minutes."""

import time

import jax
import jax.numpy as jnp

from capjax.models.encoders.parts import depthwise
from capjax.models.flops import count_flops
from capjax.parallel import hosts
from capjax.train.hooks import Hook
from capjax.train.train_run import TrainRun

# Training time below which nothing is said, in seconds.
_WORTH_SAYING = 3600.0
# No CPU core computes a training step at more FLOP/s: short jobs skip the measurement.
_FASTEST = 2e11


class EstimateCost(Hook):
    """On a CPU, says how long training an encoder on pixels would take, and names the faster way."""

    def before_compile(self, run: TrainRun, inputs: dict[str, jax.Array]):
        config = run.config
        if run.step > run.start or jax.default_backend() != "cpu" or "frames" not in inputs or not hosts.is_first():
            return
        steps = config.train.steps - run.step
        flops = count_flops(run.programs.step_fn.trace(run.state, inputs).jaxpr) / jax.process_count()
        if steps * flops < _WORTH_SAYING * _FASTEST / 10:
            return
        seconds = flops / measure_flop_rate()
        if steps * seconds > _WORTH_SAYING:
            run.reporter.say(
                f"about {seconds:.2g} s a step on this CPU, {duration(steps * seconds)} for {steps:,} steps. On an "
                "accelerator this takes minutes to hours. Without one, extract the features of a pretrained encoder "
                "once, with `capjax prepare features`, and train on them, as configs/flickr8k.py does"
            )


def measure_flop_rate() -> float:
    """Returns the FLOP/s at which this machine computes gradients of a depthwise and a pointwise convolution, the
    building block of efficient image encoders. Dense layers are up to several times faster."""
    x = jnp.ones((8, 56, 56, 96))
    spatial, pointwise = jnp.ones((3, 3, 1, 96)), jnp.ones((96, 96))

    def loss(x, spatial, pointwise):
        return jnp.square(depthwise(x, spatial, 1) @ pointwise).sum()

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    flops = count_flops(gradient.trace(x, spatial, pointwise).jaxpr)
    jax.block_until_ready(gradient(x, spatial, pointwise))  # compiles
    start = time.perf_counter()
    jax.block_until_ready(gradient(x, spatial, pointwise))
    return flops / (time.perf_counter() - start)


def duration(seconds: float) -> str:
    """Returns a duration in words, in its largest unit: `9 days`, `3 hours`, `40 minutes`."""
    units = (("days", 86400), ("hours", 3600), ("minutes", 60))
    unit, length = next(((unit, length) for unit, length in units if seconds >= 2 * length), units[-1])
    return f"{seconds / length:.0f} {unit}"
