"""Sampling with temperature, top-k and top-p. Same key, same samples."""

import jax
import jax.numpy as jnp

from capjax.decode.search import Decoded, StepFn, pick_loop
from capjax.parallel import sharding_rules


def keep_top_k(log_probs, k: int) -> jax.Array:
    """-inf for all but the k likeliest (Fan et al. 2018); of equals at the border, all stay."""
    if not 0 < k < log_probs.shape[-1]:
        return log_probs
    border = sharding_rules.top_k(log_probs, k)[0][..., -1:]
    return jnp.where(log_probs < border, -jnp.inf, log_probs)


def keep_top_p(log_probs, p: float) -> jax.Array:
    """-inf for all but the nucleus, the likeliest tokens whose probabilities reach p (Holtzman et al. 2020)."""
    if p >= 1.0:
        return log_probs
    ranked = jnp.sort(log_probs, axis=-1, descending=True)
    probs = jax.nn.softmax(ranked, axis=-1)
    # A token is in if those before it have not reached p; the first always is.
    inside = jnp.cumsum(probs, axis=-1) - probs < p
    border = jnp.min(jnp.where(inside, ranked, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(log_probs < border, -jnp.inf, log_probs)


def sample(
    step_fn: StepFn, state, prefix, key: jax.Array, *, samples: int, temperature: float = 1.0, top_k: int = 0,
    top_p: float = 1.0, **options,
) -> Decoded:  # fmt: skip
    """`samples` hypotheses an item, best first by the model's own log-probability; options as `beam_search`.

    Args:
      key: a jax PRNG key.
      temperature: divides the log-probabilities; towards 0 it is greedy search, at 0 exactly so.
      top_k: only the k likeliest tokens; 0: all.
      top_p: only the nucleus of this mass, taken after temperature and top-k.
    """

    def pick(log_probs, count):
        if temperature == 0.0:
            return jnp.argmax(log_probs, axis=-1).astype(jnp.int32)
        scaled = keep_top_p(keep_top_k(log_probs / temperature, top_k), top_p)
        return jax.random.categorical(jax.random.fold_in(key, count), scaled, axis=-1).astype(jnp.int32)

    return pick_loop(step_fn, state, prefix, pick, rows=samples, **options)
