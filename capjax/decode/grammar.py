"""Decoding in which times are well formed: every output is a list of events.

    events = (<time:start> <time:end> text)*  <eos>        start < end, starts in order, a text that is not blank

A hypothesis that has room for no whole further event may only finish the one it is at; so it never ends in the middle.
m: beams, v: vocabulary.
"""

import jax.numpy as jnp
import numpy as np

from capjax.text.time_tokens import TimeTokens

# What comes next.
_EVENT, _END, _WORDLESS, _WORD = range(4)
# Pieces of the shortest event: two times and a piece of text; and <eos> after it.
_SHORTEST = 3


class EventGrammar:
    """Which piece may follow, for each beam.

    Args:
      tokens: the times' pieces; size: pieces in the vocabulary.
      prefix_len: pieces before the first event; max_len: pieces after them, <eos> included.
    """

    def __init__(self, tokens: TimeTokens, size: int, prefix_len: int, max_len: int):
        vocabulary = tokens.vocabulary
        self.bins, self.eos_id = tokens.bins, vocabulary.eos_id
        bin_of = np.full(size, -1, np.int32)
        bin_of[tokens.ids] = np.arange(tokens.bins)
        text, blank = np.zeros((2, size), bool)
        text[vocabulary.text_ids] = True
        blank[vocabulary.blank_ids] = True
        self._bin_of, self._text, self._blank = jnp.asarray(bin_of), jnp.asarray(text), jnp.asarray(blank)
        self._end = prefix_len + max_len  # positions in all

    def start(self, b: int, m: int):
        """The state before the first piece: what comes next, and the start of the event at hand, each int32 [b, m]."""
        return jnp.full((b, m), _EVENT, jnp.int32), jnp.zeros((b, m), jnp.int32)

    def advance(self, state, tokens):
        """The state after `tokens` int32 [b, m]; what is neither a time nor a word changes nothing."""
        mode, start = state
        time, word = self._bin_of[tokens], (self._text & ~self._blank)[tokens]
        begins = (time >= 0) & (mode != _END)
        after = jnp.where(begins, _END, jnp.where(time >= 0, _WORDLESS, jnp.where(word, _WORD, mode)))
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
        # The last position is for <eos>, unless nothing is open; the one before for a word, where there is none yet.
        more = self._text & (left >= 2)
        anew = begins | is_eos | (more & (mode == _WORD))
        wordless = self._text & (~self._blank | (left >= 3))
        return jnp.where(mode == _END, ends, jnp.where(mode == _WORDLESS, wordless, anew))

    def constrain(self, step_fn):
        """`step_fn` of capjax.decode.search with this grammar; its state is (the grammar's, the decoder's)."""

        def step(tokens, index, state):
            grammar, inner = state
            grammar = self.advance(grammar, tokens)
            logits, inner = step_fn(tokens, index, inner)
            return jnp.where(self.allowed(grammar, index), logits, -jnp.inf), (grammar, inner)

        return step
