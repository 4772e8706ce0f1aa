"""Greedy and beam search as pure functions, made to run inside one jitted call.

    step_fn(tokens int32 [b, m], index int32, state) -> (logits float32 [b, m, v], state)

gives the logits that follow `tokens`, which stand at position `index` of each sequence. Every leaf of `state` is
[b, m, ...], but for what is marked `InPlace`; what all beams of an item share is closed over. b: batch, m: beams,
v: vocabulary, p: prefix, l: max_len.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from capjax.models.decoders.cache import reorder
from capjax.parallel.sharding_rules import by_rows, top_k

StepFn = Callable


class Decoded(NamedTuple):
    """Hypotheses, best first.

    Attributes:
      tokens: int32 [b, m, l], without the prefix, padded after <eos>.
      scores: float32 [b, m], log-probability over the length penalty; -inf where there are fewer than m hypotheses.
      log_probs: float32 [b, m], of the whole hypothesis, <eos> included.
      lengths: int32 [b, m], token_log_probs, <eos> included; l where the hypothesis was cut.
      token_log_probs: float32 [b, m, l], the log-probability of each token; 0 after the end.
    """

    tokens: jax.Array
    scores: jax.Array
    log_probs: jax.Array
    lengths: jax.Array
    token_log_probs: jax.Array


def length_normalizer(length, alpha: float):
    """((5 + length) / 6) ** alpha (Wu et al. 2016, equation 14)."""
    return ((5.0 + length) / 6.0) ** alpha


def feed_prefix(step_fn: StepFn, state, prefix, num_beams: int):
    """Runs all of `prefix` [b, p] but its last token; returns (that token for each beam [b, m], state)."""
    b, p = prefix.shape
    tokens = jnp.broadcast_to(prefix[:, None], (b, num_beams, p)).astype(jnp.int32)

    def body(index, state):
        return step_fn(tokens[:, :, index], index, state)[1]

    return tokens[:, :, -1], jax.lax.fori_loop(0, p - 1, body, state)


def restrict(
    logits, written, count, *, eos_id: int, min_len: int = 0, no_repeat_ngram: int = 0, suppressed=None
) -> jax.Array:
    """Log-probabilities [b, m, v] with -inf where a token may not follow.

    Args:
      logits: [b, m, v]; written: int32 [b, m, l], of which the first `count` are real.
      min_len: no <eos> before so many token_log_probs.
      no_repeat_ngram: no n-gram of this length twice in a hypothesis; 0: any.
      suppressed: bool [v], pieces never to be written.
    """
    log_probs = jax.nn.log_softmax(logits, axis=-1)
    if suppressed is not None:
        log_probs = jnp.where(suppressed, -jnp.inf, log_probs)
    if min_len:
        early = (jnp.arange(logits.shape[-1]) == eos_id) & (count < min_len)
        log_probs = jnp.where(early, -jnp.inf, log_probs)
    if no_repeat_ngram:
        log_probs = jnp.where(_repeats(written, count, no_repeat_ngram, logits.shape[-1]), -jnp.inf, log_probs)
    return log_probs


def _repeats(written, count, n: int, v: int) -> jax.Array:
    """bool [b, m, v]: the tokens that would make the last n pieces a repetition."""
    b, m, l = written.shape
    starts = max(l - n + 1, 0)
    # The n - 1 pieces before the next one, and those at each earlier start.
    last = jax.lax.dynamic_slice_in_dim(written, jnp.maximum(count - n + 1, 0), n - 1, axis=2)
    same = jnp.arange(starts) + n <= count
    for offset in range(n - 1):
        same = same & (written[:, :, offset : offset + starts] == last[:, :, offset : offset + 1])
    same = jnp.broadcast_to(same, (b, m, starts))
    follows = written[:, :, n - 1 : n - 1 + starts]
    rows = jnp.arange(b)[:, None, None], jnp.arange(m)[None, :, None]
    return jnp.zeros((b, m, v), bool).at[(*rows, follows)].max(same)


def beam_search(
    step_fn: StepFn, state, prefix, *, num_beams: int, max_len: int, eos_id: int, pad_id: int, min_len: int = 0,
    length_penalty: float = 0.0, no_repeat_ngram: int = 0, suppressed=None,
) -> Decoded:  # fmt: skip
    """Beam search with shrinking width: a hypothesis that ends keeps its place, and the rest compete for those left
    (Sutskever et al. 2014). Ends when all have ended, or at `max_len`, where they are cut. The ended are ranked by
    log-probability over `length_normalizer`. One beam is therefore greedy search, whatever the penalty.

    Among equals the lower beam wins, then the lower token.

    Args:
      prefix: int32 [b, p], p at least 1, what every hypothesis starts with.
    """
    b, p = prefix.shape
    v_ids = jnp.arange(num_beams, dtype=jnp.int32)
    tokens, state = feed_prefix(step_fn, state, prefix, num_beams)
    log_probs = jnp.where(v_ids == 0, 0.0, -jnp.inf) * jnp.ones((b, 1))
    start = {
        "count": jnp.int32(0),
        "tokens": tokens,
        "written": jnp.full((b, num_beams, max_len), pad_id, jnp.int32),
        "token_log_probs": jnp.zeros((b, num_beams, max_len)),
        "log_probs": log_probs,
        "lengths": jnp.zeros((b, num_beams), jnp.int32),
        "done": jnp.zeros((b, num_beams), bool),
        "state": state,
    }

    def alive(s):
        return ~s["done"] & jnp.isfinite(s["log_probs"])

    def go_on(s):
        return (s["count"] < max_len) & alive(s).any()

    def body(s):
        logits, state = step_fn(s["tokens"], p - 1 + s["count"], s["state"])
        log_probs = restrict(
            logits, s["written"], s["count"], eos_id=eos_id, min_len=min_len, no_repeat_ngram=no_repeat_ngram,
            suppressed=suppressed,
        )  # fmt: skip
        totals = jnp.where(alive(s)[..., None], s["log_probs"][..., None] + log_probs, -jnp.inf)
        scores, beam, token = _best(totals, num_beams)
        room = num_beams - s["done"].sum(1, keepdims=True)
        accepted = (v_ids < room) & jnp.isfinite(scores)
        before = jnp.take_along_axis(s["log_probs"], beam, 1)
        # Those that had ended, then the new ones, in the order of their score.
        keep = {
            "beam": jnp.concatenate([jnp.broadcast_to(v_ids, (b, num_beams)), beam], 1),
            "tokens": jnp.concatenate([jnp.full((b, num_beams), pad_id, jnp.int32), token], 1),
            "log_probs": jnp.concatenate([s["log_probs"], jnp.where(accepted, scores, -jnp.inf)], 1),
            "gained": jnp.concatenate([jnp.zeros((b, num_beams)), jnp.where(accepted, scores - before, 0.0)], 1),
            "done": jnp.concatenate([s["done"], accepted & (token == eos_id)], 1),
            "lengths": jnp.concatenate([s["lengths"], jnp.full((b, num_beams), s["count"] + 1)], 1),
        }
        valid = jnp.concatenate([s["done"], accepted], 1)
        order = jnp.argsort(~valid, axis=1, stable=True)[:, :num_beams]
        keep, valid = reorder(keep, order), jnp.take_along_axis(valid, order, 1)
        beam, gained = keep.pop("beam"), keep.pop("gained")
        written, token_log_probs = reorder((s["written"], s["token_log_probs"]), beam)
        written = jax.lax.dynamic_update_slice(written, keep["tokens"][..., None], (0, 0, s["count"]))
        token_log_probs = jax.lax.dynamic_update_slice(token_log_probs, gained[..., None], (0, 0, s["count"]))
        keep["log_probs"] = jnp.where(valid, keep["log_probs"], -jnp.inf)
        state = reorder(state, beam)
        return {"count": s["count"] + 1, "written": written, "token_log_probs": token_log_probs, "state": state, **keep}

    end = jax.lax.while_loop(go_on, body, start)
    scores = end["log_probs"] / length_normalizer(end["lengths"], length_penalty)
    scores, order = top_k(scores, num_beams)
    written, log_probs, lengths, token_log_probs = reorder(
        (end["written"], end["log_probs"], end["lengths"], end["token_log_probs"]), order
    )
    return Decoded(written, scores, log_probs, lengths, token_log_probs)


@by_rows
def _best(totals, count: int):
    """The `count` best of [b, m, v]: scores, beams and tokens, each [b, count].

    First within each beam, then among the winners: a row of v is sorted partially and never all m * v at once.
    """
    b, m, v = totals.shape
    few = min(count, v)
    scores, tokens = jax.lax.top_k(totals.reshape(b * m, v), few)
    scores, tokens = scores.reshape(b, m * few), tokens.reshape(b, m * few)
    if m * few < count:
        scores = jnp.pad(scores, ((0, 0), (0, count - m * few)), constant_values=-jnp.inf)
        tokens = jnp.pad(tokens, ((0, 0), (0, count - m * few)))
    scores, index = jax.lax.top_k(scores, count)
    return scores, jnp.minimum(index // few, m - 1), jnp.take_along_axis(tokens, index, 1)


def pick_loop(
    step_fn: StepFn, state, prefix, pick, *, rows: int, max_len: int, eos_id: int, pad_id: int, min_len: int = 0,
    length_penalty: float = 0.0, no_repeat_ngram: int = 0, suppressed=None,
) -> Decoded:  # fmt: skip
    """`rows` independent hypotheses an item; `pick(log_probs [b, m, v], count) -> int32 [b, m]` chooses each token."""
    b, p = prefix.shape
    tokens, state = feed_prefix(step_fn, state, prefix, rows)
    start = (
        jnp.int32(0), tokens, jnp.full((b, rows, max_len), pad_id, jnp.int32), jnp.zeros((b, rows, max_len)),
        jnp.zeros((b, rows), jnp.int32), jnp.zeros((b, rows), bool), state,
    )  # fmt: skip

    def go_on(s):
        return (s[0] < max_len) & ~s[5].all()

    def body(s):
        count, tokens, written, token_log_probs, lengths, done, state = s
        logits, state = step_fn(tokens, p - 1 + count, state)
        log_probs = restrict(
            logits, written, count, eos_id=eos_id, min_len=min_len, no_repeat_ngram=no_repeat_ngram,
            suppressed=suppressed,
        )  # fmt: skip
        token = pick(log_probs, count)
        gained = jnp.take_along_axis(log_probs, token[..., None], -1)[..., 0]
        # Nothing may follow: all is forbidden. The hypothesis ends as it stands.
        stuck = ~jnp.isfinite(gained)
        token = jnp.where(done | stuck, pad_id, token)
        gained = jnp.where(done | stuck, 0.0, gained)
        token_log_probs = jax.lax.dynamic_update_slice(token_log_probs, gained[..., None], (0, 0, count))
        lengths = lengths + ~(done | stuck)
        done = done | stuck | (token == eos_id)
        written = jax.lax.dynamic_update_slice(written, token[..., None], (0, 0, count))
        return count + 1, token, written, token_log_probs, lengths, done, state

    _, _, written, token_log_probs, lengths, _, _ = jax.lax.while_loop(go_on, body, start)
    total = token_log_probs.sum(-1)
    scores, order = top_k(total / length_normalizer(lengths, length_penalty), rows)
    written, total, lengths, token_log_probs = reorder((written, total, lengths, token_log_probs), order)
    return Decoded(written, scores, total, lengths, token_log_probs)


def greedy_search(step_fn: StepFn, state, prefix, **options) -> Decoded:
    """The likeliest token each time, the lowest of equals; options as `beam_search`, without `beams`. m = 1."""

    def pick(log_probs, count):
        del count
        return jnp.argmax(log_probs, axis=-1).astype(jnp.int32)

    return pick_loop(step_fn, state, prefix, pick, rows=1, **options)
