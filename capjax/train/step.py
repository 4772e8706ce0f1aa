"""One training step as a pure function: state, batch -> state, metrics."""

import jax
import jax.numpy as jnp
import optax

from capjax.models.pure_model import PureModel, batch_stats_of, make_key
from capjax.parallel.sharding_rules import ShardingRules
from capjax.train.losses import cross_entropy, doubly_stochastic, event_losses, frame_loss
from capjax.train.state import TrainState


def _totals(batch) -> dict:
    """What sums over a whole batch are divided by: `pieces` to predict, `rows` of targets, `items`, true `events`."""
    totals = {
        "pieces": jnp.maximum(batch["loss_mask"][..., 1:].sum(), 1).astype(jnp.float32),
        "rows": batch["target"].size // batch["target"].shape[-1],
        "items": batch["target"].shape[0],
    }
    if "event_mask" in batch:
        totals["events"] = jnp.maximum(batch["event_mask"].sum(), 1).astype(jnp.float32)
    return totals


def make_step(pure_model: PureModel, optimizer, schedule, config, rules: ShardingRules | None = None, *, seed: int):
    """The step of a config's `train` section. Can be jitted; the same on one device and on many.

    Losses are sums divided by the whole batch's totals, so that `accumulate` micro-batches, and the parts of a batch
    that lie on different slices, give the gradient of the one large batch exactly, padding and all.
    """
    # Batch statistics are those of a whole batch.
    replicas = 1 if rules is None or pure_model.batch_stat_shapes else rules.mesh.shape["replica"]
    accumulate, penalty, smoothing = (
        config.gradient_accumulation_steps,
        config.doubly_stochastic,
        config.label_smoothing,
    )

    def loss_fn(params, frozen, batch_stats, batch, key, totals):
        model = pure_model.bind({**frozen, **params}, batch_stats)
        out = model(batch, train=True, key=key, return_attention=penalty > 0)
        # c captions of an item count as c rows.
        target, mask = (batch[name].reshape(-1, batch[name].shape[-1])[:, 1:] for name in ("target", "loss_mask"))
        weights = mask.astype(jnp.float32)
        smooth, nll = cross_entropy(out.logits, target, weights, label_smoothing=smoothing)
        loss, told = smooth / totals["pieces"], {"nll": nll / totals["pieces"]}
        if penalty:
            seen = out.mask.reshape(-1, out.mask.shape[-1])
            attention = out.attention[-1].mean(1)
            seen = jnp.repeat(seen, attention.shape[0] // seen.shape[0], axis=0)
            # Of the last layer, averaged over heads.
            loss += penalty * doubly_stochastic(attention, weights, seen) / totals["rows"]
        if out.events is not None:
            sums = event_losses(out.events, out.matched, batch["event_times"], batch["event_mask"])
            for name, value in sums.items():
                told[f"event_{name}"] = value / totals["items" if name in ("count", "frames") else "events"]
                loss += config.events[name] * told[f"event_{name}"]
        elif out.frames is not None:
            told["event_frames"] = frame_loss(out.frames, batch["event_times"], batch["event_mask"]) / totals["items"]
            loss += config.events.frames * told["event_frames"]
        return loss, (batch_stats_of(model), told)

    gradient = jax.value_and_grad(loss_fn, has_aux=True)

    def whole(params, frozen, batch_stats, batch, key, totals):
        """What `gradient` gives, over all micro-batches."""
        if accumulate == 1:
            return gradient(params, frozen, batch_stats, batch, key, totals)
        # [b, ...] -> [micro, b / micro, ...]: each micro-batch takes its share from every device.
        micros = jax.tree.map(
            lambda x: x.reshape(x.shape[0] // accumulate, accumulate, *x.shape[1:]).swapaxes(0, 1), batch
        )

        def add(carry, micro):
            batch_stats, *sums = carry
            batch, key = micro
            (loss, (batch_stats, told)), grads = gradient(params, frozen, batch_stats, batch, key, totals)
            return (batch_stats, *jax.tree.map(jnp.add, sums, [grads, loss, told])), None

        shapes = jax.eval_shape(
            gradient, params, frozen, batch_stats, jax.tree.map(lambda x: x[0], micros), key, totals
        )
        (loss, (_, told)), grads = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        carry = (batch_stats, grads, loss, told)
        (batch_stats, grads, loss, told), _ = jax.lax.scan(add, carry, (micros, jax.random.split(key, accumulate)))
        return (loss, (batch_stats, told)), grads

    def over_slices(params, frozen, batch_stats, batch, key, totals):
        """What `whole` gives, each slice for its own rows. Slices meet once a step, when all is computed, and each chip
        of a slice exchanges its part: the network between slices is far slower than the links within one."""
        parts = jax.tree.map(lambda x: x.reshape(replicas, x.shape[0] // replicas, *x.shape[1:]), batch)
        keys = jax.random.split(key, replicas)
        mapped = jax.vmap(
            rules.without("replica").activate(whole),
            in_axes=(None, None, None, 0, 0, None), out_axes=((0, (None, 0)), 0), spmd_axis_name="replica",
        )  # fmt: skip
        (loss, (batch_stats, told)), grads = mapped(params, frozen, batch_stats, parts, keys, totals)
        loss, told = jax.tree.map(lambda x: x.sum(0), (loss, told))
        return (loss, (batch_stats, told)), {
            name: rules.sum_spread(grad, pure_model.axes.get(name, ())) for name, grad in grads.items()
        }

    def step(state: TrainState, batch) -> tuple[TrainState, dict]:
        key = jax.random.fold_in(make_key(seed), state.step)
        found = (whole if replicas == 1 else over_slices)(
            state.params, state.frozen, state.batch_stats, batch, key, _totals(batch)
        )
        (loss, (batch_stats, told)), grads = found
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = state.ema
        if config.ema:
            # Averages over few steps at first: the random start is forgotten.
            decay = jnp.minimum(config.ema, (1.0 + state.step) / (10.0 + state.step))
            ema = jax.tree.map(lambda average, new: average * decay + new * (1.0 - decay), ema, params)
        metrics = {
            "loss": loss,
            **told,
            "gradient_norm": optax.tree.norm(grads),
            "learning_rate": schedule(state.step),
        }
        state = state.replace(step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state, ema=ema)
        return state, metrics

    return step
