"""Every way in which words of a hypothesis may stand for words of a reference.

Denkowski & Lavie, "Meteor 1.3" (2011), section 2.1: words match exactly, by stem, by synonym set, and phrases by the
paraphrase table. Where the program's order of matches decides between alignments of equal worth, it is kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from capjax.metrics.meteor.resources import Resources
from capjax.metrics.ragged import group, look_up, offsets, ranges

EXACT, STEM, SYNONYM, PARAPHRASE = range(4)


class Vocabulary:
    """Words as numbers, and what METEOR knows of each. It grows as words are met."""

    def __init__(self, resources: Resources):
        self._resources = resources
        self._numbers: dict[str, int] = {}
        self._stems: dict[str, int] = {}
        self._facts: list[tuple[int, frozenset[int], bool, int]] = []

    def numbers(self, words: Iterable[str]) -> list[int]:
        """The number of each word."""
        known = self._numbers
        return [known[word] if word in known else self._add(word) for word in words]

    def _add(self, word: str) -> int:
        stem, meanings, is_function, number = self._resources.word(word)
        self._facts.append((self._stems.setdefault(stem, len(self._stems)), meanings, is_function, number))
        return self._numbers.setdefault(word, len(self._numbers))

    def facts(self, words: np.ndarray) -> list[tuple[int, frozenset[int], bool, int]]:
        """Stem, synonym sets, whether a function word, number in the paraphrase table or -1; of each word."""
        return [self._facts[word] for word in words.tolist()]


@dataclass(frozen=True, eq=False)
class Sentences:
    """Sentences as words of a small vocabulary: int64 [words] one after the other, and where each begins."""

    words: np.ndarray
    starts: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)

    @property
    def owners(self) -> np.ndarray:
        """The sentence of each word."""
        return np.repeat(np.arange(len(self.starts) - 1), self.lengths)


@dataclass(frozen=True, eq=False)
class Matches:
    """Matches of pairs of a hypothesis and a reference, sorted by pair, place in the reference, order of trial.

    Attributes, all int64 [matches]:
      pair: the row of the reference.
      start, length: words of the reference, from its first.
      hypothesis_start, hypothesis_length: words of the hypothesis.
      module: EXACT to PARAPHRASE.
    """

    pair: np.ndarray
    start: np.ndarray
    length: np.ndarray
    hypothesis_start: np.ndarray
    hypothesis_length: np.ndarray
    module: np.ndarray

    def select(self, which: np.ndarray) -> "Matches":
        return Matches(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def sentences(rows: Sequence[Sequence[int]]) -> Sentences:
    """Rows of word numbers as one array."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    flat = np.fromiter((word for row in rows for word in row), np.int64, lengths.sum())
    return Sentences(flat, offsets(lengths))


def find(
    hypotheses: Sentences,
    references: Sentences,
    item: np.ndarray,
    identical: np.ndarray,
    facts: Sequence[tuple[int, frozenset[int], bool, int]],
    resources: Resources,
) -> Matches:
    """All matches of each reference with the hypothesis of its item.

    Args:
      item: int64 [references], the row of its hypothesis.
      identical: bool [references]: it equals its hypothesis, of which then only exact matches are taken.
      facts: of each word of the sentences: see `Vocabulary.facts`.
    """
    owner = references.owners
    places = np.arange(len(references.words)) - references.starts[owner]
    own_places = np.arange(len(hypotheses.words)) - hypotheses.starts[hypotheses.owners]
    heads, tails, modules = _related(facts)
    word, relation, other = _join(
        item[owner], references.words, heads, tails, hypotheses.owners, hypotheses.words, len(facts)
    )
    ones = np.ones(len(word), np.int64)
    parts = [(owner[word], places[word], ones, own_places[other], ones, modules[relation], modules[relation],
              own_places[other], 0 * ones, 0 * ones)]  # fmt: skip
    parts += _paraphrases(hypotheses, references, item, facts, resources)
    *columns, stage, first, second, third = map(np.concatenate, zip(*parts, strict=True))
    order = np.lexsort((third, second, first, stage, columns[1], columns[0]))
    matches = Matches(*(column[order] for column in columns))
    return matches.select((matches.module == EXACT) | ~identical[matches.pair])


def _related(facts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of words that match by module EXACT, STEM or SYNONYM: words, words, modules; by first word."""
    words = np.arange(len(facts))
    stems = np.fromiter((stem for stem, *_ in facts), np.int64, len(facts))
    counts = np.fromiter((len(meanings) for _, meanings, *_ in facts), np.int64, len(facts))
    meanings = np.fromiter((m for _, meanings, *_ in facts for m in meanings), np.int64, counts.sum())
    stemmed, alike = _pairs(stems, words), _pairs(meanings, np.repeat(words, counts))
    heads, tails = (np.concatenate([words, *sides]) for sides in zip(stemmed, alike, strict=True))
    modules = np.repeat([EXACT, STEM, SYNONYM], [len(words), len(stemmed[0]), len(alike[0])])
    order = np.lexsort((modules, heads))
    return heads[order], tails[order], modules[order]


def _pairs(groups: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every ordered pair of two different members of a group, once."""
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
    """Where a value of an item is a head whose tail is among the other values of that item.

    Args:
      items, values: int64 [n]; other_items, other_values: int64 [m]; values are less than `size`.
      heads, tails: int64 [relations], heads ascending.

    Returns:
      Places in the values, among the relations, and in the other values; in this order.
    """
    kinds, first, counts = group(heads)
    places, rows = look_up(values, kinds)
    left = np.repeat(places, counts[rows])
    relation = ranges(first[rows], counts[rows])
    keys = other_items * size + other_values
    order = np.argsort(keys, kind="stable")
    kinds, first, counts = group(keys[order])
    hits, rows = look_up(items[left] * size + tails[relation], kinds)
    counts = counts[rows]
    return np.repeat(left[hits], counts), np.repeat(relation[hits], counts), order[ranges(first[rows], counts)]


def _paraphrases(hypotheses, references, item, facts, resources) -> list[tuple[np.ndarray, ...]]:
    """Columns of the matches by paraphrase, and what they are to be sorted by: as `find` puts them together."""
    table = resources.paraphrases
    numbers = np.fromiter((number for *_, number in facts), np.int64, len(facts))
    owner, start, length, node = _phrases(references, numbers, table)
    own, own_start, own_length, own_node = _phrases(hypotheses, numbers, table)
    parts = []
    # Paraphrases of what the reference says, then of what the hypothesis says.
    for stage, heads, tails in ((PARAPHRASE, node, own_node), (PARAPHRASE + 1, own_node, node)):
        heads, tails = np.unique(heads), np.unique(tails)
        places, found = table.of(heads)
        kept, _ = look_up(found, tails)
        pairs = heads[places[kept]], found[kept]
        rank = np.arange(len(kept))
        if stage == PARAPHRASE + 1:
            rank = np.argsort(pairs[1], kind="stable")
            pairs = pairs[1][rank], pairs[0][rank]
        phrase, relation, other = _join(item[owner], node, *pairs, own, own_node, len(table.edges) + 1)
        by = length[phrase], rank[relation], own_start[other]
        if stage == PARAPHRASE + 1:
            by = own_start[other], own_length[other], rank[relation]
        whole = np.full(len(phrase), 1)
        parts.append((owner[phrase], start[phrase], length[phrase], own_start[other], own_length[other],
                      PARAPHRASE * whole, stage * whole, *by))  # fmt: skip
    return parts


def _phrases(sentences: Sentences, numbers: np.ndarray, table) -> tuple[np.ndarray, ...]:
    """Phrases of the table within sentences: sentence, first word, length, node; int64 [phrases] each."""
    words = numbers[sentences.words]
    owners = sentences.owners
    ends = sentences.starts[owners + 1]
    at = np.arange(len(words))
    nodes = table.children(np.zeros(len(numbers), np.int64), numbers)[sentences.words]
    found, length = [], 1
    while True:
        at, nodes = at[nodes >= 0], nodes[nodes >= 0]
        found.append((owners[at], at - sentences.starts[owners[at]], np.full(len(at), length), nodes))
        more = at + length < ends[at]
        at, nodes = at[more], nodes[more]
        if not len(at):
            return tuple(map(np.concatenate, zip(*found, strict=True)))
        nodes = table.children(nodes, words[at + length])
        length += 1
