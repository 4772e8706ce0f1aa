"""Above an encoder that sees a frame at a time: what changes, and attention over time."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from capjax.models.frame_difference import FrameDifference, FrameSimilarity, cosine_distances
from capjax.models.memory import Memory, Segment
from capjax.models.temporal import TEMPORAL
from tests.helpers.drawn_models import draw_model

B, T, N, D = 2, 5, 4, 8
RNG = np.random.default_rng(0)
MASK = np.arange(T) < np.array([[5], [3]])


def changes():
    return draw_model(lambda key: FrameDifference(6, D, dtype=jnp.float32, rngs=nnx.Rngs(key)))


def test_of_rest_the_same_is_told_whatever_is_seen():
    still = np.broadcast_to(RNG.normal(size=(B, 1, N, 6)), (B, T, N, 6)).astype(np.float32)
    other = np.broadcast_to(RNG.normal(size=(B, 1, N, 6)), (B, T, N, 6)).astype(np.float32)
    model = changes()
    # Without its biases: they give what is seen a share even of a still picture.
    model.change.bias[...] = jnp.zeros_like(model.change.bias[...])
    np.testing.assert_allclose(model(still, MASK), model(other, MASK), atol=1e-5)
    moved = still.copy()
    moved[0, 2, 1] += 1.0
    differences = np.abs(np.asarray(model(moved, MASK) - model(still, MASK))).max((2, 3))
    assert (differences[0, 1:4] > 1e-3).all(), "the frame, and those before and after it"
    assert differences[0, [0, 4]].max() < 1e-5
    assert differences[1].max() < 1e-5


def test_frames_that_are_none_differ_in_nothing():
    x = RNG.normal(size=(B, T, N, 6)).astype(np.float32)
    other = np.where(MASK[..., None, None], x, 99.0).astype(np.float32)
    ours, theirs = (np.asarray(changes()(frames, MASK)) for frames in (x, other))
    np.testing.assert_allclose(ours[MASK], theirs[MASK], atol=1e-5)


@pytest.mark.parametrize("reach", [1, 3, 7])
def test_likeness_is_the_cosine_to_each_frame_around_and_none_to_what_is_not_there(reach):
    x = RNG.normal(size=(B, T, 6)).astype(np.float32)
    distances = np.asarray(cosine_distances(jnp.asarray(x), MASK, reach))
    assert distances.shape == (B, T, 2 * reach)
    for b, t, r, side in np.ndindex(B, T, reach, 2):
        other = t + (r + 1) * (-1, 1)[side]
        is_real = MASK[b, t] and 0 <= other < T and MASK[b, other]
        cosine = x[b, t] @ x[b, other] / np.linalg.norm(x[b, t]) / np.linalg.norm(x[b, other]) if is_real else 0.0
        assert distances[b, t, 2 * r + side] == pytest.approx(1 - cosine, abs=1e-5)


def test_likeness_tells_cuts_whatever_the_shots_show():
    """Two videos with a cut at the same frame, to the opposite of what was seen: both cuts are as deep."""
    model = draw_model(lambda key: FrameSimilarity(2, D, dtype=jnp.float32, rngs=nnx.Rngs(key)))
    shots = RNG.normal(size=(2, 1, N, 6)).astype(np.float32)
    videos = jnp.asarray(np.concatenate([shots, shots, -shots, -shots, -shots], axis=1))
    output = np.asarray(model(videos, np.ones((2, T), bool)))
    np.testing.assert_allclose(output[0], output[1], atol=1e-5)
    assert np.abs(output[0, 1] - output[0, 3]).max() > 1e-3


def temporal(**options):
    def make(key):
        return TEMPORAL.make("transformer", width=D, layers=1, heads=2, rngs=nnx.Rngs(key), **options)

    return draw_model(make)


def memory(x) -> Memory:
    frame, place = np.divmod(np.arange(T * N), N)
    return Memory(
        x=jnp.asarray(x.reshape(B, T * N, D)),
        mask=jnp.asarray(np.repeat(MASK, N, axis=1)),
        time=jnp.asarray(np.broadcast_to(np.repeat(np.arange(T, dtype=np.float32), N), (B, T * N))),
        grid_index=jnp.asarray(np.stack([frame, place // 2, place % 2], axis=-1)),
        segments=(Segment("vision", T, N),),
    )


@pytest.mark.parametrize(
    ("space", "mixers", "places"), [("pooled", 2, 1), ("added", 1, N), ("same", 0, N), ("all", 0, N)]
)
def test_padding_frames_change_nothing_of_the_real_ones(space, mixers, places):
    model, x = temporal(space=space, mixers=mixers), RNG.normal(size=(B, T, N, D)).astype(np.float32)
    other = np.where(MASK[..., None, None], x, 99.0).astype(np.float32)
    ours, theirs = (model(memory(frames))[0] for frames in (x, other))
    assert ours.x.shape == (B, T * places, D)
    real = np.repeat(MASK, places, axis=1)
    np.testing.assert_array_equal(ours.mask, real)
    np.testing.assert_allclose(np.asarray(ours.x)[real], np.asarray(theirs.x)[real], atol=1e-4)


def test_what_is_added_to_a_frame_is_the_same_for_all_its_places():
    x = RNG.normal(size=(B, T, N, D)).astype(np.float32)
    added = np.asarray(temporal(space="added", mixers=1)(memory(x))[0].x).reshape(B, T, N, D) - x
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :, :1], added.shape), atol=1e-5)
    pooled = np.asarray(temporal(space="pooled", mixers=1)(memory(x))[0].x)
    np.testing.assert_allclose(added[:, :, 0], pooled, atol=1e-5)


def test_mixers_need_one_position_a_frame():
    with pytest.raises(ValueError, match="mixers = 1 need one position a frame"):
        temporal(space="same", mixers=1)
