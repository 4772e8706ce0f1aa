"""n-grams of all sentences at once, as numpy arrays.

Sentences are numbered: first one hypothesis for each item, then all references, item by item.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from capjax.metrics.ragged import ranges

Tokens = Sequence[str]

MAX_ORDER = 4  # longest n-gram of BLEU and CIDEr


def ngrams(words: Tokens, n: int) -> Iterator[tuple[str, ...]]:
    """Yields the n-grams of a sentence in order, repetitions included."""
    return zip(*(words[start:] for start in range(n)), strict=False)


@dataclass(frozen=True)
class Corpus:
    """Hypotheses and references as token ids, concatenated.

    Attributes:
      tokens: int64 [tokens].
      sentence: int64 [tokens], the sentence of each token.
      lengths: int64 [sentences], in tokens.
      item: int64 [sentences], the item of each sentence.
      items: number of items; sentences with a number below it are the hypotheses.
      words: the word of each token id.
    """

    tokens: np.ndarray
    sentence: np.ndarray
    lengths: np.ndarray
    item: np.ndarray
    items: int
    words: list[str]

    @classmethod
    def of(cls, hypotheses: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> "Corpus":
        """Numbers the words of hypotheses and of each item's references."""
        sentences = [*hypotheses, *(reference for group in references for reference in group)]
        # A no-break space inside a token separates words, as in pycocoevalcap's str.split().
        sentences = [
            " ".join(tokens).split() if any("\u00a0" in token for token in tokens) else tokens for tokens in sentences
        ]
        ids: dict[str, int] = {}
        tokens = np.fromiter((ids.setdefault(token, len(ids)) for tokens in sentences for token in tokens), np.int64)
        lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
        item = np.concatenate(
            [np.arange(len(hypotheses)), np.repeat(np.arange(len(references)), [len(group) for group in references])]
        )
        return cls(tokens, np.repeat(np.arange(len(sentences)), lengths), lengths, item, len(hypotheses), list(ids))


@dataclass(frozen=True)
class NgramCounts:
    """The distinct n-grams of each sentence for one n, ordered by sentence, then by n-gram.

    Attributes:
      sentence, gram, count: int64 [entries]; gram is less than `size`.
      shorter, last: int64 [size], the (n - 1)-gram and the word that make up each n-gram; empty for n = 1.
    """

    sentence: np.ndarray
    gram: np.ndarray
    count: np.ndarray
    size: int
    shorter: np.ndarray
    last: np.ndarray

    def of_sentences(self, sentences: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the entries of the sentences with these numbers: (index into `sentences`, n-gram, count)."""
        start, stop = np.searchsorted(self.sentence, [sentences, sentences + 1])
        index = np.repeat(np.arange(len(sentences)), stop - start)
        entries = ranges(start, stop - start)
        return index, self.gram[entries], self.count[entries]


def count_ngrams(corpus: Corpus, longest: int = MAX_ORDER) -> list[NgramCounts]:
    """Counts the n-grams of every sentence for n = 1 .. longest."""
    result = []
    ids, sentence = corpus.tokens, corpus.sentence
    base = int(ids.max()) + 1 if len(ids) else 1
    pairs = np.zeros(0, np.int64)
    for n in range(1, longest + 1):
        if n > 1:
            # An n-gram is an (n - 1)-gram and the next word of the same sentence.
            inside = sentence[: len(sentence) - 1] == corpus.sentence[n - 1 :]
            ids = (ids[:-1] * base + corpus.tokens[n - 1 :])[inside] if len(ids) else ids
            starts = np.flatnonzero(inside)
            numbers = np.full(max(len(sentence) - 1, 0), -1, np.int64)
            pairs, compact = np.unique(ids, return_inverse=True)
            numbers[starts] = compact
            sentence = np.where(inside, sentence[: len(sentence) - 1], -1)
            ids, size = numbers, max(len(pairs), 1)
        else:
            size = base
        is_ngram = sentence >= 0
        keys, count = np.unique(sentence[is_ngram] * size + ids[is_ngram], return_counts=True)
        result.append(NgramCounts(keys // size, keys % size, count, size, pairs // base, pairs % base))
    return result


def ngram_texts(corpus: Corpus, counts: list[NgramCounts]) -> list[list[str]]:
    """Returns the text of each n-gram by its number, words separated by spaces, for each n."""
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
