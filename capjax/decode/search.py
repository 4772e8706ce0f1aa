"""Greedy and beam search as pure functions, to be called inside a jitted function.

    step_fn(tokens int32 [b, m], index int32, state) -> (logits float32 [b, m, v], state)

returns the logits of the tokens that follow `tokens`, which are at position `index` of each sequence. Every leaf of
`state` is [b, m, ...], except those under `InPlace`; step_fn closes over whatever the beams of an item share.
b: batch, m: beams, v: vocabulary, p: prefix, l: max_len.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from capjax.models.decoders.cache import reorder
from capjax.parallel.sharding_rules import by_rows, top_k

StepFn = Callable


class Decoded(NamedTuple):
    """Hypotheses, best first.

    Attributes:
      tokens: without the prefix, padded after <eos>.
      scores: log-probability over `length_normalizer`; -inf where there are fewer than m hypotheses.
      log_probs: log-probability of the whole hypothesis, <eos> included.
      lengths: number of tokens, <eos> included; l where the hypothesis was cut.
      token_log_probs: log-probability of each token; 0 after the end.
      state: final state of the step function, in the order of the hypotheses.
    """

    tokens: Int[Array, "b m l"]
    scores: Float[Array, "b m"]
    log_probs: Float[Array, "b m"]
    lengths: Int[Array, "b m"]
    token_log_probs: Float[Array, "b m l"]
    state: Any = None


def length_normalizer(length: Int[Array, "*b"], alpha: float) -> Float[Array, "*b"]:
    """Returns ((5 + length) / 6) ** alpha (Wu et al. 2016, equation 14)."""
    return ((5.0 + length) / 6.0) ** alpha


def feed_prefix(
    step_fn: StepFn, state, prefix: Int[Array, "b p"], num_beams: int
) -> tuple[Int[Array, "b m"], Any]:  # fmt: skip
    """Feeds all tokens of `prefix` but the last; returns the last token for each beam, and the state."""
    b, p = prefix.shape
    tokens = jnp.broadcast_to(prefix[:, None], (b, num_beams, p)).astype(jnp.int32)

    def body(index, state):
        return step_fn(tokens[:, :, index], index, state)[1]

    return tokens[:, :, -1], jax.lax.fori_loop(0, p - 1, body, state)


def restrict(
    logits: Float[Array, "b m v"], written: Int[Array, "b m l"], count: Int[Array, ""], *, eos_id: int,
    min_len: int = 0, no_repeat_ngram: int = 0, suppressed: Bool[Array, " v"] | None = None,
) -> Float[Array, "b m v"]:  # fmt: skip
    """Returns log-probabilities, -inf for tokens that must not follow.

    Args:
      logits: of the next token.
      written: tokens of each hypothesis, of which the first `count` are valid.
      count: number of tokens written.
      eos_id: id of <eos>.
      min_len: tokens before <eos>, at least.
      no_repeat_ngram: length of n-grams that must not occur twice in a hypothesis; 0: none.
      suppressed: tokens that are never written.
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


def _repeats(written: Int[Array, "b m l"], count: Int[Array, ""], n: int, v: int) -> Bool[Array, "b m {v}"]:
    """The tokens that would repeat an n-gram."""
    b, m, l = written.shape
    starts = max(l - n + 1, 0)
    # The last n - 1 tokens, compared with the n - 1 tokens from each earlier start.
    last = jax.lax.dynamic_slice_in_dim(written, jnp.maximum(count - n + 1, 0), n - 1, axis=2)
    same = jnp.arange(starts) + n <= count
    for offset in range(n - 1):
        same = same & (written[:, :, offset : offset + starts] == last[:, :, offset : offset + 1])
    same = jnp.broadcast_to(same, (b, m, starts))
    follows = written[:, :, n - 1 : n - 1 + starts]
    rows = jnp.arange(b)[:, None, None], jnp.arange(m)[None, :, None]
    return jnp.zeros((b, m, v), bool).at[(*rows, follows)].max(same)


class _Hypotheses(NamedTuple):
    """Hypotheses during a search: `last` is the token that the next step reads; other fields as in Decoded."""

    last: Int[Array, "b m"]
    tokens: Int[Array, "b m l"]
    token_log_probs: Float[Array, "b m l"]
    log_probs: Float[Array, "b m"]
    lengths: Int[Array, "b m"]
    done: Bool[Array, "b m"]
    state: Any

    @property
    def alive(self) -> Bool[Array, "b m"]:
        return ~self.done & jnp.isfinite(self.log_probs)

    def append(self, count, last: Int[Array, "b m"], log_probs: Float[Array, "b m"]) -> "_Hypotheses":
        """Writes the token at position `count` of each hypothesis, and its log-probability."""
        tokens, token_log_probs = (
            jax.lax.dynamic_update_slice(written, value[..., None], (0, 0, count))
            for written, value in ((self.tokens, last), (self.token_log_probs, log_probs))
        )
        return self._replace(last=last, tokens=tokens, token_log_probs=token_log_probs)

    def ranked(self, length_penalty: float) -> Decoded:
        """Orders the hypotheses by log-probability over `length_normalizer`."""
        scores, order = top_k(self.log_probs / length_normalizer(self.lengths, length_penalty), self.last.shape[1])
        ranked = reorder(self, order)
        return Decoded(
            ranked.tokens, scores, ranked.log_probs, ranked.lengths, ranked.token_log_probs, ranked.state
        )  # fmt: skip


def _search(
    step_fn: StepFn, state, prefix: Int[Array, "b p"], extend: Callable, log_probs: Float[Array, "b m"], *,
    max_len: int, pad_id: int, **restrictions,
) -> _Hypotheses:  # fmt: skip
    """Extends hypotheses until all are finished, or at `max_len` tokens cut.

    Args:
      extend: (hypotheses, count of tokens written, log-probabilities [b, m, v] of the next) -> extended hypotheses.
      log_probs: of the hypotheses before their first token; -inf where there is none.
      **restrictions: see `restrict`.
    """
    (b, p), m = prefix.shape, log_probs.shape[1]
    last, state = feed_prefix(step_fn, state, prefix, m)
    start = _Hypotheses(
        last, jnp.full((b, m, max_len), pad_id, jnp.int32), jnp.zeros((b, m, max_len)), log_probs,
        jnp.zeros((b, m), jnp.int32), jnp.zeros((b, m), bool), state,
    )  # fmt: skip

    def unfinished(carry):
        count, hypotheses = carry
        return (count < max_len) & hypotheses.alive.any()

    def body(carry):
        count, hypotheses = carry
        logits, state = step_fn(hypotheses.last, p - 1 + count, hypotheses.state)
        log_probs = restrict(logits, hypotheses.tokens, count, **restrictions)
        return count + 1, extend(hypotheses._replace(state=state), count, log_probs)

    return jax.lax.while_loop(unfinished, body, (jnp.int32(0), start))[1]


def beam_search(
    step_fn: StepFn, state, prefix: Int[Array, "b p"], *, num_beams: int, eos_id: int, pad_id: int,
    length_penalty: float = 0.0, **options,
) -> Decoded:  # fmt: skip
    """Beam search with shrinking width (Sutskever et al. 2014): a finished hypothesis keeps its beam, and the others
    compete for the remaining beams.

    The search ends when all hypotheses are finished, or at `max_len`, where they are cut. Hypotheses are ranked by
    log-probability over `length_normalizer`; with one beam this is greedy search, whatever the penalty. Of equal
    candidates the lower beam wins, then the lower token.

    Args:
      step_fn: see the module.
      state: initial state of `step_fn`.
      prefix: tokens that every hypothesis starts with, at least one.
      num_beams: m.
      eos_id: id of <eos>.
      pad_id: id of padding.
      length_penalty: alpha of `length_normalizer`.
      **options: `max_len`, which is l, the largest number of tokens after the prefix; others as in `restrict`.
    """
    b = prefix.shape[0]
    beam_numbers = jnp.arange(num_beams, dtype=jnp.int32)

    def extend(old: _Hypotheses, count, log_probs) -> _Hypotheses:
        totals = jnp.where(old.alive[..., None], old.log_probs[..., None] + log_probs, -jnp.inf)
        scores, beam, token = _best(totals, num_beams)
        free = num_beams - old.done.sum(1, keepdims=True)
        accepted = (beam_numbers < free) & jnp.isfinite(scores)
        before = jnp.take_along_axis(old.log_probs, beam, 1)
        # The finished hypotheses, then the accepted candidates in order of their score.
        candidates = {
            "beam": jnp.concatenate([jnp.broadcast_to(beam_numbers, (b, num_beams)), beam], 1),
            "last": jnp.concatenate([jnp.full((b, num_beams), pad_id, jnp.int32), token], 1),
            "log_probs": jnp.concatenate([old.log_probs, jnp.where(accepted, scores, -jnp.inf)], 1),
            "gained": jnp.concatenate([jnp.zeros((b, num_beams)), jnp.where(accepted, scores - before, 0.0)], 1),
            "done": jnp.concatenate([old.done, accepted & (token == eos_id)], 1),
            "lengths": jnp.concatenate([old.lengths, jnp.full((b, num_beams), count + 1)], 1),
        }
        valid = jnp.concatenate([old.done, accepted], 1)
        order = jnp.argsort(~valid, axis=1, stable=True)[:, :num_beams]
        kept, valid = reorder(candidates, order), jnp.take_along_axis(valid, order, 1)
        new = reorder(old, kept["beam"]).append(count, kept["last"], kept["gained"])
        log_probs = jnp.where(valid, kept["log_probs"], -jnp.inf)
        return new._replace(log_probs=log_probs, lengths=kept["lengths"], done=kept["done"])

    start = jnp.where(beam_numbers == 0, 0.0, -jnp.inf) * jnp.ones((b, 1))
    end = _search(step_fn, state, prefix, extend, start, eos_id=eos_id, pad_id=pad_id, **options)
    return end.ranked(length_penalty)


@by_rows
def _best(
    totals: Float[Array, "b m v"], count: int
) -> tuple[Float[Array, "b {count}"], Int[Array, "b {count}"], Int[Array, "b {count}"]]:
    """Returns the scores, beams and tokens of the `count` best.

    Takes the best of each beam and then the best of these, which never sorts all m * v.
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


def pick_search(
    step_fn: StepFn, state, prefix: Int[Array, "b p"], pick: Callable, *, rows: int, eos_id: int, pad_id: int,
    length_penalty: float = 0.0, **options,
) -> Decoded:  # fmt: skip
    """Returns `rows` independent hypotheses per item, whose tokens `pick(log_probs [b, m, v], count) -> int32 [b, m]`
    chooses; other arguments as `beam_search`."""

    def extend(old: _Hypotheses, count, log_probs) -> _Hypotheses:
        token = pick(log_probs, count)
        gained = jnp.take_along_axis(log_probs, token[..., None], -1)[..., 0]
        # A hypothesis that is finished; or every token is forbidden, and it ends without <eos>.
        ended = old.done | ~jnp.isfinite(gained)
        token = jnp.where(ended, pad_id, token)
        new = old.append(count, token, jnp.where(ended, 0.0, gained))
        return new._replace(lengths=old.lengths + ~ended, done=ended | (token == eos_id))

    start = jnp.zeros((prefix.shape[0], rows))
    end = _search(step_fn, state, prefix, extend, start, eos_id=eos_id, pad_id=pad_id, **options)
    return end._replace(log_probs=end.token_log_probs.sum(-1)).ranked(length_penalty)


def greedy_search(step_fn: StepFn, state, prefix: Int[Array, "b p"], **options) -> Decoded:
    """Returns one hypothesis per item, of the likeliest token each time; of equally likely tokens the lowest. Options
    as `beam_search`, without `num_beams`."""
    return pick_search(step_fn, state, prefix, likeliest, rows=1, **options)


def likeliest(log_probs: Float[Array, "b m v"], count) -> Int[Array, "b m"]:
    """Picks the likeliest token, whatever the count of tokens; of equally likely ones the lowest."""
    del count
    return jnp.argmax(log_probs, axis=-1).astype(jnp.int32)
