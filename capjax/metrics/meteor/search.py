"""The alignment of a hypothesis and a reference: the best set of matches that do not overlap, by beam search.

As in METEOR 1.5, the search goes from the first word of the reference to its last and keeps the 40 partial alignments
that cover most words; among these, those with fewest chunks, then with least distance. Two peculiarities of the program
are kept: ties are broken by the order of creation, and the distance of a match counts for the alignments created after
its own, not for its own.

All pairs advance together, one word at a time; each partial alignment is a row of flat arrays.
"""

from dataclasses import dataclass

import numpy as np

from capjax.metrics.meteor.matches import EXACT, Matches
from capjax.metrics.ragged import group, offsets, ranges

BEAM = 40
_BITS = 64


@dataclass(frozen=True, eq=False)
class Alignments:
    """The best alignments of pairs of a hypothesis and a reference.

    Attributes:
      chosen: indices of the chosen matches of all pairs, unordered.
      chunks: int64 [pairs], number of runs of matches that are adjacent and in the same order on both sides.
    """

    chosen: np.ndarray
    chunks: np.ndarray


def align(matches: Matches, hypothesis_lengths: np.ndarray, reference_lengths: np.ndarray) -> Alignments:
    """Finds the best alignment of each pair.

    Args:
      matches: the matches of all pairs.
      hypothesis_lengths, reference_lengths: int64 [pairs], in words.
    """
    tables = _tables(matches, hypothesis_lengths, reference_lengths)
    states = _start(len(reference_lengths), tables.masks.shape[1])
    # The matches taken, each with the previous one of its alignment, or -1.
    taken, previous, finished = [], [], []
    count = 0
    for current in range(int(reference_lengths.max(initial=0)) + 1):
        states = _best(states, BEAM)
        is_finished = reference_lengths[states.pair] == current
        finished.append(states.take(is_finished))
        states, match = _advance(states.take(~is_finished), tables, current)
        new = np.flatnonzero(match >= 0)
        taken.append(match[new])
        previous.append(states.last[new])
        states.last[new] = count + np.arange(len(new))
        count += len(new)
    final = _States.join(finished)
    final.chunks += final.end >= 0
    final = _best(final, 1)

    all_taken, all_previous = np.concatenate(taken), np.concatenate(previous)
    chosen, last = [np.flatnonzero(tables.fixed)], final.last
    while len(last := last[last >= 0]):
        chosen.append(all_taken[last])
        last = all_previous[last]
    return Alignments(np.concatenate(chosen), final.chunks)


@dataclass(eq=False)
class _States:
    """Partial alignments, sorted by pair.

    Attributes (int64 [states] unless noted):
      pair: the pair that is aligned.
      score: words covered on both sides; matches other than exact ones count half.
      chunks: number of chunks that have ended.
      next: the first undecided word of the reference.
      end: the word of the hypothesis after the last match if it ended just before `next`, else -1.
      distance: sum of the distances of matches tried, in words.
      last: the last match taken that is not fixed, or -1.
      used: uint64 [states, width], a bit for each word of the hypothesis that is matched.
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
    """Returns the `limit` best states of each pair, the best first; equal ones keep their order."""
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
class _Tables:
    """Data on matches and words that the search looks up; the last entry [matches] stands for no match.

    Attributes:
      gain: int64 [matches + 1], addition to the score.
      distance: int64 [matches + 1], between the positions in hypothesis and reference, in words.
      start, end: int64 [matches + 1], the words of the hypothesis.
      length: int64 [matches + 1], number of words of the reference.
      masks: uint64 [matches + 1, width], the words of the hypothesis as bits.
      fixed: bool [matches], whether the match is part of every alignment.
      words: int64 [pairs + 1], the offset of each reference's words in the three arrays below.
      first, count: int64 [words], the matches that begin at the word.
      definite: bool [words], whether the match of the word is fixed.
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


def _tables(matches: Matches, hypothesis_lengths: np.ndarray, reference_lengths: np.ndarray) -> _Tables:
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
    gain, distance, start, end, length = (np.append(column, 0) for column in columns)
    masks, first = _masks(matches, hypothesis_lengths), offsets(counts)[:-1]
    return _Tables(gain, distance, start, end, length, masks, fixed, starts, first, counts, definite)


def _advance(states: _States, tables: _Tables, current: int) -> tuple[_States, np.ndarray]:
    """Decides on the current word of the references in every way that a state allows.

    Returns:
      The new states, grouped by the state that they extend: first with each match that is free, then without one. And
      the match that each took, -1 for none or a fixed one.
    """
    word = tables.words[states.pair] + current
    waiting = states.next > current  # the word is inside a match of several words
    definite = tables.definite[word] & ~waiting
    branches = np.where(waiting | definite, 0, tables.count[word])
    parent = np.repeat(np.arange(len(word)), branches + 1)
    choice = ranges(np.zeros(len(word), np.int64), branches + 1)
    tries = choice < branches[parent]
    match = np.where(tries | definite[parent], tables.first[word][parent] + choice, len(tables.fixed))
    free = ~(tries & (states.used[parent] & tables.masks[match]).any(1))
    parent, match, tries = parent[free], match[free], tries[free]

    new = states.take(parent)
    matched = match < len(tables.fixed)
    skipped = ~matched & ~waiting[parent]
    # The distance of a match counts for the alternatives after it; that of a fixed match, which has none, for itself.
    distance = tables.distance[match]
    tried = np.where(tries, distance, 0)
    sums = np.cumsum(tried) - tried
    _, first, counts = group(parent)
    new.distance += sums - np.repeat(sums[first], counts) + (distance - tried)
    new.score += tables.gain[match]
    broken = (new.end >= 0) & (skipped | (matched & (tables.start[match] != new.end)))
    new.chunks += broken
    new.end = np.where(matched, tables.end[match], np.where(skipped, -1, new.end))
    new.next = np.where(matched, current + tables.length[match], np.where(skipped, current + 1, new.next))
    new.used |= np.where(tries[:, None], tables.masks[match], np.uint64(0))
    return new, np.where(tries, match, -1)


def _fixed(matches: Matches, hypothesis_lengths, reference_lengths) -> np.ndarray:
    """Returns bool [matches], whether no other match overlaps it: then it is part of every alignment."""
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
    """Returns the words of the hypothesis of each match as bits, the last row empty: uint64 [matches + 1, width]."""
    width = max(1, -(-int(hypothesis_lengths.max(initial=1)) // _BITS))
    masks = np.zeros((len(matches.pair) + 1, width), np.uint64)
    rows = np.repeat(np.arange(len(matches.pair)), matches.hypothesis_length)
    words = ranges(matches.hypothesis_start, matches.hypothesis_length)
    np.bitwise_or.at(masks, (rows, words // _BITS), np.uint64(1) << (words % _BITS).astype(np.uint64))
    return masks
