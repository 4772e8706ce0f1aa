"""Reranking by the captions of similar training pictures, against the formula written out plainly."""

import math
from collections import Counter

import numpy as np
import pytest

from capjax.data.record import Record, RecordCaption
from capjax.decode.consensus import Neighbors

WORDS = ["a", "the", "dog", "cat", "runs", "sleeps", "on", "grass", "red", "ball", "two", "and", "jumps"]
RNG = np.random.default_rng(0)


def sentence() -> str:
    return " ".join(RNG.choice(WORDS, RNG.integers(1, 9)))


CAPTIONS = [[sentence() for _ in range(RNG.integers(0, 4))] for _ in range(12)]
VECTORS = RNG.normal(size=(12, 5)).astype(np.float32)


@pytest.fixture
def neighbors() -> Neighbors:
    return Neighbors(VECTORS, {"en": CAPTIONS})


def grams(text: str, n: int) -> list[tuple]:
    words = text.split()
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def plain_similarity(one: str, other: str) -> float:
    """Mean over n, weighted by n, of the cosine of tf-idf vectors, times the Gaussian of the difference in length."""
    pictures, total = [texts for texts in CAPTIONS if texts], 0.0
    for n in range(1, 5):
        frequency = Counter(gram for texts in pictures for gram in {g for text in texts for g in grams(text, n)})
        a, b = (
            {g: count * math.log(len(pictures) / max(frequency[g], 1)) for g, count in Counter(grams(text, n)).items()}
            for text in (one, other)
        )
        norms = math.sqrt(sum(v * v for v in a.values())) * math.sqrt(sum(v * v for v in b.values()))
        total += n * sum(a[g] * b.get(g, 0.0) for g in a) / norms if norms else 0.0
    apart = len(one.split()) - len(other.split())
    return total / 10 * math.exp(-(apart**2) / 72)


def plain_choice(vector, texts, scores, count: int, weight: float) -> int:
    mean, std = VECTORS.mean(0), VECTORS.std(0) + 1e-3
    scaled, query = (VECTORS - mean) / std, (vector - mean) / std
    cosines = scaled @ query / np.linalg.norm(scaled, axis=1)
    near = [text for picture in np.argsort(-cosines)[:count] for text in CAPTIONS[picture]]
    totals = []
    for text, score in zip(texts, scores, strict=True):
        similar = sorted(plain_similarity(text, other) for other in near)
        similar = similar[len(similar) // 2 :]
        totals.append(score + weight * (sum(similar) / len(similar) if similar else 0.0))
    return int(np.argmax(totals))


def test_the_choice_is_that_of_the_formula(neighbors):
    vectors = RNG.normal(size=(40, 5)).astype(np.float32)
    texts = [[f"{sentence()} zebra" if RNG.random() < 0.2 else sentence() for _ in range(6)] for _ in vectors]
    scores = RNG.normal(size=(40, 6))
    for count, weight in ((1, 5.0), (4, 20.0), (50, 1e6)):
        chosen = neighbors.choose(vectors, texts, scores, "en", neighbors=count, weight=weight)
        for i, vector in enumerate(vectors):
            assert chosen[i] == plain_choice(vector, texts[i], scores[i], min(count, 12), weight)


def test_without_weight_the_score_decides(neighbors):
    scores = RNG.normal(size=(3, 4))
    texts = [[sentence() for _ in range(4)] for _ in range(3)]
    chosen = neighbors.choose(VECTORS[:3], texts, scores, "en", neighbors=3, weight=0.0)
    np.testing.assert_array_equal(chosen, scores.argmax(1))


def test_a_missing_hypothesis_is_never_chosen(neighbors):
    texts, scores = [["", "dog"]], np.array([[-np.inf, -50.0]])
    assert neighbors.choose(VECTORS[:1], texts, scores, "en", neighbors=3, weight=60.0) == [1]


def test_what_is_written_of_the_same_picture_wins():
    captions = [["a dog on grass"], ["two cats sleep"], ["a red ball"]]
    neighbors = Neighbors(np.eye(3, dtype=np.float32), {"en": captions})
    texts = [["two cats sleep", "a dog on grass", "a red ball"]] * 3
    chosen = neighbors.choose(np.eye(3), texts, np.zeros((3, 3)), "en", neighbors=1, weight=1.0)
    np.testing.assert_array_equal(chosen, [1, 0, 2])


def test_records_give_the_mean_of_their_first_view_and_the_captions_of_each_language():
    features = RNG.normal(size=(2, 1, 4, 3)).astype(np.float16)
    captions = (RecordCaption("A dog.", "en"), RecordCaption("Ein Hund.", "de"), RecordCaption("A brown dog.", "en"))
    neighbors = Neighbors.of([Record("a", "a.jpg", captions, features=features, feature_grid=(2, 2))], ("en", "de"))
    np.testing.assert_allclose(neighbors.vectors[0], features[0, 0].astype(np.float32).mean(0), rtol=1e-6)
    assert neighbors.captions == {"en": [["A dog.", "A brown dog."]], "de": [["Ein Hund."]]}


def test_a_file_gives_back_what_was_saved(neighbors, tmp_path):
    neighbors.save(tmp_path / "n.npz")
    again = Neighbors.load(tmp_path / "n.npz")
    np.testing.assert_allclose(again.vectors, VECTORS, rtol=1e-3)
    assert again.captions == neighbors.captions


def test_a_damaged_or_missing_file_is_named(neighbors, tmp_path):
    path = tmp_path / "n.npz"
    with pytest.raises(FileNotFoundError, match=r"n\.npz is missing"):
        Neighbors.load(path)
    neighbors.save(path)
    whole = path.read_bytes()
    for bad in (whole[: len(whole) // 2], b"no zip", b""):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"n\.npz is cut short or damaged \(it differs from its digest"):
            Neighbors.load(path)
    (tmp_path / "digests.json").unlink()
    for bad in (whole[: len(whole) // 2], b"no zip", b""):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"n\.npz is damaged"):
            Neighbors.load(path)
