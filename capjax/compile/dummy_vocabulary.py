"""A vocabulary without words, for compiling: a program depends on the vocabulary's size and reserved tokens alone."""

from collections.abc import Sequence

from capjax.text.vocabulary import Vocabulary, VocabularyError, control_pieces, make_model

# Tokens that SentencePiece adds: padding, beginning, end and unknown, all bytes, and two of the text that it trains on.
_ADDED = 4 + 256 + 2


def dummy_vocabulary(size: int, *, languages: Sequence[str], times: int = 0) -> Vocabulary:
    """Returns a vocabulary of `size` tokens, with tokens for these languages and this number of time tokens.

    Raises:
      VocabularyError: `size` has no room for the reserved tokens.
    """
    control = control_pieces(languages, times)
    if (left := size - len(control) - _ADDED) < 0:
        raise VocabularyError(f"compile.vocabulary = {size}: at least {size - left} tokens are reserved")
    # Of the private use area: no text contains them.
    pieces = [chr(0xF0000 + number // 60_000) + chr(0xF0000 + number % 60_000) for number in range(left)]
    return Vocabulary(make_model(["a"], control, "bpe", size, pieces=pieces), "a dummy vocabulary")
