"""METEOR equals the Java program's; where there is no Java, its properties."""

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capjax.metrics import meteor, score, tokenizer_for
from capjax.metrics.meteor import resources
from tests.helpers.java_meteor import conversation, needs_java


def oracle(hypotheses: list[str], groups: list[list[str]]) -> tuple[float, list[float]]:
    """(METEOR of the corpus, METEOR of each) by the Java program."""
    lines = [" ||| ".join(["SCORE", *group, hypothesis]) for hypothesis, group in zip(hypotheses, groups, strict=True)]
    with conversation("Meteor", "-", "-", "-stdio", "-l", "en", "-norm") as say:
        statistics = [say(line)[0] for line in lines]
        *items, corpus = map(float, say(" ||| ".join(["EVAL", *statistics]), answers=len(lines) + 1))
    return corpus, items


def ours(hypotheses: list[str], groups: list[list[str]]) -> tuple[float, list[float]]:
    statistics = meteor.statistics([h.split() for h in hypotheses], [[r.split() for r in group] for group in groups])
    return float(meteor.aggregate(statistics.sum(1))), meteor.aggregate(statistics).tolist()


def one(hypothesis: str, *references: str) -> float:
    return ours([hypothesis], [list(references)])[1][0]


def assert_equal(hypotheses, groups):
    (corpus, items), (their_corpus, their_items) = ours(hypotheses, groups), oracle(hypotheses, groups)
    different = [
        (hypotheses[i], groups[i], items[i], their_items[i])
        for i in np.flatnonzero(np.abs(np.subtract(items, their_items)) > 1e-6)
    ]
    assert not different, f"{len(different)} of {len(items)} differ: {different[:3]}"
    assert corpus == pytest.approx(their_corpus, abs=1e-9)


ODD = ["'s", "n't", "u.s.", "...", "1,000", "-", "well-known", "é", "中", "😀", "'", "mr.", "no. 5", "3.5", "dogs'"]
INFLECTED = "dog dogs run runs running ran ski skies child children man men big bigger biggest hope hoping hoped"


def made_up(seed: int, count: int) -> tuple[list[str], list[list[str]]]:
    """Sentences that match in many ways at once: few words, often repeated; paraphrases; any words of the synonyms."""
    rng, data = random.Random(seed), resources.load()
    table = data.paraphrases
    words = [word for word in rng.sample(sorted(data.synsets), 5000) if "_" not in word]
    function, inflected = sorted(data.function_words), INFLECTED.split()
    names = list(table.words)
    parents, letters = np.divmod(np.asarray(table.edges), len(names))

    def phrase(node: int) -> str:
        letters_of_path = []
        while node:
            letters_of_path.append(names[letters[node - 1]])
            node = parents[node - 1]
        return " ".join(reversed(letters_of_path))

    def paraphrase() -> list[str]:
        row = rng.randrange(len(table.heads))
        tails = table.tails[table.offsets[row] : table.offsets[row + 1]]
        return [phrase(int(table.heads[row])), phrase(int(rng.choice(tails)))]

    def word() -> str:
        kind = rng.random()
        chosen = function if kind < 0.35 else words if kind < 0.6 else inflected if kind < 0.85 else ODD
        return rng.choice(chosen)

    hypotheses, groups = [], []
    for _ in range(count):
        kind = rng.random()
        if kind < 0.45:
            parts, longest = [word() for _ in range(rng.randint(1, 5))], 12
        elif kind < 0.95:
            parts, longest = [*sum((paraphrase() for _ in range(3)), []), word()], 7
        else:
            parts, longest = [word() for _ in range(20)], 100  # more words than bits in a number

        def sentence(parts=parts, longest=longest) -> str:
            return " ".join(rng.choice(parts) for _ in range(rng.randint(0, longest)))

        groups.append([sentence() for _ in range(rng.randint(1, 5))])
        hypotheses.append(rng.choice(groups[-1]) if rng.random() < 0.1 else sentence())
    return hypotheses, groups


@needs_java
def test_sentences_that_match_in_many_ways_score_as_in_java():
    assert_equal(*made_up(0, 400))


@needs_java
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_many_made_up_sentences_score_as_in_java(seed):
    assert_equal(*made_up(seed, 4000))


def real_captions(folder) -> list[list[str]]:
    tokenize = tokenizer_for("en")
    groups: dict[str, list[str]] = {}
    for line in (folder / "flickr8k/Flickr8k_text/Flickr8k.token.txt").read_text(encoding="utf-8").splitlines():
        id, text = line.split("\t")
        groups.setdefault(id.split("#")[0], []).append(" ".join(tokenize(text)))
    return list(groups.values())


@needs_java
def test_captions_against_those_of_the_same_photo_score_as_in_java(shared_data):
    groups = real_captions(shared_data)[:200]
    assert_equal([group[0] for group in groups], [group[1:] for group in groups])


@needs_java
@pytest.mark.slow
def test_twenty_thousand_real_pairs_score_as_in_java(shared_data):
    rng, groups = random.Random(0), real_captions(shared_data)
    captions = [caption for group in groups for caption in group]
    videos = json.loads((shared_data / "activitynet/train.json").read_text(encoding="utf-8")).values()
    sentences_of_videos = [[" ".join(tokenizer_for("en")(text)) for text in video["sentences"]] for video in videos]
    pairs = [(group[i], group[:i] + group[i + 1 :]) for group in groups for i in range(len(group))]
    pairs += [(rng.choice(captions), rng.choice(groups)) for _ in range(8000)]
    pairs += [(video[0], [video[1]]) for video in sentences_of_videos if len(video) > 1]
    assert len(pairs) > 20_000
    assert_equal([hypothesis for hypothesis, _ in pairs], [references for _, references in pairs])


def test_a_sentence_against_itself_scores_one():
    assert one("a man rides a horse on a beach", "a man rides a horse on a beach") == 1.0


def test_nothing_in_common_and_nothing_said_score_zero():
    assert one("two dogs", "purple ideas sleep") == 0.0
    assert one("", "two dogs") == one("two dogs", "") == one("", "") == 0.0


def test_the_score_is_that_of_the_best_reference():
    references = ["two cats sleep", "a man rides a brown horse", "somebody is riding"]
    each = [one("a man rides a horse", reference) for reference in references]
    assert one("a man rides a horse", *references) == max(each) > min(each)


@pytest.mark.parametrize(
    ("word", "other", "weight"), [("couch", "couch", 1.0), ("couch", "sofa", 0.8), ("zorbing", "zorbs", 0.6)]
)
def test_a_match_is_worth_its_module(word, other, weight):
    """Of one word each, precision and recall are the weight, and one chunk that is all of both is no fragment."""
    assert one(word, other) == pytest.approx(weight)


def test_fragments_cost():
    assert one("a man on a horse", "a man on a horse rides") > one("horse a on man a", "a man on a horse rides")


def test_phrases_match_their_paraphrases():
    assert one("in front of the house", "before the house") > one("in lieu of the house", "before the house")


words = st.lists(
    st.sampled_from(["a", "the", "dog", "dogs", "runs", "running", "couch", "sofa", "in", "on"]), max_size=9
)


@settings(max_examples=60, deadline=None)
@given(words, st.lists(words, min_size=1, max_size=4), st.randoms())
def test_the_order_of_references_is_of_no_consequence_and_scores_lie_between_0_and_1(hypothesis, group, rng):
    value = float(meteor.aggregate(meteor.statistics([hypothesis], [group]))[0])
    shuffled = rng.sample(group, len(group))
    assert value == float(meteor.aggregate(meteor.statistics([hypothesis], [shuffled]))[0])
    assert 0 <= value <= 1


def test_how_many_pairs_are_aligned_together_is_of_no_consequence(monkeypatch):
    hypotheses, groups = made_up(7, 60)
    whole = ours(hypotheses, groups)
    monkeypatch.setattr("capjax.metrics.meteor.scorer._PAIRS", 1)
    assert ours(hypotheses, groups) == whole


def test_meteor_is_a_metric_like_others():
    scores = score({1: "Two dogs run.", 2: "A man"}, {1: ["Dogs running"], 2: ["a man", "men"]}, metrics=["meteor"])
    assert scores.corpus.keys() == {"METEOR"}
    assert scores.items["METEOR"][1] == 1.0
    assert scores.signatures["METEOR"].startswith("METEOR|items:2|refs:1-2|tok:ptb")
    measure = scores.measures["METEOR"]
    assert measure.aggregate(measure.statistics.sum(1)) == scores.corpus["METEOR"]


def test_meteor_of_other_languages_is_absent_and_not_zero():
    scores = score({1: "ein Hund"}, {1: ["ein Hund"]}, lang="de", metrics=["meteor", "bleu"])
    assert "METEOR" not in scores.corpus
    assert "English" in scores.absent["meteor"]
