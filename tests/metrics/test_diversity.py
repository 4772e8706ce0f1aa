"""Diversity is what plain counting says it is."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capjax.metrics.diversity import diversity, mbleu, self_cider
from capjax.metrics.idf import Idf

words = st.lists(st.sampled_from(["a", "dog", "runs", "on", "the", "grass", "and", "cat"]), max_size=8)


def ngrams(caption, n):
    return [tuple(caption[i : i + n]) for i in range(len(caption) - n + 1)]


@settings(max_examples=100, deadline=None)
@given(st.lists(words, min_size=1, max_size=6), st.lists(words, min_size=1, max_size=6))
def test_every_figure_is_that_of_plain_counting(captions, training):
    figures = diversity(captions, references=[[c, ["dog"]] for c in captions], training=training)
    for n in (1, 2):
        every = [g for c in captions for g in ngrams(c, n)]
        assert figures[f"distinct-{n}"] == pytest.approx(len(set(every)) / len(every) if every else 0)
    for n in (2, 4):
        every = [ngrams(c, n) for c in captions]
        repeated = sum(len(g) - len(set(g)) for g in every)
        assert figures[f"repetition-{n}"] == pytest.approx(repeated / max(1, sum(map(len, every))))
    said, training_words = ({w for c in cs for w in c} for cs in (captions, training))
    assert figures["vocabulary"] == len(said)
    assert figures["vocabulary used"] == pytest.approx(len(said & training_words) / max(1, len(training_words)))
    assert figures["novel captions"] == pytest.approx(np.mean([c not in training for c in captions]))
    assert figures["distinct captions"] == pytest.approx(len(set(map(tuple, captions))) / len(captions))
    assert figures["length"] == pytest.approx(np.mean([len(c) for c in captions]))
    mean = sum((len(c) + 1) / 2 for c in captions)
    assert figures["length ratio"] == pytest.approx(sum(map(len, captions)) / mean)


def oracle_self_cider(group, documents):
    def vector(caption, n):
        counts = Counter(ngrams(caption, n))
        frequency = {g: sum(any(g in ngrams(c, n) for c in captions) for captions in documents) for g in counts}
        weights = {g: k * (math.log(len(documents)) - math.log(max(1, frequency[g]))) for g, k in counts.items()}
        norm = math.sqrt(sum(w * w for w in weights.values()))
        return {g: w / norm for g, w in weights.items()} if norm else {}

    kernel = np.zeros((len(group), len(group)))
    for n in range(1, 5):
        vectors = [vector(c, n) for c in group]
        kernel += [[sum(w * b.get(g, 0) for g, w in a.items()) for b in vectors] for a in vectors]
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(kernel / 4), 0))
    return -math.log(roots.max() / roots.sum()) / math.log(len(group)) if roots.sum() else 0.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(words, min_size=2, max_size=4), min_size=1, max_size=4))
def test_self_cider_is_that_of_the_formula(sets):
    expected = [oracle_self_cider(group, sets) for group in sets]
    assert self_cider(sets) == pytest.approx(expected, abs=1e-6)


def test_the_same_words_are_no_diversity_and_different_ones_are_all_of_it():
    idf = Idf.of([["a b c d"], ["e f g h"], ["x"]], tokenize=str.split, tokenizer="plain", source="here")
    alike, different = [["a", "b", "c", "d"]] * 3, [["a", "b", "c", "d"], ["e", "f", "g", "h"]]
    assert self_cider([alike, different], idf) == pytest.approx([0, 1], abs=1e-6)
    assert mbleu([alike])[3] == pytest.approx(1, abs=1e-6)
    assert mbleu([different])[0] == pytest.approx(0, abs=1e-6)


def test_mbleu_is_bleu_of_each_caption_against_the_others():
    from capjax.metrics import score

    sets = [["a dog runs fast", "a dog runs", "the cat"], ["two men talk", "two men talk loudly"]]
    predictions = {(i, j): text for i, texts in enumerate(sets) for j, text in enumerate(texts)}
    references = {(i, j): [t for k, t in enumerate(sets[i]) if k != j] for i, j in predictions}
    expected = score(predictions, references, metrics=["bleu"], tokenize=str.split).corpus
    assert mbleu([[t.split() for t in texts] for texts in sets]) == pytest.approx(list(expected.values()))


def test_single_captions_have_no_diversity_among_them():
    with pytest.raises(ValueError, match="two or more of each; item 1 of 2 has 1"):
        self_cider([[["a"], ["b"]], [["a"]]])
    with pytest.raises(ValueError, match="there are no items"):
        mbleu([])
    with pytest.raises(ValueError, match="no predictions"):
        diversity([])
