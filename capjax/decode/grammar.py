"""Constrained decoding of events whose times are written into the text: every output is a list of events.

    events = (<time:start> <time:end> text)*  <eos>        start < end, starts in order, a text that is not blank

A hypothesis without room for another complete event can only finish its present one, so that no output ends within an
event. b: batch, m: beams, v: vocabulary.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from capjax.text.time_tokens import TimeTokens

# Modes of a hypothesis: an event may start, an end time follows, the event has no word yet, the event has a word.
_EVENT, _END, _WORDLESS, _WORD = range(4)
_MIN_EVENT = 3  # tokens of the shortest event: two times and one of text

State = tuple[Int[Array, "b m"], Int[Array, "b m"]]


class EventGrammar:
    """Determines the tokens that may follow in each beam.

    The state of a search is the mode of each hypothesis and the start bin of its present event.

    Args:
      times: the time tokens.
      size: v, the size of the vocabulary.
      prefix_len: tokens before the first event.
      max_len: largest number of tokens after the prefix, <eos> included.
    """

    def __init__(self, times: TimeTokens, size: int, prefix_len: int, max_len: int):
        vocabulary = times.vocabulary
        self.bins, self.eos_id = times.bins, vocabulary.eos_id
        bin_of = np.full(size, -1, np.int32)
        bin_of[times.ids] = np.arange(times.bins)
        text, blank = np.zeros((2, size), bool)
        text[vocabulary.text_ids] = True
        blank[vocabulary.blank_ids] = True
        self._bin_of, self._text, self._blank = jnp.asarray(bin_of), jnp.asarray(text), jnp.asarray(blank)
        self._end = prefix_len + max_len  # total number of positions

    def start(self, b: int, m: int) -> State:
        """Returns the state before the first token."""
        return jnp.full((b, m), _EVENT, jnp.int32), jnp.zeros((b, m), jnp.int32)

    def advance(self, state: State, tokens: Int[Array, "b m"]) -> State:
        """Returns the state after `tokens`. Tokens that are neither a time nor a word do not change it."""
        mode, start = state
        time, word = self._bin_of[tokens], (self._text & ~self._blank)[tokens]
        begins = (time >= 0) & (mode != _END)
        after = jnp.where(begins, _END, jnp.where(time >= 0, _WORDLESS, jnp.where(word, _WORD, mode)))
        return after, jnp.where(begins, time, start)

    def allowed(self, state: State, index: Int[Array, ""]) -> Bool[Array, "b m v"]:
        """Returns the tokens that may stand at position `index` + 1."""
        mode, start = (part[..., None] for part in state)
        left = self._end - index - 1  # positions from index + 1 to the end
        is_time = self._bin_of >= 0
        fits = left >= _MIN_EVENT + 1
        begins = is_time & (self._bin_of >= start) & (self._bin_of < self.bins - 1) & fits
        ends = is_time & (self._bin_of > start)
        is_eos = jnp.arange(self._bin_of.shape[0]) == self.eos_id
        # The last position is reserved for <eos>, and the one before for the first word of an event without words.
        text = self._text & (left >= 2)
        next_event = begins | is_eos | (text & (mode == _WORD))
        wordless = self._text & (~self._blank | (left >= 3))
        return jnp.where(mode == _END, ends, jnp.where(mode == _WORDLESS, wordless, next_event))

    def constrain(self, step_fn):
        """Returns a step function (see capjax.decode.search) that allows only the tokens of the grammar. Its state is
        a pair: the state of the grammar, and the state of `step_fn`."""

        def step(tokens: Int[Array, "b m"], index: Int[Array, ""], state) -> tuple[Float[Array, "b m v"], tuple]:
            grammar, inner = state
            grammar = self.advance(grammar, tokens)
            logits, inner = step_fn(tokens, index, inner)
            return jnp.where(self.allowed(grammar, index), logits, -jnp.inf), (grammar, inner)

        return step
