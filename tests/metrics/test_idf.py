"""CIDEr with the statistics of another set of captions."""

import json
import math
import random
from collections import Counter

import numpy as np
import pytest

from capjax.metrics import Idf, score
from capjax.metrics.ptb import tokenize


def some_references(items: int, seed: int = 0) -> dict[int, list[str]]:
    rng = random.Random(seed)
    words = [f"w{i}" for i in range(40)]
    return {
        i: [" ".join(rng.choices(words, k=rng.randint(1, 12))) for _ in range(rng.randint(1, 5))] for i in range(items)
    }


def idf_of(references, source="train") -> Idf:
    return Idf.of(references.values(), tokenize=tokenize, tokenizer="ptb-3.4.1", source=source)


def test_the_references_own_statistics_give_the_usual_cider():
    references = some_references(30)
    predictions = {id: texts[0] + " w1 w2" for id, texts in some_references(30, seed=1).items()}
    usual, same = score(predictions, references), score(predictions, references, idf=idf_of(references))
    np.testing.assert_allclose(same.items["CIDEr"], usual.items["CIDEr"], atol=1e-12)
    assert "idf:references|" in usual.signatures["CIDEr"] and "idf:train(30)|" in same.signatures["CIDEr"]


def oracle_cider_d(prediction: str, references: list[str], training: list[list[str]]) -> float:
    """CIDEr-D of one image as the paper writes it, with document frequencies of the training captions."""

    def grams(text, n):
        words = text.split()
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    total = 0.0
    for n in range(1, 5):
        df = Counter(gram for group in training for gram in {g for text in group for g in grams(text, n)})

        def vector(text, n=n, df=df):
            return {gram: count * math.log(len(training) / max(df[gram], 1)) for gram, count in grams(text, n).items()}

        ours = vector(prediction)
        for reference in references:
            theirs = vector(reference)
            dot = sum(min(ours[gram], theirs[gram]) * theirs[gram] for gram in ours if gram in theirs)
            norms = math.sqrt(sum(v * v for v in ours.values()) * sum(v * v for v in theirs.values()))
            apart = len(prediction.split()) - len(reference.split())
            total += (dot / norms if norms else 0.0) * math.exp(-(apart**2) / 72) / len(references)
    return 10 * total / 4


def test_one_image_is_scored_as_the_paper_says():
    training = some_references(50)
    idf = idf_of(training)
    for seed in range(20):
        references = some_references(1, seed=100 + seed)[0]
        prediction = some_references(1, seed=200 + seed)[0][0] + " " + references[0]
        ours = score({"x": prediction}, {"x": references}, idf=idf).corpus["CIDEr"]
        assert ours == pytest.approx(oracle_cider_d(prediction, references, list(training.values())), abs=1e-9)
        assert ours > 0


def test_one_image_without_statistics_scores_0_and_a_warning_says_why():
    scores = score({"x": "a red dog runs"}, {"x": ["a red dog runs"]})
    assert scores.corpus["CIDEr"] == 0
    assert any("CIDEr of one item is 0 by definition" in warning for warning in scores.warnings)


def test_a_saved_idf_is_the_same(tmp_path):
    idf = idf_of(some_references(20))
    idf.save(tmp_path / "idf.json")
    assert Idf.load(tmp_path / "idf.json") == idf
    assert [path.name for path in tmp_path.iterdir()] == ["idf.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"form": "other"}, "capjax-idf-1"),
        ({"documents": 0}, "documents: expected a number from 1 to"),
        ({"frequency": []}, "frequency: expected an object"),
        ({"frequency": {"a": 21}}, "frequency of 'a': expected 1 to 20"),
        ({"frequency": {"a": "2"}}, "frequency: 'a': expected a whole number, found '2'"),
        ({"tokenizer": None}, "tokenizer: expected text, found None"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, change, message):
    path = tmp_path / "idf.json"
    idf_of(some_references(20)).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        Idf.load(path)


def test_another_tokenizer_s_statistics_are_refused():
    with pytest.raises(ValueError, match="tokenizer ptb-3.4.1"):
        score({1: "ein Hund"}, {1: ["ein Hund"]}, lang="de", idf=idf_of(some_references(3)))
