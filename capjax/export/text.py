"""Tokens to text in TensorFlow, equal to `Vocabulary.decode` and `TimeTokens.decode`, with ops of its core only.

b: batch, e: events, l: tokens.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from capjax.export.normal_form import nfc
from capjax.text.time_tokens import TimeTokens
from capjax.text.vocabulary import EOS, PAD, Vocabulary

_UNKNOWN = "\ufffd".encode()
# The characters that `str.split` splits at.
_SPACES = "".join(f"\\x{{{ord(char):x}}}" for char in map(chr, range(0x110000)) if char.isspace())


class Detokenizer:
    """Converts tokens of a vocabulary to texts."""

    def __init__(self, vocabulary: Vocabulary):
        spelled = vocabulary.spellings
        self._spelled, self._lowercase = spelled, vocabulary.lowercase
        # The byte of a one-byte piece, or -1; longer pieces spell whole characters.
        self._byte = np.array([piece[0] if len(piece) == 1 else -1 for piece in spelled], np.int32)

    def __call__(self, tokens: tf.Tensor) -> tf.Tensor:
        """Returns the texts, strings [...], of tokens int32 [..., l] up to the first <eos>."""
        alive = before_end(tokens)
        byte = tf.where(alive, tf.gather(tf.constant(self._byte), tokens), -1)
        spelled = tf.where(alive, tf.gather(tf.constant(self._spelled), tokens), b"")
        spelled = tf.where(_is_whole(byte) & (byte != 0), spelled, _UNKNOWN)
        text = tf.strings.reduce_join(spelled, axis=-1)
        text = tf.strings.regex_replace(text, f"[{_SPACES}]+", " ")
        text = nfc(tf.strings.regex_replace(text, "^ | $", ""))
        return nfc(tf.strings.lower(text, encoding="utf-8")) if self._lowercase else text


def before_end(tokens: tf.Tensor) -> tf.Tensor:
    """Returns which tokens are before the first <eos>, bool [..., l]."""
    return tf.cumsum(tf.cast(tokens == EOS, tf.int32), axis=-1) == 0


def _is_whole(byte: tf.Tensor) -> tf.Tensor:
    """Returns which of int32 [..., l], bytes or -1, are not in invalid UTF-8 (Unicode 16, table 3-7), bool [..., l].

    A byte that begins a sequence never occurs inside another, so that each sequence can be checked by itself.
    """

    def moved(x, by: int, fill):
        """x[i + by] at i."""
        none = tf.fill(tf.shape(x[..., : abs(by)]), fill)
        return tf.concat([x[..., by:], none] if by > 0 else [none, x[..., :by]], axis=-1)

    def within(x, low: int, high: int):
        return (x >= low) & (x <= high)

    first, second, third = (moved(byte, by, -1) for by in (1, 2, 3))
    follows = [within(x, 0x80, 0xBF) for x in (first, second, third)]
    two = within(byte, 0xC2, 0xDF) & follows[0]
    three = (
        ((byte == 0xE0) & within(first, 0xA0, 0xBF))
        | ((byte == 0xED) & within(first, 0x80, 0x9F))
        | (within(byte, 0xE1, 0xEF) & (byte != 0xED) & follows[0])
    ) & follows[1]
    four = (
        ((byte == 0xF0) & within(first, 0x90, 0xBF))
        | ((byte == 0xF4) & within(first, 0x80, 0x8F))
        | (within(byte, 0xF1, 0xF3) & follows[0])
    ) & (follows[1] & follows[2])
    begins = [two | three | four, three | four, four]
    inside = [moved(each, -by, False) for by, each in enumerate(begins, start=1)]
    return (byte < 0x80) | begins[0] | inside[0] | inside[1] | inside[2]


class EventTensors(NamedTuple):
    """Events of each row; entries that are not events come last.

    Attributes:
      valid: bool [b, e], whether the entry is an event.
      start, end: float64 [b, e], seconds.
      text: strings [b, e].
      score: float32 [b, e].
    """

    valid: tf.Tensor
    start: tf.Tensor
    end: tf.Tensor
    text: tf.Tensor
    score: tf.Tensor


class EventReader:
    """Reads events whose times are written into the text, see `TimeTokens.decode`."""

    def __init__(self, times: TimeTokens, detokenize: Detokenizer):
        self._detokenize, self._last = detokenize, times.bins - 1
        self._bin = np.full(times.vocabulary.size, -1, np.int32)
        self._bin[times.ids] = np.arange(times.bins)

    def __call__(self, tokens: tf.Tensor, log_probs: tf.Tensor, duration: tf.Tensor) -> EventTensors:
        """Returns the events of tokens int32 [b, l].

        Args:
          tokens: int32 [b, l].
          log_probs: float32 [b, l], log-probability of each token.
          duration: float32 [b], seconds.
        """
        length = tokens.shape[-1]
        alive, position = before_end(tokens), tf.range(length)
        time_bin = tf.where(alive, tf.gather(tf.constant(self._bin), tokens), -1)
        is_time, is_text = time_bin >= 0, alive & (time_bin < 0)
        # Each pair of a run of times begins an event, whose words follow up to the next time.
        before = tf.where(is_text[:, None] & (position[None, :] < position[:, None]), position, -1)
        begins = is_time & ((position - tf.reduce_max(before, -1) - 1) % 2 == 0)
        event = tf.cumsum(tf.cast(begins, tf.int32), axis=-1) - 1
        in_event = (event[:, None] == tf.range(max(length // 2, 1))[:, None]) & alive[:, None]  # [b, e, l]

        def bin_of_event(mask):
            return tf.reduce_max(tf.where(in_event & mask[:, None], time_bin[:, None], -1), axis=-1)

        first, second = bin_of_event(begins), bin_of_event(is_time & ~begins)
        text = self._detokenize(tf.where(in_event & is_text[:, None], tokens[:, None], PAD))
        count = tf.maximum(tf.reduce_sum(tf.cast(in_event, tf.float32), -1), 1.0)
        score = tf.exp(tf.reduce_sum(tf.where(in_event, log_probs[:, None], 0.0), -1) / count)
        start, end = (
            tf.cast(each, tf.float64) / self._last * tf.cast(duration, tf.float64)[:, None] for each in (first, second)
        )
        return in_order(
            EventTensors((first >= 0) & (second > first) & (text != ""), start, end, text, score), by_time=False
        )


def in_order(events: EventTensors, *, by_time: bool) -> EventTensors:
    """Moves events to the front, `by_time` in order of start, then end; other entries become 0 and empty."""
    order = tf.argsort(tf.where(events.valid, events.end if by_time else 0.0, np.inf), axis=-1, stable=True)
    if by_time:
        start = tf.where(events.valid, events.start, np.inf)
        by_start = tf.argsort(tf.gather(start, order, batch_dims=1), axis=-1, stable=True)
        order = tf.gather(order, by_start, batch_dims=1)
    valid, start, end, text, score = (tf.gather(each, order, batch_dims=1) for each in events)
    return EventTensors(
        valid,
        tf.where(valid, start, 0.0),
        tf.where(valid, end, 0.0),
        tf.where(valid, text, ""),
        tf.where(valid, score, 0.0),
    )
