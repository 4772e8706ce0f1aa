"""Deletion and insertion curves, on a model that needs the pixels of one box."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capjax.explain.explanation import Geometry, HeatMaps
from capjax.explain.faithfulness import blurred, curves, most_visual_word, pixel_order
from tests.helpers.captioned import blotches

SIZE = 40
BOX = np.zeros((SIZE, SIZE), bool)
BOX[5:15, 20:36] = True


def heat_maps(map: np.ndarray) -> HeatMaps:
    return HeatMaps(map[None, None].astype(np.float32), np.zeros(1, np.float32), Geometry.whole(SIZE, SIZE))


def needs_the_box(visible, count, hidden=None, description=""):
    """Log-probabilities of two tokens that grow with the part of the box that is visible."""
    shown = visible(slice(0, count))[:, 0]
    return 2 * np.log(0.1 + 0.9 * (shown & BOX).sum((1, 2), keepdims=True)[..., 0] / BOX.sum())


ITEM = SimpleNamespace(shown=blotches(0, SIZE, SIZE)[None], tokens=np.array([2]), log_probs=needs_the_box)


@given(st.integers(0, 99), st.integers(1, 8))
def test_the_order_is_that_of_the_values_and_has_each_pixel_once(seed, cells):
    map = np.random.default_rng(seed).integers(0, 3, (cells, cells)).astype(np.float32)
    order = pixel_order(heat_maps(map), 0, (SIZE, SIZE))
    np.testing.assert_array_equal(np.sort(order.ravel()), np.arange(SIZE * SIZE))
    drawn = Geometry.whole(SIZE, SIZE).resample(map)
    assert (np.diff(drawn.ravel()[np.argsort(order.ravel())]) <= 1e-6).all()


def test_a_map_of_the_box_is_better_than_any_other_in_both_curves():
    maps = {"box": BOX, "not the box": ~BOX, "noise": np.random.default_rng(0).random((7, 7))}
    areas = {name: curve.areas() for name, curve in curves(ITEM, {n: heat_maps(m) for n, m in maps.items()}).items()}
    deletion, insertion = ({name: each[k] for name, each in areas.items()} for k in (0, 1))
    assert deletion["box"] < deletion["noise"] < deletion["not the box"]
    assert insertion["box"] > insertion["noise"] > insertion["not the box"]


def test_curves_begin_and_end_with_the_whole_and_the_hidden_picture():
    (curve,) = curves(ITEM, {"box": heat_maps(BOX)}, steps=4).values()
    np.testing.assert_allclose(curve.deletion[[0, -1]], [1, 0.1])
    np.testing.assert_allclose(curve.insertion[[0, -1]], [0.1, 1])
    # A quarter of the pixels is more than the box.
    np.testing.assert_allclose(curve.deletion[1], 0.1)
    assert curve.areas()[0] == pytest.approx((1 / 2 + 0.1 / 2 + 3 * 0.1) / 4)


def test_the_most_visual_word_is_the_one_that_is_lost_with_the_photo():
    def log_probs(visible, count):
        shown = visible(slice(0, count))[:, 0, 0]
        return np.where(shown, [-1.0, -0.5, -2.0, -3.5], [-1.5, -4.0, -3.0, -8.5])

    assert most_visual_word(SimpleNamespace(log_probs=log_probs)) == 1


def test_the_blur_hides_details_and_keeps_the_mean():
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    out = blurred(picture)
    assert out.std() < picture.std() / 4
    assert abs(out.mean() - picture.mean()) < 2
