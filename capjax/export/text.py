"""Pieces to text in TensorFlow: what `Vocabulary.decode` and `TimeTokens.decode` give, with no op beyond its core.

b: batch, e: events, l: pieces.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from capjax.export.normal_form import nfc
from capjax.text.time_tokens import TimeTokens
from capjax.text.vocabulary import EOS, PAD, Vocabulary

_UNKNOWN = "\ufffd".encode()
# What `str.split` splits at, and nothing else.
_SPACES = "".join(f"\\x{{{ord(char):x}}}" for char in map(chr, range(0x110000)) if char.isspace())


class Detokenizer:
    """Pieces of a vocabulary to texts."""

    def __init__(self, vocabulary: Vocabulary):
        spelled = vocabulary.spellings
        self._spelled, self._lowercase = spelled, vocabulary.lowercase
        # Of pieces of one byte that byte; what several bytes spell is whole characters.
        self._byte = np.array([piece[0] if len(piece) == 1 else -1 for piece in spelled], np.int32)

    def __call__(self, tokens: tf.Tensor) -> tf.Tensor:
        """int32 [..., l], of text up to the first <eos> -> strings [...]."""
        alive = before_end(tokens)
        byte = tf.where(alive, tf.gather(tf.constant(self._byte), tokens), -1)
        pieces = tf.where(alive, tf.gather(tf.constant(self._spelled), tokens), b"")
        pieces = tf.where(_is_whole(byte) & (byte != 0), pieces, _UNKNOWN)
        text = tf.strings.reduce_join(pieces, axis=-1)
        text = tf.strings.regex_replace(text, f"[{_SPACES}]+", " ")
        text = nfc(tf.strings.regex_replace(text, "^ | $", ""))
        return nfc(tf.strings.lower(text, encoding="utf-8")) if self._lowercase else text


def before_end(tokens: tf.Tensor) -> tf.Tensor:
    """bool [..., l]: pieces before the first <eos>."""
    return tf.cumsum(tf.cast(tokens == EOS, tf.int32), axis=-1) == 0


def _is_whole(byte: tf.Tensor) -> tf.Tensor:
    """int32 [..., l], bytes or -1 -> bool [..., l]: not a byte of a sequence that is no UTF-8 (Unicode 16, table 3-7).

    No byte that begins a sequence may stand inside another, so that each can be looked at by itself.
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


class Told(NamedTuple):
    """Events of each row, those that are none last.

    Attributes:
      valid: bool [b, e]; start, end: float64 [b, e], seconds; text: strings [b, e]; score: float32 [b, e].
    """

    valid: tf.Tensor
    start: tf.Tensor
    end: tf.Tensor
    text: tf.Tensor
    score: tf.Tensor


class EventReader:
    """Events whose times are written among their words, see `TimeTokens.decode`."""

    def __init__(self, times: TimeTokens, detokenize: Detokenizer):
        self._detokenize, self._last = detokenize, times.bins - 1
        self._bin = np.full(times.vocabulary.size, -1, np.int32)
        self._bin[times.ids] = np.arange(times.bins)

    def __call__(self, tokens: tf.Tensor, log_probs: tf.Tensor, duration: tf.Tensor) -> Told:
        """Pieces int32 [b, l] and the log-probability of each, float32 [b, l]; duration float32 [b] in seconds."""
        length = tokens.shape[-1]
        alive, place = before_end(tokens), tf.range(length)
        moment = tf.where(alive, tf.gather(tf.constant(self._bin), tokens), -1)
        is_time, is_text = moment >= 0, alive & (moment < 0)
        # Of a run of times each two are an event's; its words follow, up to the next time.
        before = tf.where(is_text[:, None] & (place[None, :] < place[:, None]), place, -1)
        begins = is_time & ((place - tf.reduce_max(before, -1) - 1) % 2 == 0)
        event = tf.cumsum(tf.cast(begins, tf.int32), axis=-1) - 1
        mine = (event[:, None] == tf.range(max(length // 2, 1))[:, None]) & alive[:, None]  # [b, e, l]

        def the(which):
            return tf.reduce_max(tf.where(mine & which[:, None], moment[:, None], -1), axis=-1)

        first, second = the(begins), the(is_time & ~begins)
        text = self._detokenize(tf.where(mine & is_text[:, None], tokens[:, None], PAD))
        count = tf.maximum(tf.reduce_sum(tf.cast(mine, tf.float32), -1), 1.0)
        score = tf.exp(tf.reduce_sum(tf.where(mine, log_probs[:, None], 0.0), -1) / count)
        start, end = (
            tf.cast(each, tf.float64) / self._last * tf.cast(duration, tf.float64)[:, None] for each in (first, second)
        )
        return in_order(Told((first >= 0) & (second > first) & (text != ""), start, end, text, score), by_time=False)


def in_order(told: Told, *, by_time: bool) -> Told:
    """Those that are events first, `by_time` by start, then end; what is none is 0 and empty."""
    order = tf.argsort(tf.where(told.valid, told.end if by_time else 0.0, np.inf), axis=-1, stable=True)
    if by_time:
        start = tf.where(told.valid, told.start, np.inf)
        by_start = tf.argsort(tf.gather(start, order, batch_dims=1), axis=-1, stable=True)
        order = tf.gather(order, by_start, batch_dims=1)
    valid, start, end, text, score = (tf.gather(each, order, batch_dims=1) for each in told)
    return Told(
        valid,
        tf.where(valid, start, 0.0),
        tf.where(valid, end, 0.0),
        tf.where(valid, text, ""),
        tf.where(valid, score, 0.0),
    )
