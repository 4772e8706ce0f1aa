"""Text to tokens and back, with SentencePiece (Kudo & Richardson 2018).

Nothing is out of vocabulary: what no piece covers is spelled in UTF-8 bytes. Text comes back from its tokens as it
went in, but for this normalisation, applied before encoding:

- Unicode NFC (not NFKC, which would turn Chinese full-width punctuation into ASCII);
- runs of white space become one space, none at the ends; U+2581, SentencePiece's own mark of a space, is a space too;
- what cannot be UTF-8 (lone surrogates) and U+0000 become U+FFFD;
- lower case, if the vocabulary was made so.

Reserved pieces stand for tasks, languages and times. They are SentencePiece control pieces: text can never produce
them, not even text that spells `<lang:de>`.
"""

import io
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import sentencepiece as spm

from capjax.registry import nearest

PAD, BOS, EOS, UNK = 0, 1, 2, 3
TASKS = ("summary", "dense")
# A flag inside the model file, so that the one file is the whole vocabulary.
_LOWERCASE = "<normalize:lowercase>"


class VocabularyError(ValueError):
    """A vocabulary cannot be made or read; the message says why and what to do."""


def normalize(text: str, *, lowercase: bool = False) -> str:
    """The normalisation of the module's docstring."""
    text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    text = unicodedata.normalize("NFC", text.replace("\0", "\ufffd").replace("\u2581", " "))
    text = " ".join(text.split())
    return unicodedata.normalize("NFC", text.lower()) if lowercase else text


class Vocabulary:
    """A SentencePiece model with the project's reserved pieces.

    Args:
      model: the bytes of a model file.
      where: names it in errors.

    Raises:
      VocabularyError: the bytes are no such model.
    """

    pad_id, bos_id, eos_id = PAD, BOS, EOS

    def __init__(self, model: bytes, where: str = "the vocabulary"):
        self._model = spm.SentencePieceProcessor()
        try:
            self._model.LoadFromSerializedProto(model)
        except (RuntimeError, ValueError) as error:
            raise VocabularyError(f"{where} is not a SentencePiece model ({error})") from error
        if (self._model.pad_id(), self._model.bos_id(), self._model.eos_id()) != (PAD, BOS, EOS):
            raise VocabularyError(
                f"{where} is a SentencePiece model, but not one of capjax's: "
                "make it with `python -m data_prep vocabulary`"
            )
        self.size = self._model.GetPieceSize()
        self._control = {self._model.IdToPiece(i): i for i in range(self.size) if self._model.IsControl(i)}
        self.lowercase = _LOWERCASE in self._control

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Reads a model file.

        Raises:
          FileNotFoundError: no such file.
          VocabularyError: not a vocabulary.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"no vocabulary {path}; make one with `python -m data_prep vocabulary --input DATASET --output {path}`"
            )
        return cls(path.read_bytes(), str(path))

    @cached_property
    def languages(self) -> list[str]:
        return self._reserved("lang")

    @cached_property
    def tasks(self) -> list[str]:
        return self._reserved("task")

    @cached_property
    def time_pieces(self) -> int:
        """How many time pieces there are."""
        return len(self._reserved("time"))

    def _reserved(self, kind: str) -> list[str]:
        start = f"<{kind}:"
        return sorted(piece[len(start) : -1] for piece in self._control if piece.startswith(start))

    def _id(self, kind: str, name: str) -> int:
        piece = f"<{kind}:{name}>"
        if piece not in self._control:
            raise VocabularyError(
                f"the vocabulary has no {kind} piece {name!r}; {nearest(str(name), self._reserved(kind))}. "
                "Pieces are reserved when the vocabulary is made."
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
        """The pieces that text is made of: neither reserved nor unknown."""
        return [i for i in range(self.size) if not self._model.IsControl(i) and i != UNK]

    def prefix(self, lang: str, task: str | None = None) -> list[int]:
        """What every target starts with: <bos>, the task unless it is plain captioning, the language."""
        return [BOS, *([self.task_id(task)] if task else []), self.lang_id(lang)]

    def encode(self, text: str) -> list[int]:
        """Pieces of the text, without <bos> and <eos>."""
        return self._model.EncodeAsIds(normalize(text, lowercase=self.lowercase))

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        return self._model.EncodeAsIds([normalize(text, lowercase=self.lowercase) for text in texts])

    def decode(self, ids: Sequence[int]) -> str:
        """The text up to the first <eos>; reserved pieces are dropped, and bytes that are no UTF-8 become U+FFFD."""
        text = []
        for i in ids:
            if i == EOS:
                break
            if i != UNK and not self._model.IsControl(int(i)):
                text.append(int(i))
        return self._model.DecodeIds(text)


def balance(sentences: Mapping[str, Sequence[str]], temperature: float) -> list[str]:
    """Sentences of all languages, each language's share proportional to count ** (1 / temperature).

    As many sentences as went in; small languages are repeated and large ones thinned evenly. 1 keeps the counts; mT5
    (Xue et al. 2021) uses 1 / 0.3.
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
    languages: Iterable[str] = (), time_pieces: int = 0,
) -> bytes:  # fmt: skip
    """Makes a vocabulary; the same sentences give the same bytes.

    Args:
      sentences: captions by language.
      size: pieces at most; a small corpus gives fewer.
      lowercase: fold case, at the cost of not writing it.
      temperature: see `balance`.
      languages: reserved beside those of the sentences.
      time_pieces: how many pieces to reserve for times.

    Returns:
      The bytes of the model file.

    Raises:
      VocabularyError: no sentences, or `size` is too small for the characters and reserved pieces.
    """
    cleaned = {
        lang: [text for text in (normalize(text, lowercase=lowercase) for text in texts) if text]
        for lang, texts in sentences.items()
    }
    texts = balance(cleaned, temperature)
    if not texts:
        raise VocabularyError("there are no captions to make a vocabulary from")
    control = [f"<task:{task}>" for task in TASKS]
    control += [f"<lang:{lang}>" for lang in sorted({*sentences, *languages})]
    control += [f"<time:{i}>" for i in range(time_pieces)]
    control += [_LOWERCASE] if lowercase else []
    model = io.BytesIO()
    try:
        spm.SentencePieceTrainer.Train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="unigram",
            vocab_size=size,
            hard_vocab_limit=False,
            byte_fallback=True,
            # Rare characters are spelled in bytes rather than taking up pieces.
            character_coverage=0.9995,
            normalization_rule_name="identity",
            control_symbols=control,
            pad_id=PAD,
            bos_id=BOS,
            eos_id=EOS,
            unk_id=UNK,
            pad_piece="<pad>",
            bos_piece="<bos>",
            eos_piece="<eos>",
            num_threads=1,  # sums in one order, so that the result is always the same
            max_sentence_length=1 << 16,
            minloglevel=2,
        )
    except RuntimeError as error:
        needed = 256 + len(control) + 4
        raise VocabularyError(
            f"no vocabulary of {size} pieces can be made of these captions: {str(error).strip().splitlines()[-1]} "
            f"({needed} pieces go to bytes and reserved names, and every common character takes one; ask for more)"
        ) from error
    return model.getvalue()
