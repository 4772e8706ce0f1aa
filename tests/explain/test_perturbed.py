"""Log-probabilities while parts are hidden: against the model on inputs that were changed beforehand."""

from dataclasses import replace

import numpy as np
import pytest

import capjax
from capjax.explain import perturbed
from capjax.explain.lime import random_masks
from capjax.explain.model import from_frames
from capjax.explain.perturbed import PerturbedItem
from tests.helpers.captioned import VIDEOS, blotches, make_batch

pytest.importorskip("skimage")
CASES = {
    "photo_transformer": [blotches(0), blotches(1)], "features_reranked": [blotches(2)], "video_captions": VIDEOS,
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_hidden_parts_have_the_mean_color_and_each_word_its_log_probability(caption_model, name):
    model = caption_model(name)
    batch = make_batch(model, CASES[name])
    row = len(batch.items) - 1
    item = PerturbedItem(model, batch, row)
    segments = item.segments(6)
    masks = np.random.default_rng(0).random((5, segments.max() + 1)) < 0.5
    log_probs = item.log_probs(lambda part: masks[part][:, segments], len(masks))
    mask = batch.media["frame_mask"][row]
    for visible, result in zip(masks, log_probs, strict=True):
        frames = batch.media["frames"].copy()
        mean = np.round(frames[row][mask].reshape(-1, 3).mean(0)).astype(np.uint8)
        shown = np.broadcast_to(visible[segments][..., None], frames[row].shape)
        frames[row] = np.where(shown, frames[row], mean)
        changed = replace(batch, media=from_frames({**batch.media, "frames": frames}))
        expected = batch.rows(model.word_log_probs(changed))[row]
        np.testing.assert_allclose(result, expected, atol=2e-3)


@pytest.mark.parametrize("name", CASES)
def test_with_all_parts_visible_the_caption_has_its_own_log_probability(caption_model, name):
    model = caption_model(name)
    batch = make_batch(model, CASES[name])
    expected = batch.rows(model.word_log_probs(batch))
    for row in range(len(batch.items)):
        item = PerturbedItem(model, batch, row)
        segments = item.segments(4)
        (result,) = item.log_probs(lambda part, s=segments: np.ones((1, *s.shape), bool), 1)
        np.testing.assert_allclose(result, expected[row], atol=2e-3)


def test_one_program_serves_all_photos_segmentations_and_numbers_of_inputs(caption_model):
    model = caption_model("photo_transformer")
    batch = make_batch(model, [blotches(3), blotches(4, 90, 40)])
    for row, count, fill in ((0, 3, None), (1, 20, None), (1, 9, np.zeros_like(batch.media["frames"][1]))):
        item = PerturbedItem(model, batch, row)
        segments = item.segments(2 + count)
        masks = random_masks(count, int(segments.max()) + 1)
        item.log_probs(lambda part, m=masks, s=segments: m[part][:, s], len(masks), fill)
    (program,) = [program for (function, _), program in model._programs.items() if function is perturbed._log_probs]
    assert program._cache_size() == 1


def test_batches_are_the_largest_that_fit_into_memory(caption_model, monkeypatch):
    model = caption_model("photo_transformer")
    item = PerturbedItem(model, make_batch(model, [blotches(5)]), 0)
    segments = item.segments(9)
    masks = random_masks(10, int(segments.max()) + 1)
    whole = item.log_probs(lambda part: masks[part][:, segments], len(masks))
    (of_four,) = {size for (function, *_), size in model._memory.items() if function is perturbed._log_probs}
    sizes = []
    run = PerturbedItem._run
    monkeypatch.setattr(PerturbedItem, "_run", lambda self, x: sizes.append(len(x.media["visible"])) or run(self, x))
    monkeypatch.setattr(perturbed, "_memory", lambda: of_four * 3 // 4)
    halved = item.log_probs(lambda part: masks[part][:, segments], len(masks))
    assert set(sizes) == {2}
    np.testing.assert_allclose(halved, whole, atol=1e-4)
    monkeypatch.setattr(perturbed, "_memory", lambda: 0)
    item.log_probs(lambda part: masks[part][:, segments], 2)
    assert sizes[-2:] == [1, 1], "a model that does not fit is tried with one input"


def test_the_memory_of_a_program_grows_with_its_batch(caption_model):
    model = caption_model("photo_transformer")
    item = PerturbedItem(model, make_batch(model, [blotches(6)]), 0)
    hidden = np.broadcast_to(item.mean(), item.shown.shape)
    visible = np.ones((4, 1, *item.shown.shape[1:3]), bool)
    small, large = (
        model.memory_of(perturbed._log_probs, item._inputs(visible[:size], hidden), entry="frames") for size in (1, 4)
    )
    assert large > 2 * small


def test_maps_are_of_the_pixels_of_photos_and_the_frames_of_videos(caption_model):
    options = {"method": "occlusion,lime", "caption": "a red picture", "samples": 20, "segments": 9}
    model = caption_model("photo_transformer").predictor
    (explanation,) = capjax.explain(model, [blotches(7)], **options)
    for maps in explanation.maps.values():
        words, size = len(explanation.words) + 1, model.parts().image_size
        assert maps.values.shape == (words, 1, size, size)
        assert (maps.geometry.width, maps.geometry.height) == (80, 60)
        assert maps.geometry.box == (0, 0, 80, 60)
    (explanation,) = capjax.explain(caption_model("video_captions").predictor, VIDEOS[:1], **options)
    for maps in explanation.maps.values():
        assert maps.values.shape == (len(explanation.words) + 1, len(maps.times), 1, 1)
        assert len(maps.times) > 1


def test_too_few_samples_are_an_error(caption_model):
    with pytest.raises(ValueError, match="samples = 1: expected 2 or more"):
        capjax.explain(caption_model("photo_transformer").predictor, [blotches(7)], method="lime", samples=1)
