"""Mitigations of bias in whole jobs."""

import json

import pytest

from capjax.predict.predictor import Predictor
from capjax.workdir.layout import Workdir
from tests.helpers.kill_run import differences
from tests.helpers.tiny_job import copy, predictions

WORDS = "mitigation.attribute=(('red', 'rotes'), ('green', 'grünes', 'blue', 'blaues'))"
FEW_STEPS = ("optimizer.schedule=constant", "train.eval_every=0", "train.steps=8")


@pytest.mark.parametrize("mode", ["weights", pytest.param("sampling", marks=pytest.mark.slow)])
def test_weights_are_computed_once_and_a_resumed_run_ends_as_one_that_was_not_stopped(tiny, tmp_path, mode):
    settings = (WORDS, f"mitigation.balance={mode}", *FEW_STEPS)
    alone = tiny.launch(tmp_path / "alone", *settings)
    assert alone.returncode == 0, alone.stderr
    assert "mitigation: red: 8 items, weight 1.500" in alone.stderr
    assert json.loads((tmp_path / "alone/balance.json").read_text())["attribute"][0] == ["red", "rotes"]
    assert "balance.json" in (tmp_path / "alone/digests.json").read_text()
    half = tiny.launch(tmp_path / "run", *settings[:-1], "train.steps=4")
    assert half.returncode == 0, half.stderr
    resumed = tiny.launch(tmp_path / "run", *settings)
    assert resumed.returncode == 0, resumed.stderr
    assert "reading the captions" not in resumed.stderr
    assert differences(tmp_path / "alone", tmp_path / "run") == []


def test_captions_of_an_evaluation_have_the_shares_of_the_training_data(tiny, tmp_path):
    workdir = copy(tiny.trained(), tmp_path / "run")
    words = "mitigation.attribute=(('red',), ('green',))"
    done = tiny.launch(workdir, words, "decode.attribute_shares=training", "decode.share_margin=0.05", mode="eval")
    assert done.returncode == 0, done.stderr
    counts = [sum(color in caption for caption in predictions(workdir).values()) for color in ("red", "green")]
    assert abs(counts[0] / sum(counts) - 1 / 2) <= 0.05 + 1e-9
    stored = predictions(tiny.trained())
    assert sum(stored[id] != caption for id, caption in predictions(workdir).items()) <= 2


def test_a_model_chooses_among_its_hypotheses(tiny):
    config = Workdir(tiny.trained()).config()
    config.mitigation.attribute = (("red",) * 5, ("green", "blue", "yellow", "black", "white"))
    photos = sorted(tiny.photos.glob("*.jpg"))[:12]
    model = Predictor(tiny.trained(), config)
    plain, equal = (model.caption(photos, attribute_shares=shares) for shares in ("", "equal"))
    assert [caption.text for caption in plain] != [caption.text for caption in equal]
    assert not any(caption.alternatives for caption in equal)
    before, after = (sum("red" in caption.text for caption in captions) for captions in (plain, equal))
    assert before < after == 6
    assert all(b.score >= a.score - 1e-6 for b, a in zip(plain, equal, strict=True))


def test_counterparts_have_the_scores_that_a_wider_search_gives_them(tiny):
    config = Workdir(tiny.trained()).config()
    config.mitigation.attribute = (("red",), ("green",))
    model = Predictor(tiny.trained(), config)
    photos = [model.read(path) for path in sorted(tiny.photos.glob("*.jpg"))[:8]]

    def hypotheses(num_beams: int) -> list[dict[str, float]]:
        parts = model.parts(attribute_shares="equal", num_beams=num_beams)
        captions = parts.generator.captions(parts.params, parts.batch_stats, parts.make_batch(photos), "en")
        return [{own.text: own.score for own in (caption, *caption.alternatives)} for caption in captions[:8]]

    narrow, wide = hypotheses(2), hypotheses(12)
    compared = 0
    for few, many in zip(narrow, wide, strict=True):
        assert len({text.replace("red", "green") for text in few}) < len(few) or not any("red" in text for text in few)
        for text, score in few.items():
            if text in many:
                assert score == pytest.approx(many[text], rel=1e-4)
                compared += "green" in text
    assert compared


def test_a_model_without_the_words_names_them(tiny):
    model = Predictor(tiny.trained())
    with pytest.raises(ValueError, match=r"attribute_shares = 'equal' needs mitigation\.attribute"):
        model.caption([], attribute_shares="equal")
