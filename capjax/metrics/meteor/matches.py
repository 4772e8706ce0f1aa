"""Matches between words of a hypothesis and words of a reference.

Denkowski & Lavie, "Meteor 1.3" (2011), section 2.1: words match exactly, by stem or by synonym set, and phrases by the
paraphrase table. Matches are in the order of the program, which decides between alignments with equal scores.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from capjax.metrics.meteor.resources import Resources
from capjax.metrics.ragged import group, look_up, offsets, ranges

EXACT, STEM, SYNONYM, PARAPHRASE = range(4)


class WordIndex:
    """Numbers words and holds METEOR's data on each. Words are added when they are first looked up."""

    def __init__(self, resources: Resources):
        self._resources = resources
        self._numbers: dict[str, int] = {}
        self._stems: dict[str, int] = {}
        self._facts: list[tuple[int, frozenset[int], bool, int]] = []

    def numbers(self, words: Iterable[str]) -> list[int]:
        """Returns the number of each word."""
        numbers = self._numbers
        return [numbers[word] if word in numbers else self._add(word) for word in words]

    def _add(self, word: str) -> int:
        stem, meanings, is_function, number = self._resources.word(word)
        self._facts.append((self._stems.setdefault(stem, len(self._stems)), meanings, is_function, number))
        return self._numbers.setdefault(word, len(self._numbers))

    def facts(self, words: np.ndarray) -> list[tuple[int, frozenset[int], bool, int]]:
        """Returns stem, synonym sets, whether a function word, and number in the paraphrase table (or -1) of words."""
        return [self._facts[word] for word in words.tolist()]


@dataclass(frozen=True, eq=False)
class Sentences:
    """Sentences as numbers of words.

    Attributes:
      words: int64 [words], all sentences concatenated.
      starts: int64 [sentences + 1], the offset of each sentence, and the end.
    """

    words: np.ndarray
    starts: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Words of each sentence, int64 [sentences]."""
        return np.diff(self.starts)

    @property
    def owners(self) -> np.ndarray:
        """The sentence of each word, int64 [words]."""
        return np.repeat(np.arange(len(self.starts) - 1), self.lengths)


@dataclass(frozen=True, eq=False)
class Matches:
    """Matches within pairs of a hypothesis and a reference, ordered by pair, position in the reference, order of trial.

    Attributes (all int64 [matches]):
      pair: the pair, which is the number of the reference.
      start, length: position and number of the matched words of the reference.
      hypothesis_start, hypothesis_length: the same of the hypothesis.
      module: EXACT to PARAPHRASE.
    """

    pair: np.ndarray
    start: np.ndarray
    length: np.ndarray
    hypothesis_start: np.ndarray
    hypothesis_length: np.ndarray
    module: np.ndarray

    def select(self, which: np.ndarray) -> "Matches":
        """Returns some of the matches, by index or mask."""
        return Matches(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def concatenate(rows: Sequence[Sequence[int]]) -> Sentences:
    """Concatenates rows of word numbers."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    flat = np.fromiter((word for row in rows for word in row), np.int64, lengths.sum())
    return Sentences(flat, offsets(lengths))


def find_matches(
    hypotheses: Sentences,
    references: Sentences,
    item: np.ndarray,
    identical: np.ndarray,
    facts: Sequence[tuple[int, frozenset[int], bool, int]],
    resources: Resources,
) -> Matches:
    """Returns all matches of each reference with the hypothesis of its item.

    Args:
      item: int64 [references], the number of the hypothesis.
      identical: bool [references], whether the reference equals the hypothesis; then only exact matches are taken.
      facts: data on each word; see `WordIndex.facts`.
    """
    owner = references.owners
    position = np.arange(len(references.words)) - references.starts[owner]
    hypothesis_position = np.arange(len(hypotheses.words)) - hypotheses.starts[hypotheses.owners]
    heads, tails, modules = _related(facts)
    word, relation, other = _join(
        item[owner], references.words, heads, tails, hypotheses.owners, hypotheses.words, len(facts)
    )
    ones = np.ones(len(word), np.int64)
    word_matches = (owner[word], position[word], ones, hypothesis_position[other], ones, modules[relation],
                    modules[relation], hypothesis_position[other], 0 * ones, 0 * ones)  # fmt: skip
    parts = [word_matches, *_paraphrases(hypotheses, references, item, facts, resources)]
    *columns, stage, first, second, third = map(np.concatenate, zip(*parts, strict=True))
    order = np.lexsort((third, second, first, stage, columns[1], columns[0]))
    matches = Matches(*(column[order] for column in columns))
    return matches.select((matches.module == EXACT) | ~identical[matches.pair])


def _related(facts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns pairs of words that match, ordered by the first: words, words, modules EXACT to SYNONYM."""
    words = np.arange(len(facts))
    stems = np.fromiter((stem for stem, *_ in facts), np.int64, len(facts))
    counts = np.fromiter((len(meanings) for _, meanings, *_ in facts), np.int64, len(facts))
    meanings = np.fromiter((m for _, meanings, *_ in facts for m in meanings), np.int64, counts.sum())
    same_stem, synonyms = _pairs(stems, words), _pairs(meanings, np.repeat(words, counts))
    heads, tails = (np.concatenate([words, *sides]) for sides in zip(same_stem, synonyms, strict=True))
    modules = np.repeat([EXACT, STEM, SYNONYM], [len(words), len(same_stem[0]), len(synonyms[0])])
    order = np.lexsort((modules, heads))
    return heads[order], tails[order], modules[order]


def _pairs(groups: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns every ordered pair of two different members of a group, once."""
    order = np.argsort(groups, kind="stable")
    _, first, counts = group(groups[order])
    members = members[order]
    lefts = np.repeat(np.arange(len(members)), np.repeat(counts, counts))
    rights = ranges(np.repeat(first, counts), np.repeat(counts, counts))
    size = int(members.max(initial=0)) + 1
    codes = np.unique(members[lefts] * size + members[rights])
    left, right = codes // size, codes % size
    return left[left != right], right[left != right]


def _join(items, values, heads, tails, other_items, other_values, size: int):
    """Joins values with other values of the same item through relations (head, tail).

    Args:
      items, values: int64 [n].
      heads, tails: int64 [relations], heads ascending.
      other_items, other_values: int64 [m].
      size: all values are less than it.

    Returns:
      Indices of the value, the relation and the other value of each match, in this order of precedence.
    """
    kinds, first, counts = group(heads)
    indices, rows = look_up(values, kinds)
    left = np.repeat(indices, counts[rows])
    relation = ranges(first[rows], counts[rows])
    keys = other_items * size + other_values
    order = np.argsort(keys, kind="stable")
    kinds, first, counts = group(keys[order])
    hits, rows = look_up(items[left] * size + tails[relation], kinds)
    counts = counts[rows]
    return np.repeat(left[hits], counts), np.repeat(relation[hits], counts), order[ranges(first[rows], counts)]


def _paraphrases(hypotheses, references, item, facts, resources) -> list[tuple[np.ndarray, ...]]:
    """Returns the columns of the matches by paraphrase and their sort keys, as `find_matches` concatenates them."""
    table = resources.paraphrases
    numbers = np.fromiter((number for *_, number in facts), np.int64, len(facts))
    owner, start, length, node = _phrases(references, numbers, table)
    other_owner, other_start, other_length, other_node = _phrases(hypotheses, numbers, table)
    parts: list[tuple[np.ndarray, ...]] = []
    # First paraphrases of phrases of the reference, then of the hypothesis.
    for stage, heads, tails in ((PARAPHRASE, node, other_node), (PARAPHRASE + 1, other_node, node)):
        heads, tails = np.unique(heads), np.unique(tails)
        indices, paraphrases = table.of(heads)
        kept, _ = look_up(paraphrases, tails)
        pairs = heads[indices[kept]], paraphrases[kept]
        rank = np.arange(len(kept))
        if stage == PARAPHRASE + 1:
            rank = np.argsort(pairs[1], kind="stable")
            pairs = pairs[1][rank], pairs[0][rank]
        phrase, relation, other = _join(item[owner], node, *pairs, other_owner, other_node, len(table.edges) + 1)
        order = length[phrase], rank[relation], other_start[other]
        if stage == PARAPHRASE + 1:
            order = other_start[other], other_length[other], rank[relation]
        ones = np.ones(len(phrase), np.int64)
        parts.append((owner[phrase], start[phrase], length[phrase], other_start[other], other_length[other],
                      PARAPHRASE * ones, stage * ones, *order))  # fmt: skip
    return parts


def _phrases(sentences: Sentences, numbers: np.ndarray, table) -> tuple[np.ndarray, ...]:
    """Returns the phrases of the table within sentences: sentence, first word, length, node; int64 [phrases] each."""
    words = numbers[sentences.words]
    owners = sentences.owners
    ends = sentences.starts[owners + 1]
    first = np.arange(len(words))
    nodes = table.children(np.zeros(len(numbers), np.int64), numbers)[sentences.words]
    parts, length = [], 1
    while True:
        first, nodes = first[nodes >= 0], nodes[nodes >= 0]
        parts.append((owners[first], first - sentences.starts[owners[first]], np.full(len(first), length), nodes))
        continues = first + length < ends[first]
        first, nodes = first[continues], nodes[continues]
        if not len(first):
            return tuple(map(np.concatenate, zip(*parts, strict=True)))
        nodes = table.children(nodes, words[first + length])
        length += 1
