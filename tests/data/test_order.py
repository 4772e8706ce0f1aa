"""Which records make up a batch: pools, mixtures, halves, buckets and windows, on indices alone."""

import collections
from types import SimpleNamespace

import numpy as np
import pytest

from capjax.data import order as order_lib
from capjax.data.curriculum import halves, hardness, make_stages
from capjax.data.order import BatchOrder, RecordPool, cut_into_batches

BUCKETS = (4, 8, 16)


def sizes(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    frames = rng.integers(1, 20, count)
    return {"frames": frames, "seconds": frames / 2, "words": rng.random(count), "event": rng.integers(1, 7, count)}


def pool(count: int, number: int = 0, weight: float = 1.0) -> RecordPool:
    picks = np.stack([np.full(count, number), np.arange(count) + 100], axis=1)
    return RecordPool(picks, weight, sizes(count, number))


def stages(*changes, buckets=BUCKETS, num_frames=16, every=1000):
    data = SimpleNamespace(
        num_frames=num_frames, image_size=32, target_len=20, buckets=buckets,
        curriculum=tuple((every * number, change) for number, change in enumerate(changes)),
    )  # fmt: skip
    return make_stages(data)


def make(*pools, b=4, seed=0, **options) -> BatchOrder:
    return BatchOrder(pools, options.pop("of", None) or stages(**options), batch_size=b, seed=seed)


def batches(order: BatchOrder, numbers, b: int = 4) -> list:
    return [order.rows(number, np.arange(b)) for number in numbers]


def picked(order: BatchOrder, numbers, b: int = 4) -> list[tuple[int, int]]:
    return [pick for rows in batches(order, numbers, b) for pick in rows.picks]


# ---- Buckets


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_cut_into_batches_of_like_length_and_each_is_in_one(seed):
    rng = np.random.default_rng(seed)
    b, counts = 4, rng.integers(1, 20, 4 * rng.integers(1, 30))
    made = cut_into_batches(counts, np.asarray(BUCKETS), b)
    assert sorted(np.concatenate([rows for _, rows in made])) == list(range(len(counts)))
    wanted = np.asarray([next((bucket for bucket in BUCKETS if bucket >= count), 16) for count in counts])
    for bucket, rows in made:
        assert len(rows) == b and (wanted[rows] <= bucket).all()
    for bucket in BUCKETS:
        up = sum((wanted[rows] <= bucket).sum() for larger, rows in made if larger > bucket)
        assert up < b, "no whole batch could have been made of those that went up"


@pytest.mark.parametrize(("count", "b"), [(13, 4), (12, 4), (100, 7), (16, 16)])
def test_every_record_comes_once_an_epoch_but_for_fewer_than_a_batch_that_come_in_the_next(count, b):
    order, plain = make(pool(count), b=b), make(pool(count), b=b, buckets=())
    drawn, wanted = (picked(one, range(5 * count // b), b) for one in (order, plain))
    for epoch in range(1, 6):
        done = epoch * count // b * b
        times = collections.Counter(drawn[:done])
        assert len(times) == count or epoch == 1
        assert {epoch} <= set(times.values()) <= {epoch - 1, epoch}
        assert count * epoch - times.total() < b
        assert times == collections.Counter(wanted[:done]), "the places are those of the order without buckets"


@pytest.mark.parametrize(("count", "b", "batches"), [(12, 16, 3), (5, 8, 10)])
def test_a_batch_longer_than_an_epoch_has_each_record_as_often_in_the_end(count, b, batches):
    times = collections.Counter(picked(make(pool(count), b=b), range(batches), b))
    assert set(times.values()) == {batches * b // count}


def test_long_epochs_are_planned_in_equal_parts(monkeypatch):
    monkeypatch.setattr(order_lib, "_MAX_SPAN", 30)
    order, plain = make(pool(100)), make(pool(100), buckets=())
    # Four windows of 25 places, cut down to whole batches.
    for stop in (6, 12, 18, 25, 31):
        assert collections.Counter(picked(order, range(stop))) == collections.Counter(picked(plain, range(stop)))
    assert collections.Counter(picked(order, range(25))).most_common(1)[0][1] == 1


def test_a_batch_is_padded_to_a_bucket_that_all_its_records_fit_into_and_most_to_the_smallest():
    members = pool(400)
    close = 0
    for rows in batches(make(members), range(100)):
        counts = np.minimum([members.sizes["frames"][index - 100] for _, index in rows.picks], 16)
        assert rows.frames in BUCKETS and (counts <= rows.frames).all()
        close += rows.frames == next(bucket for bucket in BUCKETS if bucket >= counts.min())
    assert close >= 98, "all but one a bucket that has a larger one"


def test_batches_of_all_lengths_come_all_the_time():
    frames = [rows.frames for rows in batches(make(pool(400)), range(100))]
    assert frames != sorted(frames)
    assert all(set(frames[part : part + 50]) == set(BUCKETS) for part in (0, 50))


# ---- Random access


@pytest.mark.parametrize("buckets", [(), BUCKETS])
def test_any_batch_is_the_same_whatever_was_asked_for_before(buckets):
    def fresh():
        of = stages({"hard": 0.3}, {"num_frames": 8}, {}, buckets=buckets, every=9)
        return make(pool(50), pool(33, 1, weight=2.0), of=of)

    wanted = batches(fresh(), range(40))
    again = fresh()
    for number in np.random.default_rng(0).permutation(40):
        assert again.rows(number, np.arange(4)) == wanted[number]
    for number in (39, 17, 5):
        assert fresh().rows(number, np.arange(4)) == wanted[number]
    far = fresh().rows(10**9, np.arange(4))
    assert len(far.picks) == 4 and far == fresh().rows(10**9, np.arange(4))


@pytest.mark.parametrize("count", [2, 4])
def test_processes_have_the_rows_of_the_same_batches(count):
    order, b = make(pool(50), of=stages({}, {"num_frames": 8}, every=7), b=8), 8
    for number in range(20):
        whole = order.rows(number, np.arange(b))
        parts = [order.rows(number, part) for part in np.arange(b).reshape(count, -1)]
        assert [pick for rows in parts for pick in rows.picks] == whole.picks
        assert {(rows.frames, rows.stage.number) for rows in parts} == {(whole.frames, whole.stage.number)}


def test_each_seed_and_each_stage_has_its_own_order():
    def epoch(seed: int, first: int, buckets) -> tuple:
        of = stages({}, {}, {}, every=10, buckets=buckets)
        return tuple(picked(make(pool(40), seed=seed, of=of), range(first, first + 10)))

    orders = [epoch(seed, first, buckets) for seed in (0, 1) for first in (0, 10, 20) for buckets in ((), BUCKETS)]
    assert len(set(orders)) == 12
    assert {tuple(sorted(order)) for order in orders} == {tuple((0, index + 100) for index in range(40))}, (
        "each an epoch"
    )


# ---- Mixtures and halves


@pytest.mark.parametrize("buckets", [(), BUCKETS])
def test_a_mixture_keeps_to_its_weights(buckets):
    drawn = picked(make(pool(70), pool(50, 1, weight=3.0), buckets=buckets), range(90))
    assert abs(np.mean([number for number, _ in drawn]) - 0.75) < 0.01


@pytest.mark.parametrize("buckets", [(), BUCKETS])
@pytest.mark.parametrize("hard", [0, 0.2, 0.5, 1.0])
def test_a_stage_draws_its_share_of_hard_records_and_each_once_an_epoch_of_its_half(hard, buckets):
    members = pool(80)
    harder = set(halves(hardness(members.sizes))[1] + 100)
    drawn = [index for _, index in picked(make(members, of=stages({"hard": hard}, buckets=buckets)), range(100))]
    assert abs(np.mean([index in harder for index in drawn]) - hard) < 0.01
    if not buckets:
        for batch in np.reshape(drawn, (-1, 4)):
            assert abs(sum(index in harder for index in batch) - 4 * hard) <= 1
        for half in (harder, set(range(100, 180)) - harder):
            of_half = [index for index in drawn if index in half]
            for first in range(0, len(of_half) - 39, 40):
                assert set(of_half[first : first + 40]) == half


def test_the_hard_half_is_long_and_tells_of_much():
    measures = {"seconds": [1, 9, 5, 5], "words": [3, 8, 2, 9], "event": [1, 6, 1, 4], "frames": [2, 18, 10, 10]}
    scores = hardness({name: np.asarray(values) for name, values in measures.items()})
    assert np.argsort(scores).tolist() == [0, 2, 3, 1]
    easier, harder = halves(scores)
    assert (easier.tolist(), harder.tolist()) == ([0, 2], [1, 3])


def test_of_photos_the_words_decide_how_hard_they_are():
    alike = np.zeros(4)
    scores = hardness({"seconds": alike, "words": np.asarray([7, 5, 9, 6.5]), "event": alike, "frames": alike + 1})
    assert np.argsort(scores).tolist() == [1, 3, 0, 2]


# ---- Stages


def test_buckets_are_cut_to_the_frames_of_a_stage():
    made = stages({"num_frames": 4}, {"num_frames": 6}, {})
    assert [stage.buckets for stage in made] == [(4,), (4, 6), BUCKETS]
    order = make(pool(100), of=stages({"num_frames": 4}, {"num_frames": 6}, {}, every=20))
    frames = [{rows.frames for rows in batches(order, range(first, first + 20))} for first in (0, 20, 40)]
    assert frames == [{4}, {4, 6}, set(BUCKETS)]
