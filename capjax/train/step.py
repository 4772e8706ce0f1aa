"""One training step as a pure function: state, batch -> state, metrics."""

import jax
import jax.numpy as jnp
import optax

from capjax.models.functional import Functional, make_key, stats_of
from capjax.train.losses import cross_entropy, doubly_stochastic
from capjax.train.state import TrainState


def make_step(functional: Functional, optimizer, schedule, config, *, seed: int):
    """The step of a config's `train` section. Can be jitted; the same on one device and on many.

    Losses are sums divided by the whole batch's totals, so that `accumulate` micro-batches give the gradient of the one
    large batch exactly, padding and all.
    """
    accumulate, penalty, smoothing = config.accumulate, config.doubly_stochastic, config.label_smoothing

    def loss_fn(params, frozen, stats, batch, key, pieces, items):
        model = functional.bind({**frozen, **params}, stats)
        out = model(batch, train=True, key=key, return_attention=penalty > 0)
        # c captions of an item count as c rows.
        target, mask = (batch[name].reshape(-1, batch[name].shape[-1])[:, 1:] for name in ("target", "loss_mask"))
        weights = mask.astype(jnp.float32)
        smooth, nll = cross_entropy(out.logits, target, weights, label_smoothing=smoothing)
        loss = smooth / pieces
        if penalty:
            seen = jnp.repeat(out.mask, out.attention.shape[0] // out.mask.shape[0], axis=0)
            loss += penalty * doubly_stochastic(out.attention, weights, seen) / items
        return loss, (stats_of(model), nll / pieces)

    gradient = jax.value_and_grad(loss_fn, has_aux=True)

    def step(state: TrainState, batch) -> tuple[TrainState, dict]:
        key = jax.random.fold_in(make_key(seed), state.step)
        pieces = jnp.maximum(batch["loss_mask"][..., 1:].sum(), 1).astype(jnp.float32)
        items = batch["target"].size // batch["target"].shape[-1]
        if accumulate == 1:
            (loss, (stats, nll)), grads = gradient(state.params, state.frozen, state.stats, batch, key, pieces, items)
        else:
            # [b, ...] -> [micro, b / micro, ...]: each micro-batch takes its share from every device.
            micros = jax.tree.map(
                lambda x: x.reshape(x.shape[0] // accumulate, accumulate, *x.shape[1:]).swapaxes(0, 1), batch
            )

            def add(carry, micro):
                stats, grads, loss, nll = carry
                batch, key = micro
                (new_loss, (stats, new_nll)), new = gradient(
                    state.params, state.frozen, stats, batch, key, pieces, items
                )
                return (stats, jax.tree.map(jnp.add, grads, new), loss + new_loss, nll + new_nll), None

            zeros = jax.tree.map(jnp.zeros_like, state.params)
            start = (state.stats, zeros, jnp.float32(0), jnp.float32(0))
            (stats, grads, loss, nll), _ = jax.lax.scan(add, start, (micros, jax.random.split(key, accumulate)))
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = state.ema
        if config.ema:
            # Averages over few steps at first: the random start is forgotten.
            decay = jnp.minimum(config.ema, (1.0 + state.step) / (10.0 + state.step))
            ema = jax.tree.map(lambda average, new: average * decay + new * (1.0 - decay), ema, params)
        metrics = {
            "loss": loss,
            "nll": nll,
            "gradient_norm": optax.tree.norm(grads),
            "learning_rate": schedule(state.step),
        }
        state = state.replace(step=state.step + 1, params=params, stats=stats, opt_state=opt_state, ema=ema)
        return state, metrics

    return step
