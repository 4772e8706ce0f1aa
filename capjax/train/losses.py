"""The terms of the training loss.

b: batch, c: captions of an item, l: predicted positions, v: vocabulary, n: memory positions, e: events, q: event
queries, t: frames.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from capjax.models.events import EventSet, FrameSet, match, overlap
from capjax.registry import Registry

# Terms by name, for `train.loss_terms`: functions (model output, batch, `train` section of the config) -> LossTerm. A
# term that reads the attention of the decoder sets the attribute `needs_attention` of its function.
LOSS_TERMS = Registry("loss term")


class LossTerm(NamedTuple):
    """A term of the loss, summed over a batch.

    The sum is divided by a count of the whole batch (see `batch_counts`), so that micro-batches, and parts of a batch
    on different slices, add up to the loss of the whole batch.

    Attributes:
      sum: what is minimized, a scalar.
      per: the count to divide by: `tokens`, `rows`, `items` or `events`.
      weight: factor of the term in the loss.
      metric: the scalar that is reported under the term's name, divided in the same way; None: no metric.
    """

    sum: Float[Array, ""]
    per: str
    weight: float
    metric: Float[Array, ""] | None


def batch_counts(batch: Mapping[str, Array]) -> dict[str, Any]:
    """Returns the counts that loss terms are divided by: `tokens` to predict, `rows` of targets, `items`, and true
    `events`."""
    counts = {
        "tokens": jnp.maximum(batch["loss_mask"][..., 1:].sum(), 1).astype(jnp.float32),
        "rows": batch["target"].size // batch["target"].shape[-1],
        "items": batch["target"].shape[0],
    }
    if "event_mask" in batch:
        counts["events"] = jnp.maximum(batch["event_mask"].sum(), 1).astype(jnp.float32)
    return counts


def needs_attention(config) -> bool:
    """Whether a term of a config's `train` section reads the attention of the decoder."""
    terms = map(LOSS_TERMS.get, config.loss_terms)
    return config.doubly_stochastic > 0 or any(getattr(term, "needs_attention", False) for term in terms)


def loss_terms(output, batch: Mapping[str, Array], config) -> dict[str, LossTerm]:
    """Returns the terms of the loss by name.

    Args:
      output: what the captioner returns in training.
      config: the `train` section of a config.
    """
    # The c captions of an item count as c rows.
    target, mask = (batch[name].reshape(-1, batch[name].shape[-1])[:, 1:] for name in ("target", "loss_mask"))
    weights = mask.astype(jnp.float32)
    token_weights = weights
    if "loss_weight" in batch:
        token_weights = weights * jnp.repeat(batch["loss_weight"], len(weights) // len(batch["loss_weight"]))[:, None]
    smoothed, nll = cross_entropy(output.logits, target, token_weights, label_smoothing=config.label_smoothing)
    terms = {"nll": LossTerm(smoothed, "tokens", 1.0, nll)}
    if config.doubly_stochastic:
        attention = output.attention[-1].mean(1)  # of the last layer, averaged over the heads
        memory_mask = output.mask.reshape(-1, output.mask.shape[-1])
        memory_mask = jnp.repeat(memory_mask, attention.shape[0] // memory_mask.shape[0], axis=0)
        penalty = doubly_stochastic(attention, weights, memory_mask)
        terms["doubly_stochastic"] = LossTerm(config.doubly_stochastic * penalty, "rows", 1.0, None)
    if output.events is not None:
        sums = event_losses(output.events, output.matched, batch["event_times"], batch["event_mask"])
    elif output.frames is not None:
        sums = {"frames": frame_loss(output.frames, batch["event_times"], batch["event_mask"])}
    else:
        sums = {}
    for name, value in sums.items():
        per = "items" if name in ("count", "frames") else "events"
        terms[f"event_{name}"] = LossTerm(value, per, config.events[name], value)
    for name, weight in config.loss_terms.items():
        term: Callable = LOSS_TERMS.get(name)
        value, per = term(output, batch, config)
        terms[name] = LossTerm(value, per, weight, value)
    return terms


def total_loss(
    terms: Mapping[str, LossTerm], counts: Mapping[str, Any]
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Returns (loss, metrics by name) of a batch, or the share of a part of it.

    Args:
      counts: `batch_counts` of the whole batch.
    """
    loss: Float[Array, ""] | None = None
    metrics: dict[str, Float[Array, ""]] = {}
    for name, term in terms.items():
        value = term.sum / counts[term.per]
        weighted = value if term.weight == 1.0 else term.weight * value
        loss = weighted if loss is None else loss + weighted
        if term.metric is not None:
            metrics[name] = value if term.metric is term.sum else term.metric / counts[term.per]
    assert loss is not None  # `nll` is always a term
    return loss, metrics


def cross_entropy(
    logits: Float[Array, "b l v"], labels: Int[Array, "b l"], weights: Float[Array, "b l"], *,
    label_smoothing: float = 0.0,
) -> tuple[Float[Array, ""], Float[Array, ""]]:  # fmt: skip
    """Returns the weighted sums over positions of (the label-smoothed loss, the negative log-likelihood), in nats.

    Label smoothing as in Szegedy et al. 2016: the target is (1 - epsilon) one-hot + epsilon uniform over the v tokens.

    Args:
      weights: 0 where nothing is to be predicted.
    """
    log_z = jax.nn.logsumexp(logits, axis=-1)
    label_logit = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    nll = ((log_z - label_logit) * weights).sum()
    if not label_smoothing:
        return nll, nll
    uniform = ((log_z - logits.mean(-1)) * weights).sum()
    return (1.0 - label_smoothing) * nll + label_smoothing * uniform, nll


def doubly_stochastic(
    attention: Float[Array, "b l n"], weights: Float[Array, "b l"], memory_mask: Bool[Array, "b n"]
) -> Float[Array, ""]:
    """Returns the sum over b of mean over n of (1 - sum over l of attention)^2 (Xu et al. 2015, equation 14).

    It is least where each memory position receives a total attention of 1 over the caption. Xu et al. sum over their
    196 positions; the mean gives the weight the same meaning for every grid.
    """
    total = jnp.einsum("bln,bl->bn", attention, weights.astype(attention.dtype))
    penalty = jnp.where(memory_mask, jnp.square(1.0 - total), 0.0)
    return (penalty.sum(-1) / jnp.maximum(memory_mask.sum(-1), 1)).sum()


def event_losses(
    predicted: EventSet, matched: Int[Array, "b e"], true_times: Float[Array, "b e 2"], mask: Bool[Array, "b e"]
) -> dict[str, Float[Array, ""]]:
    """Returns the losses of event queries as sums, means over the layers.

    Over the true events: `distance` (L1, of start and end), `overlap` (1 - generalized temporal IoU) and `pointer`
    (cross-entropy against the frames next to start and end). Over all queries: `confidence` (binary cross-entropy).
    Over the items: `count` (cross-entropy) and `frames` (`frame_loss`, without which queries learn slowly). Each layer
    has a matching of its own (Carion et al. 2020, section 3.2).

    Args:
      matched: the query of the last layer for each event.
      true_times: start and end as fractions of the duration.
      mask: True for real events.
    """
    layers, events = predicted.times.shape[0], mask.shape[1]
    frame_weights = frame_mixture(predicted.frames.times, predicted.frames.mask, true_times)

    def layer_losses(
        times: Float[Array, "b q 2"], pointers: Float[Array, "b q 2 t"], confidence: Float[Array, "b q"],
        count: Float[Array, "b counts"], matched: Int[Array, "b e"],
    ) -> dict[str, Float[Array, ""]]:  # fmt: skip
        rows = jnp.arange(mask.shape[0])[:, None]
        matched_times = times[rows, matched]
        _, giou = overlap(matched_times, true_times)
        pointer_log_probs = jax.nn.log_softmax(pointers[rows, matched], axis=-1)
        is_event = jnp.zeros(confidence.shape).at[rows, matched].max(mask.astype(jnp.float32))
        return {
            "distance": (jnp.abs(matched_times - true_times).sum(-1) * mask).sum(),
            "overlap": ((1.0 - giou) * mask).sum(),
            "pointer": (-(frame_weights * pointer_log_probs).sum((-2, -1)) * mask).sum(),
            "confidence": optax.sigmoid_binary_cross_entropy(confidence, is_event).sum(),
            "count": optax.softmax_cross_entropy_with_integer_labels(count, mask.sum(1).clip(max=events)).sum(),
        }

    losses = []
    for layer in range(layers):
        times, confidence = predicted.times[layer], predicted.confidence[layer]
        of_layer = matched if layer == layers - 1 else match(times, confidence, true_times, mask)
        losses.append(layer_losses(times, predicted.pointers[layer], confidence, predicted.count[layer], of_layer))
    return jax.tree.map(lambda *values: sum(values) / layers, *losses) | {
        "frames": frame_loss(predicted.frames, true_times, mask)
    }


def frame_loss(frames: FrameSet, true_times: Float[Array, "b e 2"], mask: Bool[Array, "b e"]) -> Float[Array, ""]:
    """Returns the sum over items of the binary cross-entropy of each frame's labels, a mean over the frames: whether
    the frame lies in an event, how near it is to a start, and to an end. Arguments as in `event_losses`."""
    weights = frame_mixture(frames.times, frames.mask, true_times)
    frame_times = frames.times[:, None]
    is_inside = (frame_times >= true_times[..., :1]) & (frame_times <= true_times[..., 1:]) & mask[..., None]
    boundaries = jnp.where(mask[..., None, None], weights, 0.0).max(1)  # [b, 2, t]
    labels = jnp.stack([is_inside.any(1).astype(jnp.float32), boundaries[:, 0], boundaries[:, 1]], axis=-1)
    loss = optax.sigmoid_binary_cross_entropy(frames.inside, labels).sum(-1)
    return ((loss * frames.mask).sum(-1) / frames.mask.sum(-1)).sum()


def frame_mixture(
    frame_times: Float[Array, "b t"], frame_mask: Bool[Array, "b t"], times: Float[Array, "b e 2"]
) -> Float[Array, "b e 2 t"]:
    """Returns each time as linear weights of the frame before and the frame after it.

    Args:
      frame_times: increasing where `frame_mask` is True.
    """
    before_or_at = (frame_times[:, None, None] <= times[..., None]) & frame_mask[:, None, None]
    before = (before_or_at.sum(-1) - 1).clip(min=0)
    after = jnp.minimum(before + 1, frame_mask.sum(-1)[:, None, None] - 1).clip(min=0)
    b = jnp.arange(frame_times.shape[0])[:, None, None]
    start, end = frame_times[b, before], frame_times[b, after]
    fraction = jnp.clip((times - start) / jnp.maximum(end - start, 1e-6), 0.0, 1.0)
    one_hot = jax.nn.one_hot(jnp.stack([before, after], -1), frame_times.shape[1])
    return (one_hot * jnp.stack([1.0 - fraction, fraction], -1)[..., None]).sum(-2)
