"""Segments of photos and videos."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capjax.explain.segments import superpixels, time_segments
from tests.helpers.captioned import blotches

pytest.importorskip("skimage")


@pytest.mark.parametrize("count", [2, 10, 50])
@pytest.mark.parametrize("picture", [blotches(0), np.full((40, 40, 3), 7, np.uint8), np.zeros((1, 1, 3), np.uint8)])
def test_superpixels_are_numbered_without_gaps(picture, count):
    labels = superpixels(picture, count)
    assert labels.shape == picture.shape[:2]
    np.testing.assert_array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert labels.max() < 2 * count


def test_superpixels_follow_the_edges_of_things():
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[10:40, 13:44] = 255
    labels = superpixels(picture, 16)
    inside = np.unique(labels[10:40, 13:44])
    covered = np.isin(labels, inside)
    covered[10:40, 13:44] = False
    assert covered.mean() < 0.02


@given(st.integers(1, 40), st.integers(0, 9), st.integers(2, 60))
def test_moments_are_in_order_without_gaps_and_of_equal_length(real, padding, count):
    labels = time_segments(real, real + padding, count)
    assert len(labels) == real + padding
    lengths = np.bincount(labels[:real])
    assert len(lengths) == min(real, count)
    assert lengths.max() - lengths.min() <= 1
    assert (np.diff(labels) >= 0).all()
    assert (labels[real:] == labels[real - 1]).all()
