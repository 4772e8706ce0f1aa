"""Scoring a split, and the files that tell of it. The model is a stand-in that repeats what it is told."""

import json

import numpy as np
import pytest

from capjax.decode.attribute_shares import AttributeShares
from capjax.decode.results import Caption
from capjax.evals.evaluate import evaluate, means
from capjax.text.word_groups import WordGroups

REFERENCES = [
    {"en": ["a red square", "one red square"], "de": ["ein rotes Quadrat"]},
    {"en": ["a blue circle"]},
    {"en": ["two stars"], "de": ["zwei Sterne"]},
]


def batches():
    """Three records in batches of two; the last row is padding."""
    rows = [*enumerate(REFERENCES), (None, {})]
    for pair in (rows[:2], rows[2:]):
        yield {
            "ids": ["" if i is None else str(i) for i, _ in pair],
            "rows": range(len(pair)),
            "references": [references for _, references in pair],
            "valid": np.array([i is not None for i, _ in pair]),
        }


class Parrot:
    """Writes the first reference, of languages it has one in."""

    def __init__(self):
        self.asked, self.encoded = [], []

    def encode(self, params, batch_stats, batch):
        self.encoded.append(tuple(batch["ids"]))
        return batch

    def captions(self, params, batch_stats, batch, lang, *, key):
        self.asked.append((tuple(batch["ids"]), lang))
        return [Caption(r.get(lang, ["nothing"])[0], lang, 0.0) for r in batch["references"]]


def run(languages=("en", "de"), generator=None, **options):
    generator = generator or Parrot()
    return evaluate(generator, {}, {}, batches(), languages=languages, to_device=lambda batch: batch, **options)


def test_every_record_is_captioned_in_the_languages_it_has_references_in():
    result = run()
    assert result.predictions["en"] == {"0": "a red square", "1": "a blue circle", "2": "two stars"}
    assert result.predictions["de"] == {"0": "ein rotes Quadrat", "2": "zwei Sterne"}
    assert result.references["en"]["0"] == REFERENCES[0]["en"]
    assert result.scores["en"]["BLEU-1"] == pytest.approx(1)
    assert means(result.scores)["BLEU-1"] == pytest.approx(1)


class Undecided(Parrot):
    """Writes that of a man, and almost as surely of a woman."""

    def captions(self, params, batch_stats, batch, lang, *, key):
        other = Caption("a woman", lang, -1.1)
        return [Caption("a man", lang, -1.0, alternatives=(other,)) for _ in batch["references"]]


def test_shares_are_those_of_all_captions_of_a_language():
    shares = AttributeShares(WordGroups.of([["man"], ["woman"]]), WordGroups(()), np.array([[2 / 3, 1 / 3]]), 0.0)
    result = run(("en",), Undecided(), attribute_shares=shares)
    assert sorted(result.predictions["en"].values()) == ["a man", "a man", "a woman"]
    assert set(run(("en",), Undecided()).predictions["en"].values()) == {"a man"}


def test_a_batch_is_encoded_once_for_several_languages_and_not_at_all_for_one():
    generator = Parrot()
    run(generator=generator)
    assert generator.encoded == [("0", "1"), ("2", "")]
    assert generator.asked == [(("0", "1"), "en"), (("0", "1"), "de"), (("2", ""), "en"), (("2", ""), "de")]
    alone = Parrot()
    run(languages=("en",), generator=alone)
    assert (alone.encoded, len(alone.asked)) == ([], 2)


def test_a_mean_is_over_languages():
    result = run()
    result.scores["de"]["CIDEr"] = result.scores["en"]["CIDEr"] + 1
    assert means(result.scores)["CIDEr"] == pytest.approx(result.scores["en"]["CIDEr"] + 0.5)


def test_a_language_without_captions_is_named():
    with pytest.raises(ValueError, match="no captions in fr"):
        run(languages=("en", "fr"))


def test_the_files_are_coco_results_scores_and_samples(tmp_path):
    run().write(tmp_path / "new", step=7, split="data@val", samples=2)
    results = json.loads((tmp_path / "new/predictions.json").read_text())
    assert results[0] == {"image_id": 0, "caption": "a red square"}
    assert json.loads((tmp_path / "new/predictions.de.json").read_text())[1]["caption"] == "zwei Sterne"
    scores = json.loads((tmp_path / "new/scores.json").read_text())
    assert (scores["step"], scores["split"], scores["items"]) == (7, "data@val", {"en": 3, "de": 2})
    assert set(scores["scores"]) == {"en", "de"}
    samples = (tmp_path / "new/samples.md").read_text()
    assert "**1** (en): a blue circle" in samples
    assert "two stars" not in samples, "two samples a language"


def test_ids_that_only_look_like_numbers_stay_text(tmp_path):
    result = run()
    result.predictions["en"].update({"007": "x", "³": "y", "12": "z"})
    result.write(tmp_path, step=1, split="data@val", samples=0)
    ids = [row["image_id"] for row in json.loads((tmp_path / "predictions.json").read_text())]
    assert ids == [0, 1, 2, "007", "³", 12]


def test_predictions_are_written_in_the_output_format(tmp_path):
    external = {"used": True, "details": "an encoder"}
    run().write(tmp_path, step=1, split="data@val", samples=0, output_format="msrvtt", external_data=external)
    written = json.loads((tmp_path / "predictions.json").read_text())
    assert written["result"][1] == {"video_id": "1", "caption": "a blue circle"}
    assert written["external_data"] == external
