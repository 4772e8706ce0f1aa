"""Maps depend on the weights of the model (Adebayo et al. 2018)."""

import numpy as np
import pytest
from PIL import Image

import capjax
from capjax.explain.explanation import Geometry, HeatMaps
from capjax.explain.methods import Options
from capjax.explain.model import CaptionModel
from capjax.explain.segments import superpixels
from tests.helpers.captioned import blotches
from tests.helpers.pictures import encode
from tests.helpers.sanity_check import maps_of, mean_rank_correlation, randomized
from tests.helpers.tiny_job import shared_once
from tests.helpers.tiny_videos import draw_workdir

pytest.importorskip("skimage")
PICTURES = 50
METHODS = {
    "attention": Options(), "gradcam": Options(), "occlusion": Options(segments=12),
    "lime": Options(segments=12, samples=60),
}  # fmt: skip
# A grid of 8 x 8.
SETTINGS = ("model.encoder.name=resnet10_slim", 'model.encoder.options={"channels": 8, "depths": (0, 1)}')


@pytest.fixture(scope="module")
def model(tiny, tmp_path_factory) -> CaptionModel:
    make = lambda folder: draw_workdir(tiny.config(*SETTINGS), folder / "run")  # noqa: E731
    return CaptionModel(capjax.load(shared_once(tmp_path_factory, "tiny_sanity", make) / "run"))


@pytest.fixture(scope="module")
def batches(model):
    rng, items = np.random.default_rng(0), []
    for _ in range(PICTURES):
        small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        picture = encode(small.resize((32, 32), Image.Resampling.BICUBIC))
        sample = model.predictor.read(picture)
        items.append(model.item("", sample, picture, model.vocabulary.encode("a red picture"), "en"))
    return [model.batch(items[start : start + 32]) for start in range(0, PICTURES, 32)]


def test_after_all_layers_are_random_maps_no_longer_resemble_the_original(model, batches):
    original = maps_of(model, batches, model.weights, METHODS)
    *_, (_, weights) = randomized(model)
    assert all(np.any(weights[0][name] != value) for name, value in model.weights[0].items() if value.ndim > 1)
    after = maps_of(model, batches, weights, METHODS)
    for method in METHODS:
        assert mean_rank_correlation(original[method], original[method]) == pytest.approx(1)
        assert mean_rank_correlation(original[method], after[method]) < 0.2, method


def test_shared_superpixels_alone_make_no_correlation():
    rng, first, second = np.random.default_rng(0), [], []
    for seed in range(200):
        segments = superpixels(blotches(seed, 32, 32), 12)
        for maps in (first, second):
            values = rng.normal(size=segments.max() + 1).astype(np.float32)
            maps.append(HeatMaps(values[segments][None, None], np.zeros(1, np.float32), Geometry.whole(32, 32)))
    assert mean_rank_correlation(first, first) == pytest.approx(1)
    assert abs(mean_rank_correlation(first, second)) < 0.06
