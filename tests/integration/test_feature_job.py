"""A model trained on a frozen encoder's features captions raw photos."""

import json
import shutil

import numpy as np
import pytest

import capjax
from capjax.data.record import RecordSource
from capjax.data.transforms import view
from capjax.evals.page import make_page
from capjax.workdir.layout import Workdir
from data_prep.features import FeatureBuilder, FeatureSettings
from tests.helpers.tiny_job import in_this_process, predictions, shared_once
from tests.helpers.weight_files import slim_resnet, write_safetensors


def extract(tiny, folder, seed: int):
    weights = write_safetensors(slim_resnet(channels=4, stem=3), folder / f"{seed}.safetensors")
    settings = FeatureSettings("resnet10_slim", {"channels": 4}, str(weights), 32, views=2, batch=8)
    FeatureBuilder(tiny.data, folder / f"features{seed}", settings, progress=False).download_and_prepare()
    return folder / f"features{seed}"


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    """A workdir trained on features and evaluated; the dataset of features is gone."""

    def make(folder):
        data = extract(tiny, folder, 0)
        settings = (
            "data.features=true", f"data.train={data}@train", f"data.eval={data}@val", "model.dropout=0.0",
            "optimizer.learning_rate=0.01", "train.steps=120", "train.eval_every=0", "checkpoint.every=120",
        )  # fmt: skip
        done = tiny.launch(folder / "run", *settings)
        assert done.returncode == 0, (done.returncode, done.stderr)
        (folder / "page.html").write_text(make_page(Workdir(folder / "run")))
        report = json.loads((data / "report.json").read_text())
        del report["extracted_from"]  # as in datasets of capjax 0.1
        (data / "report.json").write_text(json.dumps(report))
        (data / "digests.json").unlink()
        (folder / "old_page.html").write_text(make_page(Workdir(folder / "run")))
        (folder / "old_page_with_photos.html").write_text(make_page(Workdir(folder / "run"), photos=tiny.data))
        (folder / "features.json").write_text(json.dumps(RecordSource(data, "val")[0].features[0].tolist()))
        shutil.rmtree(data)

    return shared_once(tmp_path_factory, "tiny_features", make)


@pytest.fixture
def model(tiny, trained, monkeypatch):
    in_this_process(monkeypatch, tiny.path)
    return capjax.load(trained / "run")


def test_raw_photos_get_the_captions_of_the_evaluation_on_features(tiny, trained, model):
    wanted = predictions(trained / "run")
    assert len(set(wanted.values())) > 2, "a model that says the same of all would prove nothing"
    captions = model.caption([tiny.photos / name for name in wanted])
    same = [caption.text == wanted[name] for name, caption in zip(wanted, captions, strict=True)]
    # The encoder runs in another batch than at extraction, so that a float16 may round to its neighbor: two captions
    # that score the same could then change places.
    assert np.mean(same) >= 0.9


def test_raw_photos_give_the_stored_features(tiny, trained, model):
    name = next(iter(predictions(trained / "run")))
    stored = np.array(json.loads((trained / "features.json").read_text()))
    frames = np.zeros((8, 1, 32, 32, 3), np.uint8)
    view(model.read(tiny.photos / name).frames[0], 32, out=frames[0, 0])
    times, mask = np.zeros(frames.shape[:2], np.float32), np.ones(frames.shape[:2], bool)
    features = np.asarray(model._batch.extractor(frames, times, mask))
    np.testing.assert_allclose(features[0], stored, rtol=2e-3, atol=1e-3)


def test_the_workdir_holds_the_encoder(trained):
    about = json.loads((trained / "run/encoder/encoder.json").read_text())
    assert about["encoder"] == "resnet10_slim"
    assert (trained / "run/encoder/encoder.safetensors").is_file()


def test_the_page_shows_the_photos_that_the_features_were_extracted_from(trained):
    assert "<figure>" in (trained / "page.html").read_text()


def test_the_page_of_old_features_says_how_to_name_the_photos(trained):
    text = (trained / "old_page.html").read_text()
    assert "<figure>" not in text
    assert "does not record the dataset that it was extracted from. Give <code>--photos</code>" in text
    assert (trained / "old_page_with_photos.html").read_text() == (trained / "page.html").read_text()
