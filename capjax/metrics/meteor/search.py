"""The alignment of a hypothesis and a reference: the best set of matches that do not overlap, by beam search.

As METEOR 1.5 searches: from the first word of the reference to its last, keeping the 40 partial alignments that cover
the most, then have the fewest chunks, then the least distance. Ties are broken by the order in which they were made, and
the distance of a match counts for the alignments made after it, not for its own: so does the program.

All pairs advance by a word at a time together, each partial alignment being a row of flat arrays.
"""

from dataclasses import dataclass

import numpy as np

from capjax.metrics.meteor.matches import EXACT, Matches
from capjax.metrics.meteor.ragged import group, ranges, starts_of

BEAM = 40
_BITS = 64


@dataclass(frozen=True, eq=False)
class Alignments:
    """Attributes:
    chosen: places of the matches that were chosen, of all pairs, in no order.
    chunks: int64 [pairs], runs of matches that are adjacent and in the same order on both sides.
    """

    chosen: np.ndarray
    chunks: np.ndarray


class _States:
    """Partial alignments, sorted by pair. One array each, int64 [states] (`used`: uint64 [states, words])."""

    NAMES = ("pair", "score", "chunks", "next", "end", "distance", "node", "used")

    def __init__(self, *arrays):
        self.pair, self.score, self.chunks, self.next, self.end, self.distance, self.node, self.used = arrays

    def take(self, which) -> "_States":
        return _States(*(getattr(self, name)[which] for name in self.NAMES))

    @staticmethod
    def join(parts: list["_States"]) -> "_States":
        return _States(*(np.concatenate([getattr(part, name) for part in parts]) for name in _States.NAMES))

    def best(self, limit: int) -> "_States":
        """At most so many of each pair, the best first."""
        order = np.lexsort((self.distance, self.chunks, -self.score, self.pair))
        pair = self.pair[order]
        _, first, counts = group(pair)
        rank = np.arange(len(pair)) - np.repeat(first, counts)
        return self.take(order[rank < limit])

    def close(self):
        """Ends the chunk that is open, if one is."""
        self.chunks = self.chunks + (self.end >= 0)
        self.end = np.full_like(self.end, -1)


def align(matches: Matches, hypothesis_lengths: np.ndarray, reference_lengths: np.ndarray) -> Alignments:
    """The best alignment of each pair.

    Args:
      hypothesis_lengths, reference_lengths: int64 [pairs], in words.
    """
    fixed = _fixed(matches, hypothesis_lengths, reference_lengths)
    pairs, longest = len(reference_lengths), int(reference_lengths.max(initial=0))
    starts = starts_of(reference_lengths)
    # Of each word of each reference: where its matches begin, how many; and whether the one is definite.
    counts = np.bincount(starts[matches.pair] + matches.start, minlength=starts[-1])
    firsts = starts_of(counts)
    definite = np.zeros(starts[-1], bool)
    definite[(starts[matches.pair] + matches.start)[fixed]] = True
    gain = np.where(matches.module == EXACT, matches.length + matches.hypothesis_length,
                    matches.length // 2 + matches.hypothesis_length // 2)  # fmt: skip
    distance = np.abs(matches.start - matches.hypothesis_start)
    masks = _masks(matches, hypothesis_lengths)

    zeros = np.zeros(pairs, np.int64)
    states = _States(np.arange(pairs), zeros, zeros, zeros, zeros - 1, zeros, zeros - 1,
                     np.zeros((pairs, masks.shape[1]), np.uint64))  # fmt: skip
    parents, taken, done = [], [], []
    nodes = 0
    for current in range(longest + 1):
        states = states.best(BEAM)
        over = reference_lengths[states.pair] == current
        if over.any():
            done.append(states.take(over))
            states = states.take(~over)
        word = starts[states.pair] + current
        waiting = states.next > current
        branching = ~(waiting | definite[word])
        # Every state goes on as it is, or without a match of this word, after those with one.
        number = np.where(branching, counts[word], 0)
        parent = np.repeat(np.arange(len(word)), number + 1)
        choice = ranges(np.zeros(len(word), np.int64), number + 1)
        is_match = choice < number[parent]
        match = np.where(is_match | definite[word][parent], firsts[word][parent] + choice, 0)
        free = ~(is_match & (states.used[parent] & masks[match]).any(1)) if len(masks) else ~is_match
        parent, match, is_match = parent[free], match[free], is_match[free]
        matched = is_match | (~waiting & definite[word])[parent]
        skipped = ~matched & ~waiting[parent]

        new = states.take(parent)
        if len(masks):
            added = np.where(matched, distance[match], 0)
            sums = np.cumsum(np.where(is_match, added, 0))
            first = np.flatnonzero(np.concatenate([[True], parent[1:] != parent[:-1]])) if len(parent) else parent
            before = np.concatenate([[0], sums])[first][np.cumsum(np.isin(np.arange(len(parent)), first)) - 1]
            new.distance = new.distance + np.where(is_match, np.concatenate([[0], sums[:-1]]) - before, sums - before)
            new.distance += np.where(matched & ~is_match, added, 0)
            new.score = new.score + np.where(matched, gain[match], 0)
            broken = matched & (new.end >= 0) & (matches.hypothesis_start[match] != new.end)
            new.chunks = new.chunks + (broken | (skipped & (new.end >= 0)))
            ends = matches.hypothesis_start[match] + matches.hypothesis_length[match]
            new.end = np.where(matched, ends, np.where(skipped, -1, new.end))
            new.next = np.where(matched, current + matches.length[match], np.where(skipped, current + 1, new.next))
            new.used = np.where(is_match[:, None], new.used | masks[match], new.used)
            made = np.flatnonzero(is_match)
            parents.append(new.node[made])
            taken.append(match[made])
            new.node = new.node.copy()
            new.node[made] = nodes + np.arange(len(made))
            nodes += len(made)
        else:
            new.next = np.full_like(new.next, current + 1)
        states = new
    final = _States.join(done)
    final.close()
    final = final.best(1)
    chosen = [np.flatnonzero(fixed)]
    if nodes:
        parents, taken = np.concatenate(parents), np.concatenate(taken)
        node = final.node[final.node >= 0]
        while len(node):
            chosen.append(taken[node])
            node = parents[node]
            node = node[node >= 0]
    return Alignments(np.concatenate(chosen), final.chunks)


def _fixed(matches: Matches, hypothesis_lengths, reference_lengths) -> np.ndarray:
    """Matches that no other touches: they are part of every alignment. bool [matches]."""
    alone = np.ones(len(matches.pair), bool)
    for lengths, begin, length in ((reference_lengths, matches.start, matches.length),
                                   (hypothesis_lengths, matches.hypothesis_start, matches.hypothesis_length)):  # fmt: skip
        starts = starts_of(lengths)
        rows = np.repeat(np.arange(len(length)), length)
        words = ranges(starts[matches.pair] + begin, length)
        covered = np.bincount(words, minlength=starts[-1])
        alone[rows[covered[words] > 1]] = False
    return alone


def _masks(matches: Matches, hypothesis_lengths) -> np.ndarray:
    """The words of the hypothesis that each match takes, as bits: uint64 [matches, numbers]."""
    width = max(1, -(-int(hypothesis_lengths.max(initial=1)) // _BITS))
    masks = np.zeros((len(matches.pair), width), np.uint64)
    rows = np.repeat(np.arange(len(matches.pair)), matches.hypothesis_length)
    words = ranges(matches.hypothesis_start, matches.hypothesis_length)
    np.bitwise_or.at(masks, (rows, words // _BITS), np.uint64(1) << (words % _BITS).astype(np.uint64))
    return masks
