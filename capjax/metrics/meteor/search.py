"""The alignment of a hypothesis and a reference: the best set of matches that do not overlap, by beam search.

As METEOR 1.5 searches: from the first word of the reference to its last, keeping the 40 partial alignments that cover
the most, then have the fewest chunks, then the least distance. Ties are broken by the order in which they were made,
and the distance of a match counts for the alignments made after it, not for its own: so does the program.

All pairs advance by a word at a time together, each partial alignment being a row of flat arrays.
"""

from dataclasses import dataclass

import numpy as np

from capjax.metrics.meteor.matches import EXACT, Matches
from capjax.metrics.ragged import group, offsets, ranges

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


def align(matches: Matches, hypothesis_lengths: np.ndarray, reference_lengths: np.ndarray) -> Alignments:
    """The best alignment of each pair.

    Args:
      hypothesis_lengths, reference_lengths: int64 [pairs], in words.
    """
    board = _board(matches, hypothesis_lengths, reference_lengths)
    states = _start(len(reference_lengths), board.masks.shape[1])
    # The matches that were taken, each with the one before it in its alignment, or -1.
    taken, before, done = [], [], []
    count = 0
    for current in range(int(reference_lengths.max(initial=0)) + 1):
        states = _best(states, BEAM)
        over = reference_lengths[states.pair] == current
        done.append(states.take(over))
        states, match = _advance(states.take(~over), board, current)
        new = np.flatnonzero(match >= 0)
        taken.append(match[new])
        before.append(states.last[new])
        states.last[new] = count + np.arange(len(new))
        count += len(new)
    final = _States.join(done)
    final.chunks += final.end >= 0
    final = _best(final, 1)

    taken, before = np.concatenate(taken), np.concatenate(before)
    chosen, last = [np.flatnonzero(board.fixed)], final.last
    while len(last := last[last >= 0]):
        chosen.append(taken[last])
        last = before[last]
    return Alignments(np.concatenate(chosen), final.chunks)


@dataclass(eq=False)
class _States:
    """Partial alignments, sorted by pair; int64 [states] each.

    Attributes:
      score: words covered, on both sides, matches other than exact counting half; chunks: those that have ended.
      next: the first word of the reference that is not yet decided.
      end: the word of the hypothesis after the last match, if that ended just before `next`; else -1.
      distance: of matches tried, in words.
      last: the match taken last, of those that are not fixed, or -1.
      used: uint64 [states, width], the words of the hypothesis in matches that were taken.
    """

    pair: np.ndarray
    score: np.ndarray
    chunks: np.ndarray
    next: np.ndarray
    end: np.ndarray
    distance: np.ndarray
    last: np.ndarray
    used: np.ndarray

    def take(self, which: np.ndarray) -> "_States":
        return _States(*(array[which] for array in vars(self).values()))

    @staticmethod
    def join(parts: list["_States"]) -> "_States":
        return _States(*map(np.concatenate, zip(*(vars(part).values() for part in parts), strict=True)))


def _start(pairs: int, width: int) -> _States:
    zeros = np.zeros(pairs, np.int64)
    return _States(
        np.arange(pairs), zeros, zeros, zeros, zeros - 1, zeros, zeros - 1, np.zeros((pairs, width), np.uint64)
    )


def _best(states: _States, limit: int) -> _States:
    """At most so many of each pair, the best first; the order stays where they are alike."""
    keys = (states.distance, states.chunks, states.score.max(initial=0) - states.score, states.pair)
    sizes = [int(key.max(initial=0)).bit_length() for key in keys]
    if sum(sizes) < _BITS:
        code, shift = keys[0], 0
        for key, size in zip(keys[1:], sizes, strict=False):
            shift += size
            code = code | (key << shift)
        order = np.argsort(code, kind="stable")
    else:
        order = np.lexsort(keys)
    _, first, counts = group(states.pair[order])
    rank = np.arange(len(order)) - np.repeat(first, counts)
    return states.take(order[rank < limit])


@dataclass(frozen=True, eq=False)
class _Board:
    """What the search looks up. Of each match, and of none in the last place: int64 [matches + 1].

    Attributes:
      gain: what it adds to the score; distance, in words; start, end: of its words in the hypothesis; length: in the
        reference.
      masks: uint64 [matches + 1, width], its words in the hypothesis as bits.
      fixed: bool [matches], whether it is part of every alignment.
      words: int64 [pairs], where each reference's words begin in
      first, count: int64 [words], its matches; definite: bool [words], whether the one is fixed.
    """

    gain: np.ndarray
    distance: np.ndarray
    start: np.ndarray
    end: np.ndarray
    length: np.ndarray
    masks: np.ndarray
    fixed: np.ndarray
    words: np.ndarray
    first: np.ndarray
    count: np.ndarray
    definite: np.ndarray


def _board(matches: Matches, hypothesis_lengths: np.ndarray, reference_lengths: np.ndarray) -> _Board:
    starts = offsets(reference_lengths)
    words = starts[matches.pair] + matches.start
    counts = np.bincount(words, minlength=starts[-1])
    fixed = _fixed(matches, hypothesis_lengths, reference_lengths)
    definite = np.zeros(starts[-1], bool)
    definite[words[fixed]] = True
    length, own = matches.length, matches.hypothesis_length
    gain = np.where(matches.module == EXACT, length + own, length // 2 + own // 2)
    start = matches.hypothesis_start
    columns = (gain, np.abs(matches.start - start), start, start + own, length)
    return _Board(
        *(np.append(column, 0) for column in columns), _masks(matches, hypothesis_lengths), fixed,
        starts, offsets(counts)[:-1], counts, definite,
    )  # fmt: skip


def _advance(states: _States, board: _Board, current: int) -> tuple[_States, np.ndarray]:
    """Decides on the current word of the references in every way that a state allows.

    Returns:
      The new states, those of a state together: first with each match that is free, then without one. And the match
      that each took, -1 where none or a fixed one.
    """
    word = board.words[states.pair] + current
    waiting = states.next > current  # within a match of several words
    definite = board.definite[word] & ~waiting
    branches = np.where(waiting | definite, 0, board.count[word])
    parent = np.repeat(np.arange(len(word)), branches + 1)
    choice = ranges(np.zeros(len(word), np.int64), branches + 1)
    tries = choice < branches[parent]
    match = np.where(tries | definite[parent], board.first[word][parent] + choice, len(board.fixed))
    free = ~(tries & (states.used[parent] & board.masks[match]).any(1))
    parent, match, tries = parent[free], match[free], tries[free]

    new = states.take(parent)
    matched = match < len(board.fixed)
    skipped = ~matched & ~waiting[parent]
    # A match counts its distance for the alternatives after it; a fixed one, which has none, for itself.
    distance = board.distance[match]
    tried = np.where(tries, distance, 0)
    sums = np.cumsum(tried) - tried
    _, first, counts = group(parent)
    new.distance += sums - np.repeat(sums[first], counts) + (distance - tried)
    new.score += board.gain[match]
    broken = (new.end >= 0) & (skipped | (matched & (board.start[match] != new.end)))
    new.chunks += broken
    new.end = np.where(matched, board.end[match], np.where(skipped, -1, new.end))
    new.next = np.where(matched, current + board.length[match], np.where(skipped, current + 1, new.next))
    new.used |= np.where(tries[:, None], board.masks[match], np.uint64(0))
    return new, np.where(tries, match, -1)


def _fixed(matches: Matches, hypothesis_lengths, reference_lengths) -> np.ndarray:
    """Matches that no other touches: they are part of every alignment. bool [matches]."""
    alone = np.ones(len(matches.pair), bool)
    sides = (
        (reference_lengths, matches.start, matches.length),
        (hypothesis_lengths, matches.hypothesis_start, matches.hypothesis_length),
    )
    for lengths, begin, length in sides:
        starts = offsets(lengths)
        rows = np.repeat(np.arange(len(length)), length)
        words = ranges(starts[matches.pair] + begin, length)
        covered = np.bincount(words, minlength=starts[-1])
        alone[rows[covered[words] > 1]] = False
    return alone


def _masks(matches: Matches, hypothesis_lengths) -> np.ndarray:
    """The words of the hypothesis that each match takes, as bits, and none: uint64 [matches + 1, width]."""
    width = max(1, -(-int(hypothesis_lengths.max(initial=1)) // _BITS))
    masks = np.zeros((len(matches.pair) + 1, width), np.uint64)
    rows = np.repeat(np.arange(len(matches.pair)), matches.hypothesis_length)
    words = ranges(matches.hypothesis_start, matches.hypothesis_length)
    np.bitwise_or.at(masks, (rows, words // _BITS), np.uint64(1) << (words % _BITS).astype(np.uint64))
    return masks
