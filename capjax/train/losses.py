"""What training minimises. b: batch, l: predicted positions, v: vocabulary, n: memory positions."""

import jax
import jax.numpy as jnp


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
