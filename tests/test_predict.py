"""`capjax.load(workdir).caption(images)` says what evaluation said, wherever the workdir lies."""

import json

import numpy as np
import pytest
from PIL import Image

import capjax
from capjax import runtime
from capjax.predict import MediaError
from tests.helpers.tiny_job import Tiny, copy, predictions


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return Tiny(tmp_path_factory)


@pytest.fixture(scope="module")
def model(tiny):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAPJAX_CACHE", str(tiny.path / "cache"))
        runtime.start()
    return capjax.load(tiny.trained())


@pytest.mark.parametrize("lang", ["en", "de"])
def test_raw_photos_get_the_captions_of_the_evaluation(tiny, model, lang):
    wanted = predictions(tiny.trained(), lang)
    assert len(set(wanted.values())) > 2, "a model that says the same of all would prove nothing"
    captions = model.caption([tiny.photos / name for name in wanted], lang=lang)
    assert {name: caption.text for name, caption in zip(wanted, captions, strict=True)} == wanted
    assert all(caption.lang == lang and np.isfinite(caption.score) and caption.score < 0 for caption in captions)


def test_the_weights_are_those_of_the_best_evaluation(tiny, model):
    rows = [json.loads(line) for line in (tiny.trained() / "metrics.jsonl").read_text().splitlines()]
    best = max((row for row in rows if "eval/CIDEr" in row), key=lambda row: row["eval/CIDEr"])
    assert model.step == best["step"]


def test_all_forms_of_an_image_give_one_caption(tiny, model):
    path = tiny.photos / "000.jpg"
    with Image.open(path) as image:
        image.load()
    forms = [str(path), path, path.read_bytes(), image, np.asarray(image)]
    texts = {caption.text for form in forms for caption in model.caption([form])}
    assert len(texts) == 1


def test_a_caption_does_not_depend_on_its_company(tiny, model):
    paths = sorted(tiny.photos.glob("*.jpg"))[:9]
    together = model.caption(paths)
    assert together == model.caption(iter(paths), batch_size=9)
    alone = [caption for path in paths[:2] for caption in model.caption([path])]
    assert [caption.text for caption in alone] == [caption.text for caption in together[:2]]
    np.testing.assert_allclose([c.score for c in alone], [c.score for c in together[:2]], rtol=1e-4)
    assert model.caption([]) == []


def test_a_moved_workdir_needs_nothing_else(tiny, tmp_path, model):
    workdir = copy(tiny.trained(), tmp_path / "elsewhere")
    config = json.loads((workdir / "config.json").read_text())
    config["data"] |= {"train": ["gone@train"], "eval": "gone@val", "vocabulary": "gone.model"}
    (workdir / "config.json").write_text(json.dumps(config))
    photo = tiny.photos / "003.jpg"
    assert capjax.load(workdir).caption([photo])[0].text == model.caption([photo])[0].text


def test_a_file_that_cannot_be_read_is_named(tmp_path, model):
    (tmp_path / "notes.jpg").write_text("no picture")
    with pytest.raises(MediaError, match=r"notes.jpg: not an image"):
        model.caption([tmp_path / "notes.jpg"])
    with pytest.raises(MediaError, match=r"missing.jpg does not exist"):
        model.caption([tmp_path / "missing.jpg"])


def test_what_the_model_cannot_do_is_said(tiny, model):
    photo = [tiny.photos / "000.jpg"]
    with pytest.raises(ValueError, match="this model writes en, de; it was not trained on 'fr'"):
        model.caption(photo, lang="fr")
    with pytest.raises(ValueError, match="unknown decoding option 'beam'; there are .*beams"):
        model.caption(photo, beam=3)
    with pytest.raises(ValueError, match="beams = 0"):
        model.caption(photo, num_beams=0)


def test_a_folder_without_a_model_is_said_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no trained model here"):
        capjax.load(tmp_path)


def test_a_workdir_whose_parts_are_of_two_runs_is_refused(tiny, tmp_path):
    workdir = copy(tiny.trained(), tmp_path / "mixed")
    config = json.loads((workdir / "config.json").read_text())
    config["model"]["width"] = 64
    (workdir / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="checkpoint and config.json are of different models.*decoder/"):
        capjax.load(workdir)
