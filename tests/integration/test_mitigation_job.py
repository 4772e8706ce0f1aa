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
    words = ("mitigation.attribute=(('red',), ('green', 'blue', 'yellow', 'black', 'white'))", "decode.num_beams=8")
    done = tiny.launch(workdir, *words, "decode.attribute_shares=equal", "decode.share_margin=0.05", mode="eval")
    assert done.returncode == 0, done.stderr
    said = predictions(workdir).values()
    assert (
        abs(sum("red" in caption for caption in said) / len(said) - 0.5) <= 0.05 or "lack of candidates" in done.stderr
    )


def test_a_model_chooses_among_its_hypotheses(tiny):
    config = Workdir(tiny.trained()).config()
    config.mitigation.attribute = (("red",), ("green", "blue", "yellow", "black", "white"))
    photos = sorted(tiny.photos.glob("*.jpg"))[:12]
    model = Predictor(tiny.trained(), config, num_beams=8)
    plain, equal = (model.caption(photos, attribute_shares=shares) for shares in ("", "equal"))
    assert [caption.text for caption in plain] != [caption.text for caption in equal]
    assert not any(caption.alternatives for caption in equal)
    before, after = (sum("red" in caption.text for caption in captions) for captions in (plain, equal))
    assert before < after <= 6
    assert all(b.score >= a.score - 1e-6 for b, a in zip(plain, equal, strict=True))


def test_a_model_without_the_words_names_them(tiny):
    model = Predictor(tiny.trained())
    with pytest.raises(ValueError, match=r"attribute_shares = 'equal' needs mitigation\.attribute"):
        model.caption([], attribute_shares="equal")
