"""A vocabulary without words, for compiling: a program depends on the vocabulary's size and reserved tokens alone."""

import struct
from collections.abc import Sequence

from capjax.text.vocabulary import TASKS, Vocabulary, VocabularyError

# Field numbers of sentencepiece_model.proto. Its generated module needs a newer protobuf than other packages allow.
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_TEXT, _SCORE, _TYPE = 1, 2, 3  # of a piece
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6  # types
_MODEL_TYPE, _BPE, _VOCAB_SIZE, _BYTE_FALLBACK = 3, 2, 4, 35  # of the trainer
_SPECIAL = {"unk": 40, "bos": 41, "eos": 42, "pad": 43}
_NAME, _DUMMY_PREFIX = 1, 3  # of the normalizer


def dummy_vocabulary(size: int, *, languages: Sequence[str], times: int = 0) -> Vocabulary:
    """Returns a vocabulary of `size` tokens, with tokens for these languages and this number of time tokens.

    Raises:
      VocabularyError: `size` has no room for the reserved tokens.
    """
    entries = [_piece(name, _CONTROL) for name in ("<pad>", "<s>", "</s>")] + [_piece("<unk>", _UNKNOWN)]
    for kind, names in (("task", TASKS), ("lang", languages), ("time", range(times))):
        entries += [_piece(f"<{kind}:{name}>", _CONTROL) for name in names]
    entries += [_piece(f"<0x{byte:02X}>", _BYTE) for byte in range(256)]
    if (left := size - len(entries)) < 1:
        raise VocabularyError(f"compile.vocabulary = {size}: at least {len(entries) + 1} tokens are reserved")
    entries.append(_piece("\u2581", _NORMAL))
    for number in range(left - 1):  # private use area: no text contains it
        text = chr(0xF0000 + number // 60_000) + chr(0xF0000 + number % 60_000)
        entries.append(_piece(text, _NORMAL, -float(number)))
    trainer = {_MODEL_TYPE: _BPE, _VOCAB_SIZE: size, _BYTE_FALLBACK: 1}
    trainer |= {_SPECIAL[name]: number for number, name in enumerate(("pad", "bos", "eos", "unk"))}
    normalizer = _field(_NAME, b"identity") + _field(_DUMMY_PREFIX, 1)
    model = [_field(_PIECES, piece) for piece in entries]
    model += [_field(_TRAINER, b"".join(_field(*each) for each in trainer.items())), _field(_NORMALIZER, normalizer)]
    return Vocabulary(b"".join(model), "a dummy vocabulary")


def _piece(text: str, kind: int, score: float = 0.0) -> bytes:
    return _field(_TEXT, text.encode()) + _field(_SCORE, score) + _field(_TYPE, kind)


def _field(number: int, value: int | float | bytes) -> bytes:
    """A field in protobuf's encoding (protobuf.dev/programming-guides/encoding)."""
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])
