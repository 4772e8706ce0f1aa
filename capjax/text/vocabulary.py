"""Text to tokens and back, with SentencePiece (Kudo & Richardson 2018): byte-pair encoding (Sennrich et al. 2016).

Every text can be encoded: characters without a token are spelled in UTF-8 bytes. Decoding returns the encoded text up
to this normalization (`normalize`), which is applied before encoding and after decoding:

- Unicode NFC (not NFKC, which would replace Chinese full-width punctuation by ASCII);
- runs of white space become one space, and none at the ends; U+2581, SentencePiece's space mark, counts as a space;
- lone surrogates, which UTF-8 cannot represent, and U+0000 become U+FFFD;
- lower case, if the vocabulary was made with it.

Reserved tokens stand for tasks, languages and times. They are SentencePiece control symbols: text never produces them,
not even text that spells `<lang:de>`. A *piece* is the text of a token, as in SentencePiece.
"""

import io
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import sentencepiece as spm

from capjax._deprecated import OldName
from capjax.files import read_bytes, storage_path
from capjax.registry import nearest

PAD, BOS, EOS, UNK = 0, 1, 2, 3
TASKS = ("summary", "dense")
# A flag in the model file, so that the file is the whole vocabulary.
_LOWERCASE = "<normalize:lowercase>"
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
# Text that is altered by NFKC, case folding, accent stripping, or a model without byte fallback.
_PROBE = "\uff21b\u2460\ufb01 \u00c9e\u0301 \u4e00\U0001f600"
_UNLIMITED = 1 << 21  # more tokens than Unicode has characters
_MAKE = (
    "make one with `capjax prepare vocabulary --input DATASET --output FILE`, or copy again the one that the "
    "model was trained with"
)


class VocabularyError(ValueError):
    """A vocabulary cannot be made or read; the message says why and what to do."""


def normalize(text: str, *, lowercase: bool = False) -> str:
    """Normalizes a text as the module's docstring describes."""
    text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    text = unicodedata.normalize("NFC", text.replace("\0", "\ufffd").replace("\u2581", " "))
    text = " ".join(text.split())
    return unicodedata.normalize("NFC", text.lower()) if lowercase else text


class Vocabulary:
    """A SentencePiece model with capjax's reserved tokens.

    Args:
      model: The bytes of a model file.
      where: Name of the file for errors.

    Attributes:
      size: Number of tokens.
      lowercase: Whether text is converted to lower case.

    Raises:
      VocabularyError: The bytes are not a SentencePiece model, or it was not made by capjax.
    """

    pad_id, bos_id, eos_id = PAD, BOS, EOS

    def __init__(self, model: bytes, where: str = "the vocabulary"):
        self._model = spm.SentencePieceProcessor()
        try:
            self._model.LoadFromSerializedProto(model)
        except (RuntimeError, ValueError) as error:
            raise VocabularyError(f"{where} is not a SentencePiece model ({error}); {_MAKE}") from error
        self.size = self._model.GetPieceSize()
        self._control = {self._model.IdToPiece(i): i for i in range(self.size) if self._model.IsControl(i)}
        if missing := self._missing():
            raise VocabularyError(f"{where} is a SentencePiece model, but not one of capjax's: {missing}; {_MAKE}")
        self.lowercase = _LOWERCASE in self._control

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Reads a model file.

        Raises:
          FileNotFoundError: The file does not exist.
          VocabularyError: The file is not a vocabulary of capjax.
        """
        path = storage_path(path)
        remedy = _MAKE.replace("FILE", str(path))
        if not path.is_file():
            raise FileNotFoundError(f"no vocabulary {path}; {remedy}")
        return cls(read_bytes(path, remedy), str(path))

    def _missing(self) -> str:
        """Describes what a model of another project lacks; empty for one of capjax's."""
        ids = (self._model.pad_id(), self._model.bos_id(), self._model.eos_id(), self._model.unk_id())
        if ids != (PAD, BOS, EOS, UNK):
            return f"its pad, bos, eos and unk are {ids}, not {(PAD, BOS, EOS, UNK)}"
        if sum(self._model.IsByte(i) for i in range(self.size)) != 256:
            return "it has no byte fallback, so that rare characters would be lost"
        if self._model.Decode(self._model.EncodeAsIds(_PROBE)) != _PROBE:
            return "it normalizes text differently"
        if lacking := [piece for piece in map("<task:{}>".format, TASKS) if piece not in self._control]:
            return f"it has no token {lacking[0]}"
        return "" if self._reserved("lang") else "it has no language tokens, such as <lang:en>"

    @cached_property
    def pieces(self) -> list[str]:
        """The text of each token."""
        return [self._model.IdToPiece(i) for i in range(self.size)]

    @cached_property
    def languages(self) -> list[str]:
        return self._reserved("lang")

    @cached_property
    def tasks(self) -> list[str]:
        return self._reserved("task")

    @cached_property
    def num_time_tokens(self) -> int:
        """Number of time tokens."""
        return len(self._reserved("time"))

    time_pieces = OldName("num_time_tokens")

    def _reserved(self, kind: str) -> list[str]:
        start = f"<{kind}:"
        return sorted(piece[len(start) : -1] for piece in self._control if piece.startswith(start))

    def _id(self, kind: str, name: str) -> int:
        piece = f"<{kind}:{name}>"
        if piece not in self._control:
            raise VocabularyError(
                f"the vocabulary has no {kind} token {name!r}; {nearest(str(name), self._reserved(kind))}. "
                "Tokens are reserved when the vocabulary is made."
            )
        return self._control[piece]

    def lang_id(self, lang: str) -> int:
        return self._id("lang", lang)

    def task_id(self, task: str) -> int:
        return self._id("task", task)

    def time_id(self, index: int) -> int:
        return self._id("time", str(index))

    @cached_property
    def text_ids(self) -> list[int]:
        """Ids of the tokens of text: neither reserved nor unknown."""
        return [i for i in range(self.size) if not self._model.IsControl(i) and i != UNK]

    @cached_property
    def spellings(self) -> list[bytes]:
        """The UTF-8 text of each token, before `normalize`; empty for reserved and unknown tokens.

        Only byte tokens may be incomplete characters.
        """

        def spelling(id: int) -> bytes:
            piece = self._model.IdToPiece(id)
            return bytes([int(piece[1:-1], 16)]) if self._model.IsByte(id) else piece.replace("\u2581", " ").encode()

        text = set(self.text_ids)
        return [spelling(i) if i in text else b"" for i in range(self.size)]

    @cached_property
    def blank_ids(self) -> list[int]:
        """Ids of text tokens that may decode to white space alone: spaces, and the bytes of white-space characters.

        Text with any other token has visible characters.
        """
        spaces = [char for char in map(chr, range(0x3001)) if not normalize(char)]
        space_bytes = {byte for char in spaces for byte in char.encode()}
        byte_pieces = {i: self._model.IdToPiece(i) for i in self.text_ids if self._model.IsByte(i)}
        blank_bytes = {i for i, piece in byte_pieces.items() if int(piece[1:-1], 16) in space_bytes}
        return [i for i in self.text_ids if i in blank_bytes or not self.decode([i])]

    def prefix(self, lang: str, task: str | None = None) -> list[int]:
        """Returns the first tokens of a target: <bos>, the task (none for plain captions), the language."""
        return [BOS, *([self.task_id(task)] if task else []), self.lang_id(lang)]

    def encode(self, text: str) -> list[int]:
        """Returns the tokens of a text, without <bos> and <eos>."""
        return self._model.EncodeAsIds(normalize(text, lowercase=self.lowercase))

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text up to the first <eos>, without reserved tokens; invalid UTF-8 becomes U+FFFD.

        The result is normalized: `decode(encode(text)) == normalize(text)`, and any tokens decode to a text with single
        spaces and none at its ends.
        """
        text = []
        for i in map(int, ids):
            if i == EOS:
                break
            if i != UNK and not self._model.IsControl(i):
                text.append(i)
        return normalize(self._model.DecodeIds(text), lowercase=self.lowercase)


def balance(sentences: Mapping[str, Sequence[str]], temperature: float) -> list[str]:
    """Resamples sentences so that each language's share is proportional to count ** (1 / temperature).

    The total is kept: sentences of small languages are repeated, those of large ones thinned out evenly. Temperature 1
    keeps the counts; mT5 (Xue et al. 2021) uses 1 / 0.3.
    """
    total = sum(map(len, sentences.values()))
    shares = {lang: len(texts) ** (1.0 / temperature) for lang, texts in sentences.items() if texts}
    chosen = []
    for lang in sorted(shares):
        texts = sorted(sentences[lang])
        count = max(1, round(total * shares[lang] / sum(shares.values())))
        chosen += [texts[i * len(texts) // count] for i in range(count)]
    return chosen


def train(
    sentences: Mapping[str, Sequence[str]], *, size: int, lowercase: bool = False, temperature: float = 10 / 3,
    languages: Iterable[str] = (), time_tokens: int = 0,
) -> bytes:  # fmt: skip
    """Trains a vocabulary, deterministically.

    Args:
      sentences: Captions by language.
      size: Largest number of tokens; a small corpus gives fewer.
      lowercase: Convert text to lower case; captions are then written in lower case.
      temperature: See `balance`; 1 or more.
      languages: BCP-47 codes to reserve in addition to those of the sentences.
      time_tokens: Number of tokens to reserve for times.

    Returns:
      The bytes of the model file.

    Raises:
      VocabularyError: An argument is invalid, there are no sentences, or `size` is too small for the characters and
        reserved tokens.
    """
    languages = {*sentences, *languages}
    check_arguments(size, temperature, languages, time_tokens)
    cleaned = {
        lang: [text for text in (normalize(text, lowercase=lowercase) for text in texts) if text]
        for lang, texts in sentences.items()
    }
    texts = balance(cleaned, temperature)
    if not texts:
        raise VocabularyError("there are no captions to make a vocabulary from")
    control = control_pieces(sorted(languages), time_tokens) + ([_LOWERCASE] if lowercase else [])
    try:
        return make_model(texts, control, "bpe", size)
    except RuntimeError as error:
        # A character model has exactly the tokens that any model needs.
        least = spm.SentencePieceProcessor(model_proto=make_model(texts, control, "char", _UNLIMITED)).GetPieceSize()
        if size >= least:
            raise VocabularyError(f"SentencePiece cannot make a vocabulary of {size} tokens: {error}") from error
        raise VocabularyError(
            f"a vocabulary of {size} tokens is too small for these captions: {least} are needed, of which 256 for "
            f"bytes, {len(control) + 4} reserved and the others for common characters; ask for {2 * least} or more"
        ) from error


def check_arguments(size: int, temperature: float, languages: Iterable[str], time_tokens: int):
    """Raises VocabularyError for invalid arguments of `train`."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise VocabularyError(f"size {size!r} should be a whole number, 1 or more")
    if isinstance(time_tokens, bool) or not isinstance(time_tokens, int) or time_tokens < 0:
        raise VocabularyError(f"time_tokens {time_tokens!r} should be a whole number, 0 or more")
    if not isinstance(temperature, int | float) or not temperature >= 1:
        raise VocabularyError(
            f"temperature {temperature!r} should be a number, 1 or more; 1 keeps the languages' shares"
        )
    for lang in languages:
        if not isinstance(lang, str) or not _LANGUAGE.fullmatch(lang):
            raise VocabularyError(f"language {lang!r} should be a BCP-47 code, such as en, de or pt-BR")


def control_pieces(languages: Iterable[str], time_tokens: int) -> list[str]:
    """Returns the reserved tokens of tasks, languages and times."""
    reserved = (("task", TASKS), ("lang", languages), ("time", range(time_tokens)))
    return [f"<{kind}:{name}>" for kind, names in reserved for name in names]


def make_model(
    texts: Iterable[str], control: Sequence[str], kind: str, size: int, *, pieces: Sequence[str] = ()
) -> bytes:
    """Returns the bytes of a model of `kind` bpe or char, with reserved tokens `control` and text tokens `pieces`."""
    model = io.BytesIO()
    options: dict[str, Any] = {"user_defined_symbols": list(pieces)} if pieces else {}  # [] would be an empty piece
    spm.SentencePieceTrainer.Train(
        sentence_iterator=iter(texts),
        model_writer=model,
        # Byte-pair encoding works with a few hundred captions; the unigram model needs a large corpus.
        model_type=kind,
        vocab_size=size,
        hard_vocab_limit=False,
        byte_fallback=True,
        # Rarer characters are spelled in bytes rather than given tokens.
        character_coverage=0.9999,
        normalization_rule_name="identity",
        control_symbols=list(control),
        pad_id=PAD,
        bos_id=BOS,
        eos_id=EOS,
        unk_id=UNK,
        pad_piece="<pad>",
        bos_piece="<bos>",
        eos_piece="<eos>",
        num_threads=1,
        max_sentence_length=1 << 16,
        minloglevel=2,
        **options,
    )
    return model.getvalue()
