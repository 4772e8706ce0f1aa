"""Events found by queries: matching, overlap, memories and losses, against numpy and scipy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy.optimize import linear_sum_assignment

from capjax.models.events import EventQueries, EventSet, FrameSet, event_memory, match, max_over_queries, overlap
from capjax.train.losses import event_losses, frame_mixture
from tests.helpers.drawn_models import draw_memory, draw_model

RNG = np.random.default_rng(0)
matching, losing = jax.jit(match), jax.jit(event_losses)


def draw_times(*shape) -> np.ndarray:
    """float32 [..., 2], start before end, in 0 .. 1."""
    return np.sort(RNG.random((*shape, 2)), axis=-1).astype(np.float32)


def plain_overlap(a, b) -> tuple[float, float]:
    """(tIoU, generalized tIoU), by counting moments of a fine grid."""
    grid = (np.arange(200_000) + 0.5) / 200_000
    inside = [(grid >= low) & (grid < high) for low, high in (a, b)]
    union, hull = (inside[0] | inside[1]).mean(), max(a[1], b[1]) - min(a[0], b[0])
    tiou = (inside[0] & inside[1]).mean() / union
    return tiou, tiou - (hull - union) / hull


def test_overlap_is_that_of_counted_moments():
    a, b = draw_times(30), draw_times(30)
    b[:5, 0] = a[:5, 1] + 0.1 * (1 - a[:5, 1])  # some that lie apart
    b[:5, 1] = 1.0
    actual = np.stack(overlap(a, b), -1)
    np.testing.assert_allclose(actual, [plain_overlap(x, y) for x, y in zip(a, b, strict=True)], atol=1e-3)
    np.testing.assert_allclose(np.stack(overlap(b, a), -1), actual, rtol=1e-6)
    np.testing.assert_allclose(np.stack(overlap(a, a)), 1.0, rtol=1e-5)


def test_an_interval_the_wrong_way_round_overlaps_nothing():
    tiou, giou = overlap(np.float32([0.8, 0.2]), np.float32([0.1, 0.9]))
    assert tiou == 0
    assert -1 <= giou <= 0
    assert np.isfinite(jax.grad(lambda x: overlap(x, jnp.float32([0.4, 0.4]))[1])(jnp.float32([0.4, 0.4]))).all()


def costs(times, confidence, true_times) -> np.ndarray:
    """[q, e]."""
    pairs = [[plain_cost(t, c, e) for e in true_times] for t, c in zip(times, confidence, strict=True)]
    return np.asarray(pairs)


def plain_cost(time, confidence, event) -> float:
    shared = max(0.0, min(time[1], event[1]) - max(time[0], event[0]))
    union = max(time[1] - time[0], 0) + event[1] - event[0] - shared
    hull = max(time[1], event[1]) - min(time[0], event[0])
    giou = shared / union - (hull - union) / hull
    return 5 * np.abs(time - event).sum() - 2 * giou - 2 / (1 + np.exp(-confidence))


@pytest.mark.parametrize(("q", "e"), [(9, 5), (5, 5), (4, 1)])
def test_matching_is_the_cheapest_there_is(q, e):
    b = 150
    times, confidence, truth = draw_times(b, q), RNG.normal(size=(b, q)).astype(np.float32) * 2, draw_times(b, e)
    mask = np.arange(e) < RNG.integers(0, e + 1, (b, 1))
    matched = np.asarray(matching(times, confidence, truth, mask))
    for row in range(b):
        assert len(set(matched[row])) == e, "one to one, also those that are none"
        real = mask[row]
        cost = costs(times[row], confidence[row], truth[row][real])
        ours = cost[matched[row][real], np.arange(real.sum())].sum()
        assert ours == pytest.approx(cost[linear_sum_assignment(cost)].sum(), abs=1e-4)


def test_figures_that_are_not_finite_do_not_stop_the_matching():
    times = np.full((150, 9, 2), np.nan, np.float32)
    matched = matching(times, np.full((150, 9), np.inf, np.float32), draw_times(150, 5), np.ones((150, 5), bool))
    assert len(set(np.asarray(matched)[0])) == 5


# ---- What the caption of an event is written from


def test_an_event_sees_its_frames_and_its_own_query():
    b, t, places, e, d = 3, 8, 2, 4, 6
    memory = draw_memory(b, t * places, d, frames=t)
    at = np.arange(t, dtype=np.float32) * 2.0  # a frame each 2 s
    mask = np.array([[True] * 8, [True] * 5 + [False] * 3, [True] + [False] * 7])
    memory = memory.replace(
        time=jnp.broadcast_to(np.repeat(at, places), (b, t * places)), mask=jnp.asarray(np.repeat(mask, places, 1))
    )
    times, query = draw_times(b, e), RNG.normal(size=(b, e, d)).astype(np.float32)
    times[:, 0] = (0.42, 0.43)  # shorter than the time between two frames
    times[:, 1] = (0.0, 1.0)
    duration = np.float32([16, 10, 2])
    for most, margin in itertools.product((1, 3, 8, 20), (0.5, -1.0)):
        part = event_memory(memory, times, query, duration, max_frames=most, margin=margin)
        n = min(most, t) * places
        assert part.x.shape == (b * e, n + 1, d)
        np.testing.assert_array_equal(part.x[:, -1].reshape(b, e, d), query)
        assert part.mask[:, -1].all()
        np.testing.assert_allclose(part.time[:, -1].reshape(b, e), times.mean(-1) * duration[:, None], rtol=1e-5)
        for row, k in itertools.product(range(b), range(e)):
            start, end = times[row, k] * duration[row]
            edge = max(0.1 * (end - start), 0.5) if margin > 0 else -min(-margin, (end - start) / 2)
            real = np.flatnonzero(mask[row])
            span = np.clip([start - edge, end + edge], at[real[0]], at[real[-1]])
            moments = np.linspace(*span, min(most, t))
            wanted = sorted({real[np.abs(at[real] - moment).argmin()] for moment in moments})
            shown = np.asarray(part.mask)[row * e + k, :-1]
            np.testing.assert_array_equal(np.asarray(part.time)[row * e + k, :-1][shown], np.repeat(at[wanted], places))
            np.testing.assert_allclose(
                np.asarray(part.x)[row * e + k, :-1][shown],
                np.asarray(memory.x)[row].reshape(t, places, d)[wanted].reshape(-1, d),
                rtol=1e-6,
            )
            if most >= t:
                inside = real[(at[real] >= start - edge) & (at[real] <= end + edge)]
                assert set(inside) <= set(wanted), "as many moments as frames: no frame of the event is left out"


def test_frames_that_are_none_change_nothing_of_what_queries_find():
    b, t, d = 2, 6, 16
    model = draw_model(
        lambda key: EventQueries(width=d, events=3, queries=5, layers=2, heads=2, rngs=nnx.Rngs(key)), seed=3
    )
    memory = draw_memory(b, t, d)
    mask = np.arange(t) < np.array([[6], [4]])
    memory = memory.replace(mask=jnp.asarray(mask), time=jnp.broadcast_to(jnp.arange(t, dtype=jnp.float32), (b, t)))
    duration = jnp.float32([6, 4])
    find = jax.jit(lambda memory: model(memory, duration))
    events = find(memory)
    other = find(memory.replace(x=jnp.where(mask[..., None], memory.x, 99.0)))
    for name in ("times", "confidence", "count", "query"):
        np.testing.assert_allclose(getattr(events, name), getattr(other, name), rtol=1e-4, atol=1e-5, err_msg=name)
    assert events.times.shape == (2, b, 5, 2)
    assert ((events.times >= 0) & (events.times <= 1)).all()
    assert (np.asarray(jax.nn.softmax(events.pointers))[:, 1, :, :, 4:] < 1e-6).all()


# ---- Losses


def draw_found(layers=2, b=4, q=6, e=3, t=5) -> tuple[EventSet, np.ndarray, np.ndarray]:
    frame_mask = np.arange(t) < np.array([5, 3, 1, 4])[:b, None]
    frames = np.sort(RNG.random((b, t)), axis=1).astype(np.float32)
    draw = lambda *shape: RNG.normal(size=shape).astype(np.float32)  # noqa: E731
    pointers = np.where(frame_mask[:, None, None], draw(layers, b, q, 2, t), -1e9).astype(np.float32)
    events = EventSet(
        times=draw_times(layers, b, q), pointers=pointers, confidence=draw(layers, b, q), count=draw(layers, b, e + 1),
        query=draw(b, q, 4), frames=FrameSet(draw(b, t, 3), frames, frame_mask),
    )  # fmt: skip
    return events, draw_times(b, e), np.arange(e) < np.array([3, 0, 1, 2])[:b, None]


def test_a_moment_is_shared_by_theframe_mixture_next_to_it():
    frames = np.float32([[0.1, 0.3, 0.7, 0.0, 0.0]])
    mask = np.array([[True, True, True, False, False]])
    moments = np.float32([[[0.1, 0.3], [0.4, 0.7], [0.0, 0.9], [0.2, 0.69]]])
    mixture = np.asarray(frame_mixture(frames, mask, moments))[0]
    wanted = [[[1, 0, 0], [0, 1, 0]], [[0, 0.75, 0.25], [0, 0, 1]], [[1, 0, 0], [0, 0, 1]],
              [[0.5, 0.5, 0], [0, 0.025, 0.975]]]  # fmt: skip
    np.testing.assert_allclose(mixture[..., :3], wanted, atol=1e-5)
    assert (mixture[..., 3:] == 0).all()


def log_softmax(x):
    return x - np.logaddexp.reduce(x, axis=-1, keepdims=True)


def test_losses_are_those_of_plain_loops():
    predicted, truth, mask = draw_found()
    layers, b, q = predicted.confidence.shape
    last = np.asarray(matching(predicted.times[-1], predicted.confidence[-1], truth, mask))
    losses = losing(predicted, last, truth, mask)
    two = np.asarray(frame_mixture(predicted.frames.times, predicted.frames.mask, truth))
    wanted = dict.fromkeys(losses, 0.0)
    for layer in range(layers):
        times, confidence = predicted.times[layer], predicted.confidence[layer]
        for row in range(b):
            real = np.flatnonzero(mask[row])
            cost = costs(times[row], confidence[row], truth[row][real])
            queries = linear_sum_assignment(cost)[0][np.argsort(linear_sum_assignment(cost)[1])]
            for event, query in zip(real, queries, strict=True):
                wanted["distance"] += np.abs(times[row, query] - truth[row, event]).sum()
                wanted["overlap"] += 1 - plain_overlap(times[row, query], truth[row, event])[1]
                wanted["pointer"] -= (two[row, event] * log_softmax(predicted.pointers[layer, row, query])).sum()
            is_event = np.isin(np.arange(q), queries)
            chance = 1 / (1 + np.exp(-confidence[row].astype(np.float64)))
            wanted["confidence"] -= np.log(np.where(is_event, chance, 1 - chance)).sum()
            wanted["count"] -= log_softmax(predicted.count[layer, row])[len(real)]
    assert float(losses["frames"]) == pytest.approx(plain_frame_loss(predicted, truth, mask, two), rel=1e-4)
    del wanted["frames"]
    for name, value in wanted.items():
        assert float(losses[name]) == pytest.approx(value / layers, rel=2e-3), name


def plain_frame_loss(found: EventSet, truth, mask, two) -> float:
    """Over frames and what each is to know: it is inside an event, at a start, at an end."""
    total = 0.0
    for row in range(len(mask)):
        real = np.flatnonzero(mask[row])
        losses = []
        for frame in np.flatnonzero(found.frames.mask[row]):
            at = found.frames.times[row, frame]
            labels = [float(any(truth[row, k, 0] <= at <= truth[row, k, 1] for k in real))]
            labels += [max((two[row, k, side, frame] for k in real), default=0.0) for side in (0, 1)]
            chance = 1 / (1 + np.exp(-found.frames.inside[row, frame].astype(np.float64)))
            losses.append(-sum(y * np.log(p) + (1 - y) * np.log(1 - p) for y, p in zip(labels, chance, strict=True)))
        total += np.mean(losses)
    return total


def test_what_is_found_exactly_costs_next_to_nothing():
    predicted, truth, mask = draw_found(layers=1)
    b, q = predicted.confidence.shape[1:]
    times = predicted.times.copy()
    times[0, :, :3] = truth
    confidence = np.where(np.arange(q) < mask.sum(1)[:, None], 20.0, -20.0)[None].astype(np.float32)
    count = 20.0 * np.eye(4, dtype=np.float32)[mask.sum(1)][None]
    pointers = predicted.pointers.copy()
    pointers[0, :, :3] = np.log(np.maximum(frame_mixture(predicted.frames.times, predicted.frames.mask, truth), 1e-12))
    exact = predicted.replace(times=times, confidence=confidence, count=count, pointers=pointers)
    losses = losing(exact, matching(times[0], confidence[0], truth, mask), truth, mask)
    for name in ("distance", "overlap", "confidence", "count"):
        assert float(losses[name]) == pytest.approx(0, abs=1e-3), name
    shares = np.asarray(frame_mixture(predicted.frames.times, predicted.frames.mask, truth))
    entropy = -(shares * np.log(np.maximum(shares, 1e-12))).sum((-2, -1))
    assert float(losses["pointer"]) == pytest.approx((entropy * mask).sum(), rel=1e-3)


def test_gradients_reach_what_is_matched_and_are_finite_without_events():
    predicted, truth, mask = jax.tree.map(jnp.asarray, draw_found(layers=1))

    def loss(times, confidence, mask):
        one = predicted.replace(times=times, confidence=confidence)
        matched = match(times[-1], confidence[-1], truth, mask)
        return sum(event_losses(one, matched, truth, mask).values())

    grad = jax.jit(jax.grad(loss, argnums=(0, 1)))
    times, confidence = grad(predicted.times, predicted.confidence, mask)
    matched = np.asarray(matching(predicted.times[-1], predicted.confidence[-1], truth, mask))
    moved = np.abs(np.asarray(times)[0]).sum(-1) > 0
    for row, real in enumerate(np.asarray(mask)):
        assert set(np.flatnonzero(moved[row])) == set(matched[row][real])
    assert (np.abs(confidence) > 0).all()
    none = grad(predicted.times, predicted.confidence, jnp.zeros_like(mask))
    assert all(np.isfinite(part).all() for part in none)
    assert (np.asarray(none[0]) == 0).all()
    assert optax.tree.norm(none) > 0


def test_the_maximum_over_queries_has_a_gradient_without_a_division():
    """jnp.max divides by the number of values that equal the maximum, which XLA may compute as 0."""
    states = jax.random.normal(jax.random.key(0), (2, 3, 5, 4))
    np.testing.assert_array_equal(max_over_queries(states), states.max(2))
    gradient = jax.grad(lambda x: jnp.square(max_over_queries(x)).sum())
    np.testing.assert_array_equal(gradient(states), jax.grad(lambda x: jnp.square(x.max(2)).sum())(states))
    assert "div" not in str(jax.make_jaxpr(gradient)(states))
