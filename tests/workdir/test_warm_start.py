"""Initial weights from another run: whole, by pattern, and with another vocabulary."""

import numpy as np
import pytest

from capjax.config import ConfigError
from capjax.models.build import make_pure_model
from capjax.models.pure_model import make_key
from capjax.text import vocabulary
from capjax.text.vocabulary import Vocabulary
from capjax.workdir.checkpoint import load_weights
from capjax.workdir.warm_start import parse_init, warm_start
from tests.helpers.tiny_videos import draw_workdir


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """A workdir with drawn weights, and these weights."""
    workdir = tmp_path_factory.mktemp("warm") / "run"
    draw_workdir(tiny.config(), workdir, step=7)
    return workdir, {name: np.asarray(value) for name, value in load_weights(workdir)[1].items()}


def start(tiny, run, *more: str, words: Vocabulary | None = None):
    config = tiny.config(f"init={run[0]}", *more)
    words = words or Vocabulary.load(run[0] / "vocabulary.model")
    pure_model = make_pure_model(config, vocab=words.size)
    return pure_model, *warm_start(config, pure_model, words)


def test_the_setting_names_a_workdir_and_a_checkpoint():
    assert [(str(path), which) for path, which in map(parse_init, ("runs/a", "runs/a@best", "a@b/run@200"))] == [
        ("runs/a", ""), ("runs/a", "best"), ("a@b/run", "200"),
    ]  # fmt: skip


def test_a_whole_model_is_copied(tiny, run):
    _, params, _, report = start(tiny, run)
    assert params.keys() == run[1].keys()
    for name, value in run[1].items():
        np.testing.assert_array_equal(params[name], value)
    assert report == [f"initialized {len(params)} of {len(params)} arrays from {run[0]}, step 7"]


def test_patterns_select_parameters(tiny, run):
    _, params, _, _ = start(tiny, run, "init_patterns=^encoders/vision/")
    assert params.keys() == {name for name in run[1] if name.startswith("encoders/vision/")}
    with pytest.raises(ConfigError, match="no parameter of this model is in that checkpoint"):
        start(tiny, run, "init_patterns=^encodrs/")


def test_missing_unexpected_and_misshaped_parameters_are_listed(tiny, run):
    more = ("model.encoder.options.width=16", "model.temporal.name=transformer", "model.temporal.options.layers=1")
    _, params, _, report = start(tiny, run, *more, "model.temporal.options.heads=2")
    assert not any(name.startswith("encoders/vision/") for name in params)
    text = "\n".join(report)
    assert "missing in the checkpoint, not initialized from it: 'temporal/" in text
    assert "of another shape, not initialized from it: " in text and ", expected (" in text
    _, _, _, report = start(tiny, run, "model.decoder.name=lstm", "model.decoder.options={}")
    assert "unexpected in the checkpoint, not initialized from it: 'decoder/" in "\n".join(report)


def test_rows_of_shared_tokens_are_kept(tiny, run):
    sentences = {"en": ["a red picture", "quantum zebras wander"] * 30, "de": ["ein rotes Bild"] * 30}
    words = Vocabulary(vocabulary.train(sentences, size=330))
    old = Vocabulary.load(run[0] / "vocabulary.model")
    pure_model, params, _, report = start(tiny, run, words=words)
    shared = set(words.pieces) & set(old.pieces)
    assert 256 < len(shared) < words.size
    initial, _ = pure_model.init(make_key(0))
    name = "decoder/embedding/table"
    for i, piece in enumerate(words.pieces):
        expected = run[1][name][old.pieces.index(piece)] if piece in shared else np.asarray(initial[name])[i]
        np.testing.assert_allclose(params[name][i], expected, rtol=1e-6)
    assert f"the vocabularies share {len(shared)} tokens of {words.size}" in "\n".join(report)


def test_a_checkpoint_that_does_not_exist_is_named(tiny, run):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint '9'; there are best \(7\)"):
        start(tiny, (f"{run[0]}@9", None), words=Vocabulary.load(run[0] / "vocabulary.model"))
    assert load_weights(run[0], "best")[0] == load_weights(run[0], "7")[0] == 7
    assert load_weights(run[0], str(run[0] / "best/7"))[0] == 7
