"""Sampling with temperature, top-k and top-p. The same key gives the same samples."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from capjax.decode.search import Decoded, StepFn, likeliest, pick_search
from capjax.parallel import sharding_rules


def keep_top_k(log_probs: Float[Array, "*rows v"], k: int) -> Float[Array, "*rows v"]:
    """Sets all but the k likeliest tokens to -inf (Fan et al. 2018); tokens as likely as the k-th stay."""
    if not 0 < k < log_probs.shape[-1]:
        return log_probs
    border = sharding_rules.top_k(log_probs, k)[0][..., -1:]
    return jnp.where(log_probs < border, -jnp.inf, log_probs)


def keep_top_p(log_probs: Float[Array, "*rows v"], p: float) -> Float[Array, "*rows v"]:
    """Sets all but the nucleus to -inf: the likeliest tokens whose probabilities reach p (Holtzman et al. 2020)."""
    if p >= 1.0:
        return log_probs
    ranked = jnp.sort(log_probs, axis=-1, descending=True)
    probs = jax.nn.softmax(ranked, axis=-1)
    # A token is in the nucleus if the tokens before it have not reached p; the first always is.
    inside = jnp.cumsum(probs, axis=-1) - probs < p
    border = jnp.min(jnp.where(inside, ranked, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(log_probs < border, -jnp.inf, log_probs)


def sample(
    step_fn: StepFn, state, prefix: Int[Array, "b p"], key: jax.Array, *, samples: int,
    temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, **options,
) -> Decoded:  # fmt: skip
    """Draws hypotheses for each item, ordered by log-probability under the model.

    Args:
      step_fn: see capjax.decode.search.
      state: initial state of `step_fn`.
      prefix: tokens that every hypothesis starts with.
      key: a JAX PRNG key.
      samples: hypotheses per item.
      temperature: divides the log-probabilities; 0 is greedy search.
      top_k: sample from the k likeliest tokens; 0: from all.
      top_p: sample from the nucleus of this probability, after temperature and top-k.
      **options: as `beam_search`.
    """

    def pick(log_probs, count):
        if temperature == 0.0:
            return likeliest(log_probs, count)
        scaled = keep_top_p(keep_top_k(log_probs / temperature, top_k), top_p)
        return jax.random.categorical(jax.random.fold_in(key, count), scaled, axis=-1).astype(jnp.int32)

    return pick_search(step_fn, state, prefix, pick, rows=samples, **options)
