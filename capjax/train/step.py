"""One training step as a pure function: state, batch -> state, metrics."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import optax

from capjax.models.pure_model import PureModel, batch_stats_of, make_key
from capjax.parallel.sharding_rules import ShardingRules
from capjax.train.losses import batch_counts, loss_terms, needs_attention, total_loss
from capjax.train.state import TrainState


def make_step(pure_model: PureModel, optimizer, schedule, config, rules: ShardingRules | None = None, *, seed: int):
    """Returns the training step of a config's `train` section; the same on one device and on many. It can be jitted.

    Loss terms are sums divided by counts of the whole batch. So micro-batches, and the parts of a batch on different
    slices, add up to the gradient of the whole batch exactly, with padding and all.

    Raises:
      ValueError: `train.loss_terms` names an unknown term.
    """
    # Batch statistics are those of a whole batch: it cannot be split over slices.
    replicas = 1 if rules is None or pure_model.batch_stat_shapes else rules.mesh.shape["replica"]
    micro_batches, return_attention = config.gradient_accumulation_steps, needs_attention(config)

    def loss_fn(params, frozen, batch_stats, batch, key, counts):
        model = pure_model.bind({**frozen, **params}, batch_stats)
        output = model(batch, train=True, key=key, return_attention=return_attention)
        loss, metrics = total_loss(loss_terms(output, batch, config), counts)
        return loss, (batch_stats_of(model), metrics)

    gradient = jax.value_and_grad(loss_fn, has_aux=True)

    def accumulated(params, frozen, batch_stats, batch, key, counts):
        """The result of `gradient`, summed over the micro-batches."""
        if micro_batches == 1:
            return gradient(params, frozen, batch_stats, batch, key, counts)
        # [b, ...] -> [micro, b / micro, ...]: each micro-batch takes its share from every device.
        split = jax.tree.map(
            lambda x: x.reshape(x.shape[0] // micro_batches, micro_batches, *x.shape[1:]).swapaxes(0, 1), batch
        )

        def add(carry, inputs):
            batch_stats, *sums = carry
            micro_batch, key = inputs
            (loss, (batch_stats, metrics)), grads = gradient(params, frozen, batch_stats, micro_batch, key, counts)
            return (batch_stats, *jax.tree.map(jnp.add, sums, [grads, loss, metrics])), None

        shapes = jax.eval_shape(gradient, params, frozen, batch_stats, jax.tree.map(lambda x: x[0], split), key, counts)
        (loss, (_, metrics)), grads = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        carry = (batch_stats, grads, loss, metrics)
        (batch_stats, grads, loss, metrics), _ = jax.lax.scan(add, carry, (split, jax.random.split(key, micro_batches)))
        return (loss, (batch_stats, metrics)), grads

    def over_slices(params, frozen, batch_stats, batch, key, counts):
        """The result of `accumulated`, each slice on rows of its own.

        Slices exchange gradients once per step, when all are computed, and each chip of a slice exchanges its part: the
        network between slices is far slower than the links within one.
        """
        parts = jax.tree.map(lambda x: x.reshape(replicas, x.shape[0] // replicas, *x.shape[1:]), batch)
        keys = jax.random.split(key, replicas)
        mapped = jax.vmap(
            rules.without("replica").activate(accumulated),
            in_axes=(None, None, None, 0, 0, None), out_axes=((0, (None, 0)), 0), spmd_axis_name="replica",
        )  # fmt: skip
        (loss, (batch_stats, metrics)), grads = mapped(params, frozen, batch_stats, parts, keys, counts)
        loss, metrics = jax.tree.map(lambda x: x.sum(0), (loss, metrics))
        return (loss, (batch_stats, metrics)), {
            name: rules.sum_spread(grad, pure_model.axes.get(name, ())) for name, grad in grads.items()
        }

    def step(state: TrainState, batch) -> tuple[TrainState, dict]:
        key = jax.random.fold_in(make_key(seed), state.step)
        (loss, (batch_stats, metrics)), grads = (accumulated if replicas == 1 else over_slices)(
            state.params, state.frozen, state.batch_stats, batch, key, batch_counts(batch)
        )
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = state.ema
        if config.ema:
            # Averages over few steps at first, so that the random start is forgotten.
            decay = jnp.minimum(config.ema, (1.0 + state.step) / (10.0 + state.step))
            ema = jax.tree.map(lambda average, new: average * decay + new * (1.0 - decay), ema, params)
        metrics = {
            "loss": loss,
            **metrics,
            "gradient_norm": optax.tree.norm(grads),
            "learning_rate": schedule(state.step),
        }
        state = replace(
            state, step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state, ema=ema
        )
        return state, metrics

    return step
