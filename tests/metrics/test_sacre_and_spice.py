"""Scores that others' programs compute: sacrebleu's for every language, SPICE where Java and its models are."""

import sys
import types

import numpy as np
import pytest

from capjax.metrics import score, spice

PREDICTIONS = {1: "the cat is on the mat", 2: "two dogs run", 3: ""}
REFERENCES = {1: ["the cat sat on the mat", "a cat on a mat"], 2: ["two brown dogs are running"], 3: ["a man", "men"]}


def test_chrf_and_bleu_are_sacrebleus_own_where_items_have_different_numbers_of_references():
    sacrebleu = pytest.importorskip("sacrebleu")
    scores = score(PREDICTIONS, REFERENCES, metrics=["chrf", "sacrebleu"])
    streams = [[group[0] for group in REFERENCES.values()], [*[REFERENCES[1][1], None, REFERENCES[3][1]]]]
    texts = list(PREDICTIONS.values())
    assert scores.corpus["chrF"] == pytest.approx(sacrebleu.corpus_chrf(texts, streams).score)
    assert scores.corpus["sacreBLEU"] == pytest.approx(sacrebleu.corpus_bleu(texts, streams).score)
    assert scores.items["chrF"][1] == pytest.approx(sacrebleu.sentence_chrf(texts[1], REFERENCES[2]).score)
    assert "sacrebleu:nrefs:var|" in scores.signatures["chrF"]


@pytest.mark.parametrize(("lang", "name"), [("de", "13a"), ("zh-TW", "zh"), ("th", "char")])
def test_sacrebleu_s_tokenizer_is_that_of_the_language(lang, name):
    pytest.importorskip("sacrebleu")
    scores = score({1: "x 狗 y"}, {1: ["x 狗 y"]}, lang=lang, metrics=["sacrebleu"])
    assert f"|tok:{name}|" in scores.signatures["sacreBLEU"]


def test_without_sacrebleu_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'capjax\[sacrebleu\]'"):
        score(PREDICTIONS, REFERENCES, metrics=["chrf"])


@pytest.fixture
def spice_package(tmp_path, monkeypatch):
    """A pycocoevalcap with models, and a java; what Spice answers can be set."""
    (tmp_path / "lib").mkdir()
    for name in spice._MODELS:
        (tmp_path / "lib" / name).touch()
    monkeypatch.setattr(spice, "_package", lambda: tmp_path)
    monkeypatch.setattr(spice.shutil, "which", lambda name: f"/usr/bin/{name}")
    module = types.ModuleType("pycocoevalcap.spice.spice")
    monkeypatch.setitem(sys.modules, "pycocoevalcap.spice.spice", module)

    class Spice:
        def compute_score(self, references, predictions):
            assert references == dict(enumerate(REFERENCES.values()))
            return 0.0, [{"All": {"f": 0.25 * len(predictions[i][0].split())}} for i in predictions]

    module.Spice = Spice
    return module


def test_spice_comes_from_pycocoevalcap_where_it_can_run(spice_package):
    scores = score(PREDICTIONS, REFERENCES, metrics=["spice"])
    np.testing.assert_allclose(scores.items["SPICE"], [1.5, 0.75, 0.0])
    assert scores.corpus["SPICE"] == pytest.approx(0.75) and not scores.absent


@pytest.mark.parametrize("reason", ["no java", "no models", "it fails", "German"])
def test_where_spice_cannot_run_it_is_absent_and_never_0(spice_package, monkeypatch, tmp_path, reason):
    if reason == "no java":
        monkeypatch.setattr(spice.shutil, "which", lambda name: None)
    elif reason == "no models":
        (tmp_path / "lib" / spice._MODELS[1]).unlink()
    elif reason == "it fails":
        spice_package.Spice.compute_score = lambda *_: 1 / 0
    scores = score(PREDICTIONS, REFERENCES, metrics=["spice", "rouge"], lang="de" if reason == "German" else "en")
    assert "SPICE" not in scores.corpus and "ROUGE-L" in scores.corpus
    wanted = {"no java": "java", "no models": "models", "it fails": "division", "German": "English"}[reason]
    assert wanted in scores.absent["spice"]


def test_an_unknown_metric_is_named():
    with pytest.raises(ValueError, match="no metric 'bleurt'; did you mean bleu. choose from bleu"):
        score(PREDICTIONS, REFERENCES, metrics=["bleurt"])
