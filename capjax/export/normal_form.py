"""Unicode's normal form C in TensorFlow, whose core has no op for it (Unicode Standard Annex 15).

Pieces of a vocabulary are in this form, and so is nearly every text they form; so texts are only normalized if a check
finds that one may need it. n: texts, l: characters.
"""

import sys
import unicodedata
from functools import cache
from itertools import groupby

import numpy as np
import tensorflow as tf

_NONE = -1
_MAX_DECOMPOSED = 4  # characters that one character decomposes into
# Hangul syllables follow from arithmetic (The Unicode Standard, section 3.12).
_S, _L, _V, _T = 0xAC00, 0x1100, 0x1161, 0x11A7
_LS, _VS, _TS = 19, 21, 28
_SYLLABLES = _LS * _VS * _TS


def nfc(texts: tf.Tensor) -> tf.Tensor:
    """Returns valid UTF-8 strings of any shape in normal form C."""
    needs_check = tf.strings.regex_full_match(texts, f"(?s).*[{_tables()['doubtful']}].*")

    def normalized():
        return tf.reshape(_nfc(tf.reshape(texts, [-1])), tf.shape(texts))

    return tf.cond(tf.reduce_any(needs_check), normalized, lambda: tf.identity(texts))


@cache
def _tables() -> dict:
    """Tables of all characters, from Python's Unicode database."""
    every = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    syllable = {chr(code) for code in range(_S, _S + _SYLLABLES)}
    jamo = {chr(code) for code in (*range(_V, _V + _VS), *range(_T + 1, _T + _TS))}
    whole = [char for char in every if char not in syllable]
    decomposed = {char: text for char in whole if (text := unicodedata.normalize("NFD", char)) != char}
    combining = {char: number for char in whole if (number := unicodedata.combining(char))}
    pairs = {}
    for char in decomposed:
        parts = unicodedata.decomposition(char).split()
        # Characters with another form C are never composed.
        if len(parts) == 2 and unicodedata.normalize("NFC", char) == char:
            pairs[int(parts[0], 16), int(parts[1], 16)] = ord(char)
    doubtful = {char for char in decomposed if unicodedata.normalize("NFC", char) != char}
    doubtful |= combining.keys() | jamo | {chr(second) for _, second in pairs}
    rows = [[*map(ord, text), *[_NONE] * (_MAX_DECOMPOSED - len(text))] for text in decomposed.values()]
    ordered = sorted(pairs)
    return {
        "doubtful": _ranges(sorted(map(ord, doubtful))),
        "decomposed": (np.array([*map(ord, decomposed)], np.int32), np.array(rows, np.int32)),
        "combining": (np.array([*map(ord, combining)], np.int32), np.array([*combining.values()], np.int32)),
        "pairs": (
            np.array([_key(*pair) for pair in ordered], np.int64),
            np.array([pairs[pair] for pair in ordered], np.int32),
        ),
    }  # fmt: skip


def _ranges(codes: list[int]) -> str:
    """Codes as ranges of a character class of regular expressions."""
    runs = [[code for _, code in run] for _, run in groupby(enumerate(codes), lambda each: each[1] - each[0])]
    return "".join(f"\\x{{{run[0]:x}}}-\\x{{{run[-1]:x}}}" for run in runs)


def _key(first, second):
    return first * 2**21 + second


def _look_up(table, keys) -> tuple[tf.Tensor, tf.Tensor]:
    """Whether each key is in a table (sorted keys, values), bool [...], and its value, or an arbitrary one."""
    table_keys, values = table
    last = len(table_keys) - 1
    position = tf.minimum(tf.searchsorted(tf.constant(table_keys), tf.reshape(keys, [-1])), last)
    position = tf.reshape(position, tf.shape(keys))
    return tf.gather(tf.constant(table_keys), position) == keys, tf.gather(tf.constant(values), position)


def _front(codes: tf.Tensor) -> tf.Tensor:
    """Moves the gaps of characters [n, l] to the end."""
    order = tf.argsort(tf.cast(codes == _NONE, tf.int32), axis=1, stable=True)
    return tf.gather(codes, order, batch_dims=1)


def _nfc(texts: tf.Tensor) -> tf.Tensor:
    codes = tf.strings.unicode_decode(texts, "UTF-8").to_tensor(_NONE)
    codes, marks = _decompose(codes)
    codes = _compose(codes, marks)
    return tf.strings.unicode_encode(tf.ragged.boolean_mask(codes, codes != _NONE), "UTF-8")


def _decompose(codes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the canonical decomposition of [n, l] with its marks in order, and their combining classes, [n, 4 l]."""
    decomposes, spelled = _look_up(_tables()["decomposed"], codes)
    alone = tf.stack([codes, *[tf.fill(tf.shape(codes), _NONE)] * (_MAX_DECOMPOSED - 1)], axis=-1)
    number = codes - _S
    syllable = (number >= 0) & (number < _SYLLABLES)
    last = number % _TS
    jamo = [_L + number // (_VS * _TS), _V + number // _TS % _VS, tf.where(last > 0, _T + last, _NONE)]
    jamo = tf.stack([*jamo, tf.fill(tf.shape(codes), _NONE)], axis=-1)
    out = tf.where(decomposes[..., None], spelled, tf.where(syllable[..., None], jamo, alone))
    out = _front(tf.reshape(out, [tf.shape(codes)[0], -1]))
    is_mark, mark = _look_up(_tables()["combining"], out)
    marks = tf.where(is_mark, mark, 0)
    # Sorts the marks between two other characters by class.
    order = tf.argsort(tf.cumsum(tf.cast(marks == 0, tf.int32), axis=1) * 256 + marks, axis=1, stable=True)
    return tuple(tf.gather(each, order, batch_dims=1) for each in (out, marks))


def _compose(codes: tf.Tensor, marks: tf.Tensor) -> tf.Tensor:
    """Composes each character with the last one that is not a mark, unless a mark between them blocks it."""
    rows = tf.range(tf.shape(codes)[0])

    def step(i, codes, starter, between):
        code, mark = codes[:, i], marks[:, i]
        base = tf.gather(codes, tf.maximum(starter, 0), batch_dims=1)
        composed = _pair(base, code)
        joins = (starter >= 0) & (between < mark) & (composed != _NONE) & (code != _NONE)
        where = tf.stack([rows, tf.where(joins, starter, i)], axis=1)
        codes = tf.tensor_scatter_nd_update(codes, where, tf.where(joins, composed, code))
        removed = tf.stack([rows, tf.fill(tf.shape(rows), i)], axis=1)
        codes = tf.tensor_scatter_nd_update(codes, removed, tf.where(joins, _NONE, code))
        begins = ~joins & (mark == 0)
        return i + 1, codes, tf.where(begins, i, starter), tf.where(begins, -1, tf.where(joins, between, mark))

    none = tf.fill(tf.shape(rows), -1)
    return tf.while_loop(lambda i, *_: i < tf.shape(codes)[1], step, (0, codes, none, none))[1]


def _pair(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """The composition of two characters, or _NONE."""
    composes, composed = _look_up(_tables()["pairs"], _key(tf.cast(first, tf.int64), tf.cast(second, tf.int64)))
    lead, vowel, number, tail = first - _L, second - _V, first - _S, second - _T
    pair = (lead >= 0) & (lead < _LS) & (vowel >= 0) & (vowel < _VS)
    open_syllable = (number >= 0) & (number < _SYLLABLES) & (number % _TS == 0)
    closes = open_syllable & (tail > 0) & (tail < _TS)
    hangul = tf.where(pair, _S + (lead * _VS + vowel) * _TS, tf.where(closes, first + tail, _NONE))
    return tf.where(composes, composed, hangul)
