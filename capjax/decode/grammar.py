"""Decoding in which times are well formed: every output is a list of events.

    events = (<time:start> <time:end> text)*  <eos>        start < end, starts in order, at least one piece of text

A hypothesis that has room for no whole further event may only finish the one it is at; so it never ends in the middle.
m: beams, v: vocabulary.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from capjax.text.time_tokens import TimeTokens

# What comes next.
_EVENT, _END, _FIRST_WORD, _WORD = range(4)
# Pieces of the shortest event: two times and a piece of text; and <eos> after it.
_SHORTEST = 3


class EventGrammar:
    """Which piece may follow, for each beam.

    Args:
      tokens: the times' pieces; text_ids: those that text is made of; size: pieces in the vocabulary.
      prefix_len: pieces before the first event; max_len: pieces after them, <eos> included.
    """

    def __init__(self, tokens: TimeTokens, text_ids: Sequence[int], size: int, prefix_len: int, max_len: int):
        self.bins, self.eos_id = tokens.bins, tokens.vocabulary.eos_id
        bin_of = np.full(size, -1, np.int32)
        bin_of[tokens.ids] = np.arange(tokens.bins)
        text = np.zeros(size, bool)
        text[list(text_ids)] = True
        self._bin_of, self._text = jnp.asarray(bin_of), jnp.asarray(text)
        self._end = prefix_len + max_len  # positions in all

    def start(self, b: int, m: int):
        """The state before the first piece: what comes next, and the start of the event at hand, each int32 [b, m]."""
        return jnp.full((b, m), _EVENT, jnp.int32), jnp.zeros((b, m), jnp.int32)

    def advance(self, state, tokens):
        """The state after `tokens` int32 [b, m]; what is neither time nor text changes nothing."""
        mode, start = state
        time, text = self._bin_of[tokens], self._text[tokens]
        begins = (time >= 0) & (mode != _END)
        after = jnp.where(begins, _END, jnp.where(time >= 0, _FIRST_WORD, jnp.where(text, _WORD, mode)))
        return after, jnp.where(begins, time, start)

    def allowed(self, state, index):
        """bool [b, m, v]: what may stand at position `index` + 1."""
        mode, start = (part[..., None] for part in state)
        left = self._end - index - 1  # positions from there on
        is_time = self._bin_of >= 0
        fits = left >= _SHORTEST + 1
        begins = is_time & (self._bin_of >= start) & (self._bin_of < self.bins - 1) & fits
        ends = is_time & (self._bin_of > start)
        is_eos = jnp.arange(self._bin_of.shape[0]) == self.eos_id
        # The last position is for <eos>, unless nothing is open.
        more = self._text & (left >= 2)
        anew = begins | is_eos | (more & (mode == _WORD))
        return jnp.where(mode == _END, ends, jnp.where(mode == _FIRST_WORD, self._text, anew))

    def constrain(self, step_fn):
        """`step_fn` of capjax.decode.search with this grammar; its state is (the grammar's, the decoder's)."""

        def step(tokens, index, state):
            grammar, inner = state
            grammar = self.advance(grammar, tokens)
            logits, inner = step_fn(tokens, index, inner)
            return jnp.where(self.allowed(grammar, index), logits, -jnp.inf), (grammar, inner)

        return step
