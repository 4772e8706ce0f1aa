"""n-grams of all sentences at once, as numpy arrays: what BLEU and CIDEr count.

Sentences are numbered: first one prediction for each item, then all references, item by item.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Tokens = Sequence[str]


@dataclass(frozen=True)
class Corpus:
    """Token ids of all sentences, end to end.

    Attributes:
      tokens: int64 [words]; sentence: int64 [words], which sentence each word is of.
      lengths: int64 [sentences]; item: int64 [sentences], which item each sentence is of.
      items: how many items; the sentences below it are the predictions.
      words: the word of each token id.
    """

    tokens: np.ndarray
    sentence: np.ndarray
    lengths: np.ndarray
    item: np.ndarray
    items: int
    words: list[str]

    @classmethod
    def of(cls, predictions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> "Corpus":
        sentences = [*predictions, *(reference for group in references for reference in group)]
        # A no-break space inside a token parts words here, as it does in pycocoevalcap's str.split().
        sentences = [
            " ".join(tokens).split() if any("\u00a0" in token for token in tokens) else tokens for tokens in sentences
        ]
        ids: dict[str, int] = {}
        tokens = np.fromiter((ids.setdefault(token, len(ids)) for tokens in sentences for token in tokens), np.int64)
        lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
        item = np.concatenate(
            [np.arange(len(predictions)), np.repeat(np.arange(len(references)), [len(group) for group in references])]
        )
        return cls(tokens, np.repeat(np.arange(len(sentences)), lengths), lengths, item, len(predictions), list(ids))


@dataclass(frozen=True)
class Grams:
    """The distinct n-grams of each sentence, for one n, ordered by sentence.

    Attributes:
      sentence, gram, count: int64 [entries]; gram is below `size`.
      shorter, last: int64 [size], the (n - 1)-gram and the word that an n-gram is made of; empty for n = 1.
    """

    sentence: np.ndarray
    gram: np.ndarray
    count: np.ndarray
    size: int
    shorter: np.ndarray
    last: np.ndarray


def grams(corpus: Corpus, longest: int = 4) -> list[Grams]:
    """n-gram counts of every sentence, for n = 1 .. longest."""
    result = []
    ids, sentence = corpus.tokens, corpus.sentence
    base = int(ids.max()) + 1 if len(ids) else 1
    pairs = np.zeros(0, np.int64)
    for n in range(1, longest + 1):
        if n > 1:
            # An n-gram is an (n - 1)-gram and the next word, where both are of one sentence.
            inside = sentence[: len(sentence) - 1] == corpus.sentence[n - 1 :]
            ids = (ids[:-1] * base + corpus.tokens[n - 1 :])[inside] if len(ids) else ids
            starts = np.flatnonzero(inside)
            whole = np.full(max(len(sentence) - 1, 0), -1, np.int64)
            pairs, compact = np.unique(ids, return_inverse=True)
            whole[starts] = compact
            sentence = np.where(inside, sentence[: len(sentence) - 1], -1)
            ids, size = whole, max(len(pairs), 1)
        else:
            size = base
        real = sentence >= 0
        keys, count = np.unique(sentence[real] * size + ids[real], return_counts=True)
        result.append(Grams(keys // size, keys % size, count, size, pairs // base, pairs % base))
    return result


def texts(corpus: Corpus, counts: list[Grams]) -> list[list[str]]:
    """The n-grams themselves, for each n: words with spaces between, in the order of their numbers."""
    result = [corpus.words]
    for grams in counts[1:]:
        shorter = result[-1]
        result.append(
            [
                f"{shorter[i]} {corpus.words[j]}"
                for i, j in zip(grams.shorter.tolist(), grams.last.tolist(), strict=True)
            ]
        )
    return result


def distinct(keys: np.ndarray) -> np.ndarray:
    """Sorted, each once: `np.unique` without its hash table, which is slower than sorting when most keys differ."""
    keys = np.sort(keys)
    return keys[np.append(True, keys[1:] != keys[:-1])] if len(keys) else keys


def match(keys: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For sorted `table`: (which of `keys` are in it, where)."""
    if not len(table):
        return np.zeros(len(keys), bool), np.zeros(len(keys), np.int64)
    at = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return table[at] == keys, at
