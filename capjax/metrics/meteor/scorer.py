"""METEOR 1.5 for English, of hypotheses with one reference or more.

Denkowski & Lavie, "Meteor Universal: Language Specific Translation Evaluation for Any Target Language" (2014), with the
parameters of the task `rank`, as pycocoevalcap runs the Java program (`-l en -norm`). Scores equal the program's,
sentence by sentence.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from capjax.metrics.messages import show_value
from capjax.metrics.meteor import resources, text
from capjax.metrics.meteor.matches import WordIndex, concatenate, find_matches
from capjax.metrics.meteor.search import align
from capjax.metrics.metric import Captions, Metric
from capjax.metrics.ragged import offsets, ranges

# alpha weighs recall against precision, beta and gamma shape the penalty of fragments, delta weighs content words
# against function words.
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.20, 0.60, 0.75
_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])  # of exact, stem, synonym, paraphrase
_MODULES = len(_WEIGHTS)
# Rows of the statistics: words of hypothesis and reference; function words of both; chunks (0 if both match completely
# as one chunk, which is not a fragment); matched words by [hypothesis, reference], [content, function], module.
_LENGTHS, _FUNCTIONS, _CHUNKS, _MATCHED = slice(0, 2), slice(2, 4), 4, 5
STATISTICS = _MATCHED + 4 * _MODULES
# Aligned at a time: pairs, and words of the hypothesis times words of the reference. Every match of words takes memory.
_PAIRS, _CELLS = 2048, 500_000
_MAX_MATCHES = 200_000  # of equal words, of a hypothesis with all its references


class Meteor(Metric):
    """METEOR 1.5 for English."""

    family = "meteor"
    names = ("METEOR",)
    english_only = "METEOR 1.5 has its synonyms and paraphrases for English only here"

    def signature_fields(self, captions: Captions) -> dict[str, object]:
        return {"version": "1.5", "task": "rank", "norm": "yes"}

    def statistics(self, captions: Captions) -> np.ndarray:
        return statistics(captions.hypotheses, captions.references)

    def aggregate(self, sums: np.ndarray) -> np.ndarray:
        return aggregate(sums)[None]


def statistics(hypotheses: Sequence[Sequence[str]], groups: Sequence[Sequence[Sequence[str]]]) -> np.ndarray:
    """Returns METEOR's statistics of each hypothesis with the best of its references, float64 [STATISTICS, items].

    Args:
      hypotheses: words of each hypothesis.
      groups: words of each reference of each hypothesis.

    Raises:
      ModuleNotFoundError: pycocoevalcap, which has the data, is not installed.
      ValueError: a caption repeats words of its references too often to be aligned.
    """
    data = resources.load()
    index = WordIndex(data)
    out = np.zeros((STATISTICS, len(hypotheses)))
    begin, count, cells = 0, 0, 0
    for end, (hypothesis, group) in enumerate(zip(hypotheses, groups, strict=True), 1):
        count += len(group)
        cells += (own_cells := len(hypothesis) * sum(map(len, group)))
        if own_cells > _MAX_MATCHES:
            _check_matches(hypothesis, group)
        if count >= _PAIRS or cells >= _CELLS or end == len(groups):
            out[:, begin:end] = _best(hypotheses[begin:end], groups[begin:end], index, data)
            begin, count, cells = end, 0, 0
    return out


def _check_matches(hypothesis: Sequence[str], group: Sequence[Sequence[str]]):
    words = Counter(hypothesis)
    matches = sum(words[word] for reference in group for word in reference)
    if matches > _MAX_MATCHES:
        raise ValueError(
            f"METEOR: {matches:,} pairs of equal words in the caption {show_value(' '.join(hypothesis))} and its "
            f"references; up to {_MAX_MATCHES:,} can be aligned. Shorten the caption, or leave METEOR out"
        )


def aggregate(sums: np.ndarray) -> np.ndarray:
    """Turns sums of statistics [STATISTICS, ...] into METEOR, float64 [...]."""
    lengths, functions = sums[_LENGTHS], sums[_FUNCTIONS]
    matched = sums[_MATCHED:].reshape(2, 2, _MODULES, *sums.shape[1:])
    weighted = np.zeros(lengths.shape)
    # In the order of the program, so that references with equal scores are equal to the last bit.
    for kind, factor in ((0, _DELTA), (1, 1.0 - _DELTA)):
        for module in range(_MODULES):
            weighted = weighted + matched[:, kind, module] * _WEIGHTS[module] * factor
    total = _DELTA * (lengths - functions) + (1.0 - _DELTA) * functions
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = weighted / total
        mean = 1.0 / ((1.0 - _ALPHA) / precision + _ALPHA / recall)
        fragments = sums[_CHUNKS] / (matched.sum((0, 1, 2)) / 2)
        scores = mean * (1.0 - _GAMMA * fragments**_BETA)
    return np.where(np.isnan(scores), 0.0, np.maximum(scores, 0.0))


def _best(hypotheses, groups, index: WordIndex, data: resources.Resources) -> np.ndarray:
    """Returns the statistics of each hypothesis with the first of its highest-scoring references."""

    def numbered(sentence: Sequence[str]) -> list[int]:
        return index.numbers(text.words(" ".join(sentence), data.prefixes))

    hypothesis_words = [numbered(hypothesis) for hypothesis in hypotheses]
    reference_words = [numbered(reference) for group in groups for reference in group]
    item = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    statistics = _pair_statistics(hypothesis_words, reference_words, item, index, data)
    scores = aggregate(statistics)
    order = np.lexsort((np.arange(len(item)), -scores, item))
    best = order[offsets(np.bincount(item, minlength=len(groups)))[:-1]]
    return statistics[:, best]


def _pair_statistics(
    hypothesis_words: list[list[int]],
    reference_words: list[list[int]],
    item: np.ndarray,
    index: WordIndex,
    data: resources.Resources,
) -> np.ndarray:
    """Returns the statistics of each reference with the hypothesis of its item, float64 [STATISTICS, references]."""
    identical = np.array(
        [hypothesis_words[i] == words for i, words in zip(item.tolist(), reference_words, strict=True)], bool
    )
    hypotheses, references = concatenate(hypothesis_words), concatenate(reference_words)
    # The words of these few sentences get small numbers.
    distinct, numbers = np.unique(np.concatenate([hypotheses.words, references.words]), return_inverse=True)
    facts = index.facts(distinct)
    hypotheses.words[:], references.words[:] = np.split(numbers, [len(hypotheses.words)])
    is_function = np.array([fact[2] for fact in facts], bool)

    matches = find_matches(hypotheses, references, item, identical, facts, data)
    alignments = align(matches, hypotheses.lengths[item], references.lengths)
    chosen = matches.select(alignments.chosen)
    return _count(hypotheses, references, item, is_function, chosen, alignments.chunks)


def _count(hypotheses, references, item, is_function, chosen, chunks) -> np.ndarray:
    """Returns the statistics of alignments, float64 [STATISTICS, pairs]."""
    pairs = len(item)
    out = np.zeros((STATISTICS, pairs))
    sides = (
        (hypotheses, item, chosen.hypothesis_start, chosen.hypothesis_length),
        (references, np.arange(pairs), chosen.start, chosen.length),
    )
    for side, (lines, row, start, length) in enumerate(sides):
        out[side] = lines.lengths[row]
        functions = np.bincount(lines.owners, is_function[lines.words], minlength=len(lines.starts) - 1)
        out[_FUNCTIONS.start + side] = functions[row]
        words = lines.words[ranges(lines.starts[row[chosen.pair]] + start, length)]
        kinds = is_function[words] * _MODULES + np.repeat(chosen.module, length)
        counts = np.bincount(np.repeat(chosen.pair, length) * 2 * _MODULES + kinds, minlength=pairs * 2 * _MODULES)
        begin = _MATCHED + side * 2 * _MODULES
        out[begin : begin + 2 * _MODULES] = counts.reshape(pairs, 2 * _MODULES).T
    words = out[_MATCHED:].reshape(2, 2 * _MODULES, pairs).sum(1)
    out[_CHUNKS] = np.where((words == out[_LENGTHS]).all(0) & (chunks == 1), 0, chunks)
    return out
