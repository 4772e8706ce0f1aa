"""Records to batches: order, shards, state, text."""

import collections
import json
import threading
import time

import numpy as np
import pytest

from capjax.data.batch import model_inputs
from capjax.data.pipeline import DataError, DatasetSplit, make_eval_batches, make_train_iterator
from capjax.data.record import Record, RecordCaption
from capjax.text import vocabulary as text
from tests.helpers.drawn_batches import LANGUAGES, Source, assert_same, joined, jpeg, record, take


def records(count: int, start: int = 0, **fields) -> Source:
    return Source(record(number, **fields) for number in range(start, start + count))


def with_features(number: int, views: int = 3, n: int = 4, d: int = 2) -> Record:
    view = np.arange(views, dtype=np.float16)[:, None, None, None]
    return record(
        number, frames=(), features=np.broadcast_to(view + 10 * number, (views, 1, n, d)), feature_grid=(2, 2)
    )


@pytest.fixture(scope="module")
def vocabulary() -> text.Vocabulary:
    sentences = {
        lang: [f"{lang} {number} take {take}" for number in range(120) for take in range(3)] for lang in LANGUAGES
    }
    return text.Vocabulary(text.train(sentences, size=400))


@pytest.fixture
def data(common_config):
    data = common_config.data
    data.image_size, data.languages = 16, LANGUAGES
    return data


@pytest.fixture
def train(vocabulary, data):
    def make(*sources, parts=None, batch_size=4, seed=0, rows=None):
        parts = parts or [f"d{i}@train" for i in range(len(sources))]
        return make_train_iterator(
            parts, vocabulary, data, batch_size=batch_size, seed=seed, rows=rows, sources=list(sources)
        )

    return make


def ids(iterator, count: int) -> list[str]:
    return [id for batch in take(iterator, count) for id in batch["ids"]]


# ---- Order


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 13, 20])
def test_every_record_comes_once_an_epoch_also_across_batches(train, batch_size):
    drawn = ids(train(records(13), batch_size=batch_size), -(-39 // batch_size))
    for epoch in range(3):
        assert sorted(drawn[13 * epoch : 13 * epoch + 13]) == sorted(f"r{i}" for i in range(13))


def test_each_epoch_and_each_seed_has_its_own_order(train):
    epochs = [
        tuple(ids(train(records(40), batch_size=40, seed=seed), 3)[i : i + 40]) for seed in (0, 1) for i in (0, 40, 80)
    ]
    assert len(set(epochs)) == 6
    assert tuple(f"r{i}" for i in range(40)) not in epochs


@pytest.mark.parametrize("count", [2, 4])
def test_processes_interleave_to_the_same_global_batches(train, data, count):
    whole = train(records(13), batch_size=8)
    data.threads = 1
    shards = [train(records(13), batch_size=8, rows=rows) for rows in np.arange(8).reshape(count, -1)]
    for _ in range(5):
        assert_same(joined([next(whole)]), joined([next(shard) for shard in shards]))


def test_a_mixture_keeps_to_its_weights_and_each_part_to_its_epochs(train):
    mixed = train(records(70), records(50, start=100), parts=["a@train*3", "b@train"], batch_size=10)
    numbers = [int(id[1:]) for id in ids(mixed, 28)]
    first, second = [n for n in numbers if n < 100], [n for n in numbers if n >= 100]
    assert abs(len(first) / len(numbers) - 0.75) < 0.01
    for part, size in ((first, 70), (second, 50)):
        assert all(len(set(part[i : i + size])) == len(part[i : i + size]) for i in range(0, len(part), size))


# ---- State


@pytest.mark.parametrize(("threads", "prefetch"), [(0, 0), (1, 1), (3, 6)])
def test_a_restored_state_goes_on_with_the_very_next_batch(train, data, threads, prefetch):
    reference, states, batches = train(records(13), batch_size=5), [], []
    for _ in range(8):
        states.append(json.dumps(reference.get_state()))
        batches.append(next(reference))
    data.threads, data.prefetch = threads, prefetch
    for start in (7, 0, 3):
        again = train(records(13), batch_size=5)
        take(again, 2)
        again.set_state(json.loads(states[start]))
        for batch in batches[start : start + 2]:
            assert_same(next(again), batch)


def test_restoring_loads_nothing_of_what_was_seen(train):
    class Counting(Source):
        reads = 0

        def __getitem__(self, index):
            Counting.reads += 1
            return super().__getitem__(index)

    iterator = train(Counting(records(13)))
    iterator.set_state(iterator.get_state() | {"next_index": 10**9})
    Counting.reads = 0
    next(iterator)
    assert Counting.reads <= 4 * 6  # this batch and those prefetched


# ---- What is in a batch


def test_a_batch_is_as_the_contract_says(train, data):
    batch = next(train(records(5), batch_size=4))
    shapes = {name: (value.shape, value.dtype) for name, value in batch.items() if isinstance(value, np.ndarray)}
    assert shapes == {
        "frames": ((4, 1, 16, 16, 3), np.uint8),
        "frame_times": ((4, 1), np.float32),
        "frame_mask": ((4, 1), np.bool_),
        "target": ((4, data.target_len), np.int32),
        "loss_mask": ((4, data.target_len), np.bool_),
    }
    assert batch["frame_mask"].all() and len(batch["ids"]) == 4
    assert set(model_inputs(batch)) == set(shapes)


def test_a_target_is_prefix_text_end_and_padding(train, vocabulary):
    source = records(5)
    spoken = {r.id: {c.text: c.lang for c in r.captions} for r in source}
    for batch in take(train(source), 5):
        for id, target, mask in zip(batch["ids"], batch["target"], batch["loss_mask"], strict=True):
            lang = spoken[id][vocabulary.decode(target)]
            pieces = [*vocabulary.prefix(lang), *vocabulary.encode(vocabulary.decode(target)), vocabulary.eos_id]
            np.testing.assert_array_equal(target[: len(pieces)], pieces)
            assert (target[len(pieces) :] == vocabulary.pad_id).all()
            predicted = np.arange(len(target))
            np.testing.assert_array_equal(mask, (predicted >= 2) & (predicted < len(pieces)))


def test_a_long_caption_is_cut_and_teaches_no_end(train, data, vocabulary):
    data.target_len = 8
    long = "en take " * 30
    source = Source([Record("a", "a.jpg", (RecordCaption(long, "en"), RecordCaption("de take", "de")), (jpeg(0),))])
    rows = [
        row
        for batch in take(train(source, batch_size=8), 2)
        for row in zip(batch["target"], batch["loss_mask"], strict=True)
    ]
    cut = [(row, mask) for row, mask in rows if vocabulary.eos_id not in row]
    assert 0 < len(cut) < len(rows), "the short one has its end"
    for row, mask in cut:
        np.testing.assert_array_equal(row[2:], vocabulary.encode(long)[:6])
        assert mask[2:].all() and not mask[:2].any()


def test_several_captions_of_a_record_share_its_picture_and_differ_while_they_can(train, data, vocabulary):
    data.captions_per_item, data.languages = 4, ("en",)
    for batch in take(train(records(6, captions=3), batch_size=4), 3):
        assert batch["target"].shape == batch["loss_mask"].shape == (4, 4, data.target_len)
        assert len(batch["frames"]) == 4
        for id, rows in zip(batch["ids"], batch["target"], strict=True):
            texts = [vocabulary.decode(row) for row in rows]
            assert {f"en {id[1:]} take {take}" for take in range(3)} == set(texts), "all three, and one of them again"


def test_all_captions_of_a_record_are_drawn_evenly(train, vocabulary):
    counts = collections.Counter(
        vocabulary.decode(row) for b in take(train(records(1), batch_size=60), 20) for row in b["target"]
    )
    assert len(counts) == 6
    assert all(140 < count < 260 for count in counts.values())


def test_languages_are_drawn_by_weight_whatever_the_number_of_captions(train, data, vocabulary):
    captions = (RecordCaption("en only", "en"), *(RecordCaption(f"de {i}", "de") for i in range(9)))
    data.language_weights["en"] = 3.0
    batches = take(train(Source([Record("a", "a.jpg", captions, (jpeg(0),))]), batch_size=60), 20)
    english = sum(vocabulary.decode(row).startswith("en") for batch in batches for row in batch["target"])
    assert abs(english / 1200 - 0.75) < 0.05


def test_records_without_the_asked_languages_are_left_out(train, data):
    data.languages = ("de",)
    source = Source(record(i, ("de", "en") if i % 2 else ("en",)) for i in range(8))
    assert set(ids(train(source), 10)) == {"r1", "r3", "r5", "r7"}


def test_crops_differ_between_epochs_and_positions(train):
    frames = [batch["frames"][0] for batch in take(train(records(1), batch_size=2), 4)]
    assert len({frame.tobytes() for frame in frames}) == 4


def test_shuffled_frames_come_in_another_order_at_the_times_of_the_right_one(train, data, vocabulary):
    frames = tuple(jpeg(number) for number in range(6))
    source = Source([record(0, frames=frames, frame_times=np.arange(6, dtype=np.float32))])
    data.num_frames, data.crop_scale = 6, (1.0, 1.0)

    def evaluation():
        return next(make_eval_batches("d@val", vocabulary, data, batch_size=1, source=source))

    right = evaluation()
    data.shuffle_frames = True
    shuffled = [evaluation(), evaluation(), *take(train(source, batch_size=1), 3)]
    orders = []
    for batch in shuffled:
        np.testing.assert_array_equal(batch["frame_times"], right["frame_times"])
        # Training and evaluation see the same pixels here, as nothing is cropped.
        orders.append([[np.array_equal(a, b) for b in right["frames"][0]].index(True) for a in batch["frames"][0]])
    assert all(sorted(order) == list(range(6)) for order in orders)
    assert orders[0] == orders[1] != list(range(6))
    assert len(set(map(tuple, orders[2:]))) > 1


def test_training_draws_all_views_of_features_and_evaluation_the_first(train, data, vocabulary):
    data.features = True
    source = Source(with_features(i) for i in range(4))
    values = {float(v) for batch in take(train(source), 12) for v in batch["features"][:, 0, 0, 0]}
    assert values == {10.0 * i + view for i in range(4) for view in range(3)}
    (batch,) = make_eval_batches("d@val", vocabulary, data, batch_size=4, source=source)
    np.testing.assert_array_equal(batch["features"][:, 0, 0, 0], [0, 10, 20, 30])
    assert batch["features"].dtype == np.float16 and "frames" not in batch


# ---- Evaluation


@pytest.mark.parametrize("count", [1, 2])
def test_evaluation_gives_every_record_once_in_order_and_marks_padding(vocabulary, data, count):
    source = records(9)
    shards = [
        list(make_eval_batches("d@val", vocabulary, data, batch_size=4, source=source, rows=rows))
        for rows in np.arange(4).reshape(count, -1)
    ]
    assert [len(batches) for batches in shards] == [3] * count
    evaluated = []
    for parts in zip(*shards, strict=True):
        for batch in parts:
            assert batch["frames"].shape == (4 // count, 1, 16, 16, 3)
            for row in np.flatnonzero(batch["valid"]):
                evaluated.append(batch["ids"][row])
                spoken = [c for c in source[len(evaluated) - 1].captions if c.lang == "de"]
                assert batch["references"][row]["de"] == [c.text for c in spoken]
            assert not batch["frames"][~batch["valid"]].any()
    assert evaluated == [r.id for r in source]


def test_evaluation_is_the_same_every_time(vocabulary, data):
    first, second = (
        list(make_eval_batches("d@val", vocabulary, data, batch_size=4, source=records(5))) for _ in range(2)
    )
    for a, b in zip(first, second, strict=True):
        assert_same(a, b)


def test_a_limit_takes_the_first_records(vocabulary, data):
    batches = make_eval_batches("d@val", vocabulary, data, batch_size=4, source=records(9), limit=5)
    assert [id for batch in batches for id, valid in zip(batch["ids"], batch["valid"], strict=True) if valid] == [
        f"r{i}" for i in range(5)
    ]


# ---- What cannot be


@pytest.mark.parametrize(
    "part", ["coco", "coco@", "@train", "coco@train*", "coco@train*0", "coco@train*-1", "coco@train*1.2.3"]
)
def test_a_part_that_cannot_be_read_is_an_error_that_quotes_it(part):
    with pytest.raises(DataError, match="coco|@train"):
        DatasetSplit.parse(part)


def test_a_language_that_nobody_speaks_is_an_error_that_lists_those_there_are(train, data):
    data.languages = ("de", "fr")
    with pytest.raises(DataError, match="no captions in fr; it has de, en"):
        train(records(3))


def test_a_language_without_a_token_is_an_error(train, data):
    data.languages = ("fr",)
    with pytest.raises(ValueError, match="no lang token 'fr'"):
        train(records(3, langs=("fr",)))


def test_features_that_are_missing_are_an_error(train, data):
    data.features = True
    with pytest.raises(DataError, match="capjax prepare features"):
        train(records(3))


def test_pictures_that_are_missing_are_an_error_that_names_the_record(train):
    with pytest.raises(DataError, match="record 'r0'.*only features"):
        next(train(Source([with_features(0)]), batch_size=2))


def test_a_damaged_picture_surfaces_with_the_record_that_holds_it(train):
    source = records(3)
    source[1] = record(1, frames=(jpeg(1)[:-40],))
    with pytest.raises(DataError, match=r"Source, record 'r1' \(m1.jpg\)"):
        take(train(source), 2)


def test_nothing_to_train_on_is_an_error(train, vocabulary, data):
    with pytest.raises(DataError, match="config.data.train is empty"):
        make_train_iterator([], vocabulary, data, batch_size=4, seed=0)
    with pytest.raises(DataError, match="no captions"):
        train(Source())


def test_threads_go_away_with_their_iterator(train):
    before = set(threading.enumerate())
    iterator = train(records(5))
    next(iterator)
    started = set(threading.enumerate()) - before
    assert started
    del iterator
    until = time.monotonic() + 5
    while any(thread.is_alive() for thread in started) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(thread.is_alive() for thread in started)
