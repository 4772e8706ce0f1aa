"""LIME: against the `lime` package, and on models whose coefficients are known."""

import numpy as np
import pytest

from capjax.explain.lime import coefficients, random_masks
from capjax.explain.methods import METHODS, Options
from capjax.explain.model import CaptionedBatch, from_frames
from capjax.explain.perturbed import PerturbedItem
from tests.helpers.captioned import VIDEOS, blotches, make_batch

pytest.importorskip("skimage")


class FixedMasks(np.random.RandomState):
    """A source of randomness from which the `lime` package draws given masks."""

    def __init__(self, masks: np.ndarray):
        super().__init__(0)
        self._masks = masks

    def randint(self, *_, **__):
        return self._masks.astype(int).ravel()


@pytest.mark.parametrize("name", ["photo_transformer", "features_reranked"])
def test_coefficients_are_those_of_the_lime_package_for_equal_perturbations(caption_model, name):
    lime_image = pytest.importorskip("lime.lime_image")
    model = caption_model(name)
    batch = make_batch(model, [blotches(0)])
    item = PerturbedItem(model, batch, 0)
    (picture,), segments = item.shown, item.segments(12)
    masks = random_masks(200, int(segments.max()) + 1)

    def classify(pictures: np.ndarray) -> np.ndarray:
        def repeated(x):
            return np.repeat(np.asarray(x)[:1], len(pictures), axis=0)

        media = {entry: repeated(value) for entry, value in from_frames(batch.media).items()}
        media["frames"] = pictures[:, None]
        changed = CaptionedBatch(batch.items, media, repeated(batch.target), repeated(batch.word_tokens))
        return np.asarray(model.word_log_probs(changed))

    explanation = lime_image.LimeImageExplainer(random_state=FixedMasks(masks)).explain_instance(
        picture, classify, hide_color=item.mean(), top_labels=None, labels=range(len(batch.items[0].words) + 1),
        num_samples=len(masks), segmentation_fn=lambda _: segments[0],
    )  # fmt: skip
    (maps,) = METHODS.get("lime")(model, batch, Options(samples=200, segments=12))
    for word, own in enumerate(maps.values[:, 0]):
        expected = np.array([value for _, value in sorted(explanation.local_exp[word])])
        np.testing.assert_allclose(own, expected[segments[0]], atol=1e-3)
        assert np.abs(expected).max() > 0.01


def test_the_coefficients_of_a_linear_model_are_its_own():
    rng = np.random.default_rng(0)
    masks, truth = random_masks(3000, 6), rng.normal(size=(6, 3))
    values = masks @ truth + rng.normal(size=3)
    np.testing.assert_allclose(coefficients(masks, values), truth, atol=0.02)


def test_inputs_near_the_original_count_more():
    masks = random_masks(2000, 8)
    distant = masks.sum(1) <= 4
    values = np.where(distant, -1.0, 1.0)[:, None] * masks[:, :1]
    unweighted = np.linalg.lstsq(np.c_[masks, np.ones(len(masks))], values, rcond=None)[0][0, 0]
    assert coefficients(masks, values)[0, 0] > unweighted + 0.2


def test_the_first_mask_shows_everything_and_the_others_about_half():
    masks = random_masks(1000, 20)
    assert masks[0].all()
    assert 0.45 < masks[1:].mean() < 0.55


def test_a_moment_without_which_a_word_is_unlikely_has_the_largest_coefficient(caption_model, monkeypatch):
    model = caption_model("video_captions")
    batch = make_batch(model, VIDEOS[:1])

    def log_probs(self, visible, count, hidden=None, description=""):
        shown = visible(slice(0, count))[:, 2, 0, 0]
        return np.repeat(shown[:, None].astype(np.float32), len(batch.items[0].words) + 1, axis=1)

    monkeypatch.setattr(PerturbedItem, "log_probs", log_probs)
    for method in ("lime", "occlusion"):
        (maps,) = METHODS.get(method)(model, batch, Options(samples=200))
        assert all(maps.curve(word).argmax() == 2 for word in range(len(maps.values)))
