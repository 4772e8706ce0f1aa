"""The video transformer: what attends to what, times in seconds, and padding that changes nothing."""

import numpy as np
import pytest
from flax import nnx

from capjax.models.encoders import ENCODERS
from capjax.models.stacked import unstack
from tests.helpers.shape_checks import without_shape_checks

pytestmark = pytest.mark.usefixtures("quick_compilation")
SMALL = {"width": 16, "depth": 2, "heads": 2, "patch": 8, "image_size": 16}
KINDS = ("divided", "joint")


def small(**options):
    return ENCODERS.make("video_vit_tiny", rngs=nnx.Rngs(0), **SMALL | options)


def clip(b: int, t: int, size: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (b, t, size, size, 3)).astype(np.uint8)


def seconds(b: int, t: int, fps: float = 2.0) -> np.ndarray:
    return np.tile(np.arange(t, dtype=np.float32) / fps, (b, 1))


@nnx.jit
def run(encoder, frames, times, mask):
    return encoder(frames, times, mask)


@nnx.jit
def look(encoder, frames, times, mask):
    return encoder(frames, times, mask, return_attention=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tubelet", [1, 2])
def test_padding_changes_nothing_whatever_it_shows_and_however_much_it_is(kind, tubelet):
    encoder = small(attention=kind, tubelet=tubelet)
    frames, times, mask = clip(2, 8), seconds(2, 8), np.ones((2, 8), bool)
    mask[1, 5:] = False
    features = np.asarray(run(encoder, frames, times, mask))
    assert features.shape == (2, 8 // tubelet, 2, 2, 16)
    other, later, real = frames.copy(), times.copy(), -(-5 // tubelet)
    other[1, 5:], later[1, 5:] = 255 - other[1, 5:], 99.0
    np.testing.assert_allclose(run(encoder, other, later, mask)[1, :real], features[1, :real], atol=1e-5)
    cut = run(encoder, frames[1:, :5], times[1:, :5], mask[1:, :5])
    np.testing.assert_allclose(cut[0], features[1, :real], atol=1e-5)
    other[1, 4] = 255 - other[1, 4]
    assert (np.abs(run(encoder, other, times, mask) - features)[1, :real].max((1, 2, 3)) > 1e-4).all()


@pytest.mark.parametrize("kind", KINDS)
def test_attention_over_space_and_time_sums_to_one_and_to_nothing_for_padding(kind):
    encoder = small(attention=kind)
    mask = np.ones((2, 8), bool)
    mask[1, 4:] = False
    inputs = clip(2, 8), seconds(2, 8), mask
    features, attention = look(encoder, *inputs)
    np.testing.assert_allclose(features, run(encoder, *inputs), atol=1e-5)
    assert attention.time.shape == (2, 2, 2, 4, 4, 4)  # layers, b, heads, t, n, t
    assert attention.space.shape == (2, 2, 2, 4, 4, 4)  # layers, b, heads, t, n, n
    np.testing.assert_allclose(attention.time.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(attention.space.sum(-1), 1.0, rtol=1e-5)
    assert not attention.time[:, 1, ..., 2:].any() and (attention.time[:, 0] > 0).all()


def test_divided_attention_is_over_the_same_place_at_all_times_and_all_places_at_the_same_time():
    encoder = small(depth=1, tubelet=1)
    frames, times, mask = clip(1, 3), seconds(1, 3), np.ones((1, 3), bool)
    _, attention = look(encoder, frames, times, mask)

    @nnx.jit
    def by_hand(encoder):
        """Queries and keys [heads, k, d] of each place over time, and of each moment over space."""
        (block,) = unstack(encoder.blocks, 1)
        x = encoder._tokens(frames, times, mask)[0].swapaxes(0, 1)  # [n, t, d]
        normed = block.time_norm(x)
        over_time = block.time_attention.project(normed)[:2]
        x = (x + block.time_attention(normed)[0]).swapaxes(0, 1)
        return over_time, block.attention.project(block.attention_norm(x))[:2]

    for (query, key), ours in zip(by_hand(encoder), (attention.time, attention.space), strict=True):
        scores = np.exp(np.asarray(query, np.float64) @ np.asarray(key, np.float64).swapaxes(-1, -2) / 8**0.5)
        expected = scores / scores.sum(-1, keepdims=True)  # [n, heads, t, t], then [t, heads, n, n]
        axes = (1, 2, 0, 3) if ours is attention.time else (1, 0, 2, 3)
        np.testing.assert_allclose(ours[0, 0], expected.transpose(axes), rtol=1e-4, atol=1e-6)


def test_the_same_moments_at_another_frame_rate_give_near_the_same():
    """A video that changes once, at 2 and at 4 frames a second: what is far from it is what the clock says."""
    encoder = small(tubelet=1)
    pictures = clip(1, 2)

    def features(fps, start=0.0):
        times = seconds(1, int(4 * fps), fps)
        frames = np.where((times < 2)[..., None, None, None], pictures[:, :1], pictures[:, 1:])
        return np.asarray(run(encoder, frames, times + start, np.ones(times.shape, bool)))[0]

    slow, fast, later = features(2.0), features(4.0)[::2], features(2.0, start=20.3)
    changed = np.abs(slow - later).mean()
    assert np.abs(slow - fast).mean() < changed / 4


def test_of_a_tubelet_each_frame_counts():
    encoder = small(tubelet=2)
    frames, times, mask = clip(1, 4), seconds(1, 4), np.ones((1, 4), bool)
    expected = run(encoder, frames, times, mask)
    for i in range(4):
        other = frames.copy()
        other[0, i] = 255 - other[0, i]
        assert np.abs(run(encoder, other, times, mask) - expected).max() > 1e-3


def test_it_reads_frames_of_other_sizes_and_no_others():
    encoder = small()
    assert run(encoder, np.zeros((1, 2, 24, 8, 3), np.uint8), seconds(1, 2), np.ones((1, 2), bool)).shape[2:4] == (3, 1)
    with pytest.raises(ValueError, match="20 x 16 pixels is not a whole number of patches of 8"):
        encoder(np.zeros((1, 2, 20, 16, 3), np.uint8), seconds(1, 2), np.ones((1, 2), bool))
    with without_shape_checks(), pytest.raises(ValueError, match=r"RGB images \[b, t, h, w, 3\]"):
        encoder(np.zeros((2, 16, 16, 3), np.uint8), seconds(2, 16), np.ones((2, 16), bool))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "both"}, "'both': expected 'divided' or 'joint'"),
        ({"heads": 3}, "with 3 heads in the encoder: .* heads that divide the width"),
        ({"tubelet": 0}, "tubelet 0: expected 1 frame or more"),
    ],
)
def test_an_encoder_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        nnx.eval_shape(lambda: small(**options))
