"""What training minimises. b: batch, l: predicted positions, v: vocabulary, n: memory positions."""

import jax
import jax.numpy as jnp
import optax

from capjax.models.events import EventSet, FrameSet, match, overlap


def cross_entropy(logits, labels, weights, *, label_smoothing: float = 0.0) -> tuple[jax.Array, jax.Array]:
    """Sums over the positions with weight: (label-smoothed loss, plain negative log-likelihood), in nats.

    Smoothed as in Szegedy et al. 2016: the target is (1 - epsilon) one-hot + epsilon uniform over the v pieces.

    Args:
      logits: float32 [b, l, v]; labels: int [b, l]; weights: [b, l], 0 where nothing is to be predicted.
    """
    log_z = jax.nn.logsumexp(logits, axis=-1)
    label_logit = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    nll = ((log_z - label_logit) * weights).sum()
    if not label_smoothing:
        return nll, nll
    uniform = ((log_z - logits.mean(-1)) * weights).sum()
    return (1.0 - label_smoothing) * nll + label_smoothing * uniform, nll


def doubly_stochastic(attention, weights, memory_mask) -> jax.Array:
    """sum over b of mean over n of (1 - sum over l of alpha)^2 (Xu et al. 2015, equation 14).

    It asks that over a whole caption every place is looked at about once. Xu et al. sum over their fixed 196 places;
    the mean keeps the weight's meaning the same for other grids.

    Args:
      attention: [b, l, n]; weights: [b, l]; memory_mask: bool [b, n].
    """
    looked = jnp.einsum("bln,bl->bn", attention, weights.astype(attention.dtype))
    penalty = jnp.where(memory_mask, jnp.square(1.0 - looked), 0.0)
    return (penalty.sum(-1) / jnp.maximum(memory_mask.sum(-1), 1)).sum()


def event_losses(found: EventSet, matched, true_times, mask) -> dict[str, jax.Array]:
    """What event queries are to learn, as sums: over the true events `distance` (absolute, of start and end),
    `overlap` (1 - generalized tIoU), `pointer` (cross-entropy against the frames next to start and end) and
    `confidence` (binary cross-entropy of all queries); over the items `count` (cross-entropy) and `frames`
    (`frame_loss`: queries learn slowly from frames that have learned nothing). Means over layers; each layer has its
    own matching (Carion et al. 2020, section 3.2).

    Args:
      matched: int32 [b, e], the last layer's query of each event; true_times: float32 [b, e, 2], shares of the
        duration; mask: bool [b, e], True = real.
    """
    layers, events = found.times.shape[0], mask.shape[1]
    wanted = _two_frames(found.frames.times, found.frames.mask, true_times)

    def one(times, pointers, confidence, count, matched) -> dict[str, jax.Array]:
        rows = jnp.arange(mask.shape[0])[:, None]
        picked = times[rows, matched]
        _, giou = overlap(picked, true_times)
        pointing = jax.nn.log_softmax(pointers[rows, matched], axis=-1)
        is_event = jnp.zeros(confidence.shape).at[rows, matched].max(mask.astype(jnp.float32))
        return {
            "distance": (jnp.abs(picked - true_times).sum(-1) * mask).sum(),
            "overlap": ((1.0 - giou) * mask).sum(),
            "pointer": (-(wanted * pointing).sum((-2, -1)) * mask).sum(),
            "confidence": optax.sigmoid_binary_cross_entropy(confidence, is_event).sum(),
            "count": optax.softmax_cross_entropy_with_integer_labels(count, mask.sum(1).clip(max=events)).sum(),
        }

    sums = []
    for layer in range(layers):
        times, confidence = found.times[layer], found.confidence[layer]
        of_layer = matched if layer == layers - 1 else match(times, confidence, true_times, mask)
        sums.append(one(times, found.pointers[layer], confidence, found.count[layer], of_layer))
    return jax.tree.map(lambda *parts: sum(parts) / layers, *sums) | {
        "frames": frame_loss(found.frames, true_times, mask)
    }


def frame_loss(frames: FrameSet, true_times, mask) -> jax.Array:
    """The sum over items of the binary cross-entropy of what each frame knows by itself, a mean over the frames:
    whether it lies in an event, how near it is to a start and to an end.

    Args:
      true_times, mask: as in `event_losses`.
    """
    wanted = _two_frames(frames.times, frames.mask, true_times)
    at = frames.times[:, None]
    inside = (at >= true_times[..., :1]) & (at <= true_times[..., 1:]) & mask[..., None]
    moments = jnp.where(mask[..., None, None], wanted, 0.0).max(1)  # [b, 2, t]
    labels = jnp.stack([inside.any(1).astype(jnp.float32), moments[:, 0], moments[:, 1]], axis=-1)
    loss = optax.sigmoid_binary_cross_entropy(frames.inside, labels).sum(-1)
    return ((loss * frames.mask).sum(-1) / frames.mask.sum(-1)).sum()


def _two_frames(frames, frame_mask, times) -> jax.Array:
    """float32 [b, e, 2, t]: each moment as a mixture of the frame before and the frame after it.

    Args:
      frames: [b, t], rising where `frame_mask`; times: [b, e, 2].
    """
    at, count = frames[:, None, None], frame_mask.sum(-1)[:, None, None]
    before = (((at <= times[..., None]) & frame_mask[:, None, None]).sum(-1) - 1).clip(min=0)
    after = jnp.minimum(before + 1, count - 1).clip(min=0)
    b = jnp.arange(frames.shape[0])[:, None, None]
    first, second = frames[b, before], frames[b, after]
    share = jnp.clip((times - first) / jnp.maximum(second - first, 1e-6), 0.0, 1.0)
    one_hot = jax.nn.one_hot(jnp.stack([before, after], -1), frames.shape[1])
    return (one_hot * jnp.stack([1.0 - share, share], -1)[..., None]).sum(-2)
