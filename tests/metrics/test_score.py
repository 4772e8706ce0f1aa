"""Equality with pycocoevalcap, the scorer that everyone publishes with."""

import json
import random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from capjax.metrics import score
from capjax.metrics.rouge import lcs_lengths

METRICS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr")


def pycoco(predictions: dict, references: dict) -> tuple[dict, dict]:
    """(corpus, per item) of pycocoevalcap on tokenized text."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    hypotheses = {id: [text] for id, text in predictions.items()}
    bleus, bleu_items = Bleu(4).compute_score(references, hypotheses, verbose=0)
    rouge, rouge_items = Rouge().compute_score(references, hypotheses)
    cider, cider_items = Cider().compute_score(references, hypotheses)
    return (
        dict(zip(METRICS, [*bleus, rouge, cider], strict=True)),
        dict(zip(METRICS, [*bleu_items, rouge_items, cider_items], strict=True)),
    )


def assert_equal_to_pycoco(predictions, references):
    ours = score(predictions, references, tokenize=lambda text: [w for w in text.split(" ") if w])
    corpus, items = pycoco(predictions, references)
    for metric in METRICS:
        assert ours.corpus[metric] == pytest.approx(corpus[metric], abs=1e-9), metric
        np.testing.assert_allclose(ours.items[metric], items[metric], atol=1e-9, err_msg=metric)


def leave_one_out(groups: dict[str, list[str]]):
    """The first caption against the others."""
    groups = {id: texts for id, texts in groups.items() if len(texts) > 1}
    return {id: texts[0] for id, texts in groups.items()}, {id: texts[1:] for id, texts in groups.items()}


def flickr8k(folder) -> dict[str, list[str]]:
    groups = {}
    for line in (folder / "flickr8k/Flickr8k_text/Flickr8k.token.txt").read_text(encoding="utf-8").splitlines():
        name, text = line.split("\t")
        groups.setdefault(name.split("#")[0], []).append(text)
    return groups


def test_equal_to_pycocoevalcap_on_flickr8k(shared_data):
    from capjax.metrics.ptb import tokenize

    groups = {id: [" ".join(tokenize(text)) for text in texts] for id, texts in flickr8k(shared_data).items()}
    assert_equal_to_pycoco(*leave_one_out(groups))


def test_equal_to_pycocoevalcap_on_activitynet_sentences(shared_data):
    from capjax.metrics.ptb import tokenize

    data = json.loads((shared_data / "activitynet/train.json").read_text())
    groups = {id: [" ".join(tokenize(text)) for text in video["sentences"]] for id, video in list(data.items())[:2000]}
    assert_equal_to_pycoco(*leave_one_out(groups))


words = st.sampled_from(["a", "b", "c", "d", "e", "ünï", "狗", "don't", "x" * 40])
sentences = st.lists(words, max_size=12).map(" ".join)
corpora = st.lists(st.tuples(sentences, st.lists(sentences, min_size=1, max_size=4)), min_size=2, max_size=8)


@settings(max_examples=150, deadline=None)
@given(corpora)
def test_equal_to_pycocoevalcap_on_generated_sets(items):
    assume(any(reference for _, references in items for reference in references))  # pycocoevalcap fails without a word
    assert_equal_to_pycoco(
        {i: prediction for i, (prediction, _) in enumerate(items)},
        {i: references for i, (_, references) in enumerate(items)},
    )


TEXT = "a man dog runs on the beach with red ball two cats sleep in , . ! - -- 's n't ünï 狗 😀 "
WORDS = [*TEXT.split(), "x" * 60]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_ten_thousand_random_sets_score_as_in_pycocoevalcap(seed):
    rng = random.Random(seed)

    def sentence(vocabulary) -> str:
        longest = 400 if rng.random() < 0.003 else 14
        return " ".join(rng.choices(vocabulary, k=rng.randint(0, longest)))

    for _ in range(1000):
        vocabulary = rng.sample(WORDS, rng.randint(1, len(WORDS)))
        items, most = rng.choice([1, 2, 3, 5, 8]), rng.choice([1, 1, 3, 5])
        references = {i: [sentence(vocabulary) for _ in range(rng.randint(1, most))] for i in range(items)}
        predictions = {
            i: rng.choice(references[i]) if rng.random() < 0.2 else sentence(vocabulary) for i in range(items)
        }
        if any(any(texts) for texts in references.values()):  # pycocoevalcap fails where there is no word
            assert_equal_to_pycoco(predictions, references)


def test_no_word_in_common_scores_nothing():
    corpus = score({1: "red dog", 2: "x"}, {1: ["blue cat"], 2: ["y z"]}).corpus
    assert corpus["CIDEr"] == 0 and corpus["ROUGE-L"] == 0 and corpus["BLEU-4"] < 1e-3


def test_order_of_items_and_references_does_not_matter():
    rng = random.Random(0)
    groups = {i: [" ".join(rng.choices("abcdefgh", k=rng.randint(3, 9))) for _ in range(5)] for i in range(30)}
    predictions, references = leave_one_out(groups)
    order = list(predictions)
    rng.shuffle(order)
    shuffled = {i: rng.sample(references[i], 4) for i in order}
    before, after = score(predictions, references), score({i: predictions[i] for i in order}, shuffled)
    for metric in METRICS:
        assert before.corpus[metric] == pytest.approx(after.corpus[metric], abs=1e-12)


@given(st.text("abcd", max_size=30), st.text("abcd", max_size=30))
def test_lcs_equals_the_textbook_table(a, b):
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1, j + 1] = table[i, j] + 1 if x == y else max(table[i, j + 1], table[i + 1, j])
    assert lcs_lengths(a, [b, a, b]) == [table[-1, -1], len(a), table[-1, -1]]


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ({}, {}, "no predictions"),
        ({1: "a"}, {1: ["a"], "x": ["b"]}, "no prediction for 'x'"),
        ({1: "a", "y": "b"}, {1: ["a"]}, "no references for 'y'"),
        ({1: "a"}, {1: []}, "references of 1"),
        ({1: "a"}, {1: "a b"}, "references of 1"),
    ],
)
def test_what_does_not_fit_is_named(predictions, references, message):
    with pytest.raises(ValueError, match=message):
        score(predictions, references)


def test_a_caption_that_is_no_string_is_named():
    with pytest.raises(TypeError, match="None"):
        score({1: None}, {1: ["a"]})
