"""Occlusion: against its definition, and on models of which the truth is known."""

import numpy as np
import pytest

from capjax.explain.methods import METHODS, Options
from capjax.explain.perturbed import PerturbedItem
from capjax.explain.segments import superpixels
from tests.helpers.captioned import VIDEOS, blotches, make_batch

pytest.importorskip("skimage")


def test_the_map_is_the_mean_over_sizes_of_the_fall_for_an_area_of_the_smallest(caption_model):
    model = caption_model("photo_transformer")
    batch = make_batch(model, [blotches(0)])
    (maps,) = METHODS.get("occlusion")(model, batch, Options(segments=12))
    item = PerturbedItem(model, batch, 0)
    (whole,) = item.log_probs(lambda part: np.ones((1, *item.segments(12).shape), bool), 1)
    expected = np.zeros_like(maps.values)
    for count in (12, 6, 3):
        segments = superpixels(item.shown[0], count)[None]
        for number in np.unique(segments):
            shown = segments != number
            (changed,) = item.log_probs(lambda part, shown=shown: shown[None], 1)
            fall = (whole - changed) / (~shown).mean() / len(np.unique(item.segments(12)))
            expected += np.multiply.outer(fall, ~shown) / 3
    np.testing.assert_allclose(maps.values, expected, atol=1e-3)
    assert np.abs(expected).max() > 0.05


@pytest.mark.parametrize(
    ("name", "media"), [("photo_transformer", [blotches(1)]), ("video_captions", VIDEOS[:1])], ids=["photo", "video"]
)
def test_where_each_pixel_adds_to_the_log_probability_the_map_adds_up_to_the_whole_fall(
    caption_model, monkeypatch, name, media
):
    model = caption_model(name)
    batch = make_batch(model, media)
    item = PerturbedItem(model, batch, 0)
    gain = np.random.default_rng(0).random((int(item.mask.sum()), *item.segments(8).shape[1:]))

    def log_probs(self, visible, count, hidden=None, description=""):
        shown = visible(slice(0, count))[:, self.mask]
        return np.repeat((shown * gain).sum((1, 2, 3))[:, None], len(batch.items[0].words) + 1, axis=1)

    monkeypatch.setattr(PerturbedItem, "log_probs", log_probs)
    (maps,) = METHODS.get("occlusion")(model, batch, Options(segments=8))
    parts = item.segments(8).max() + 1
    np.testing.assert_allclose(maps.values.mean((1, 2, 3)) * parts, gain.sum(), rtol=1e-4)


def test_what_each_of_two_moments_shows_is_found_though_hiding_one_changes_nothing(caption_model, monkeypatch):
    model = caption_model("video_captions")
    batch = make_batch(model, VIDEOS[:1])
    item = PerturbedItem(model, batch, 0)
    moments = int(item.mask.sum())
    larger = item.segments(moments // 2)[item.mask].ravel()
    both = larger == 1
    assert both.sum() >= 2

    def log_probs(self, visible, count, hidden=None, description=""):
        shown = visible(slice(0, count))[:, self.mask, 0, 0][:, both].any(1)
        return np.repeat(shown[:, None].astype(np.float32), len(batch.items[0].words) + 1, axis=1)

    monkeypatch.setattr(PerturbedItem, "log_probs", log_probs)
    (maps,) = METHODS.get("occlusion")(model, batch, Options(segments=moments))
    for word in range(len(maps.values)):
        curve = maps.curve(word)
        assert curve[both].min() > max(curve[~both].max(), 0)
