"""A vocabulary of a given size with no words in it: a program depends on its size and on its reserved pieces alone."""

from collections.abc import Sequence

from sentencepiece import sentencepiece_model_pb2 as proto

from capjax.text.vocabulary import TASKS, Vocabulary, VocabularyError


def stand_in(size: int, *, languages: Sequence[str], times: int = 0) -> Vocabulary:
    """A vocabulary of `size` pieces with pieces for these languages and so many times.

    Raises:
      VocabularyError: there is no room for them.
    """
    piece = proto.ModelProto.SentencePiece
    model = proto.ModelProto()
    model.trainer_spec.model_type = proto.TrainerSpec.BPE
    model.trainer_spec.byte_fallback = True
    for number, name in enumerate(("pad", "bos", "eos", "unk")):
        setattr(model.trainer_spec, f"{name}_id", number)
    model.trainer_spec.vocab_size = size
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = True
    for name in ("<pad>", "<s>", "</s>"):
        model.pieces.add(piece=name, type=piece.CONTROL)
    model.pieces.add(piece="<unk>", type=piece.UNKNOWN)
    for kind, names in (("task", TASKS), ("lang", languages), ("time", range(times))):
        for name in names:
            model.pieces.add(piece=f"<{kind}:{name}>", type=piece.CONTROL)
    for byte in range(256):
        model.pieces.add(piece=f"<0x{byte:02X}>", type=piece.BYTE)
    if (left := size - len(model.pieces)) < 1:
        raise VocabularyError(f"compile.vocabulary = {size}: at least {len(model.pieces) + 1} pieces are reserved")
    model.pieces.add(piece="\u2581", type=piece.NORMAL)
    for number in range(left - 1):  # of the private use area, which no text needs
        text = chr(0xF0000 + number // 60_000) + chr(0xF0000 + number % 60_000)
        model.pieces.add(piece=text, type=piece.NORMAL, score=-float(number))
    return Vocabulary(model.SerializeToString(), "a stand-in for a vocabulary")
