"""Stages and buckets in the batches themselves: shapes, texts that fit, state, evaluation."""

import json

import numpy as np
import pytest

from capjax.data.curriculum import make_stages, stage_at
from capjax.data.pipeline import (
    DataError,
    DatasetSplit,
    as_namespace,
    check_eval,
    make_eval_batches,
    make_train_iterator,
)
from capjax.data.record import Record, RecordCaption
from capjax.text import vocabulary as text
from tests.helpers.drawn_batches import Source, assert_same, joined, jpeg, record, take

STAGES = ((0, {"num_frames": 2, "image_size": 8, "hard": 0.0}), (3, {"num_frames": 3, "target_len": 8}), (7, {}))
SHAPES = [(2, 8, 24)] * 3 + [(3, 16, 8)] * 4 + [(6, 16, 24)] * 3  # frames, pixels, pieces of each batch


class Videos(Source):
    """Records in memory, with their sizes."""

    def sizes(self):
        return {
            "frames": np.asarray([len(record.frames) for record in self]),
            "seconds": np.asarray([record.duration for record in self]),
            "words": np.ones(len(self)),
            "event": np.zeros(len(self), int),
        }


def video(number: int) -> Record:
    t = number % 6 + 1
    return record(
        number, frames=(jpeg(number),) * t, frame_times=np.arange(t, dtype=np.float32), duration=float(t), langs=("en",)
    )


@pytest.fixture(scope="module")
def videos() -> Videos:
    return Videos(video(number) for number in range(30))


@pytest.fixture(scope="module")
def vocabulary() -> text.Vocabulary:
    return text.Vocabulary(text.train({"en": [f"en {i} take {k}" for i in range(60) for k in range(3)]}, size=340))


@pytest.fixture
def data(common_config):
    data = common_config.data
    data.image_size, data.num_frames, data.target_len, data.languages = 16, 6, 24, ("en",)
    return data


@pytest.fixture
def train(vocabulary, data, videos):
    def make(source=videos, *, rows=None, batch_size=4):
        return make_train_iterator(
            ["d@train"], vocabulary, data, batch_size=batch_size, seed=0, rows=rows, sources=[source]
        )

    return make


def shape(batch: dict) -> tuple[int, int, int]:
    return (*batch["frames"].shape[1:3], batch["target"].shape[-1])


# ---- Stages


def test_a_batch_has_the_shape_of_its_stage(train, data):
    data.curriculum = STAGES
    assert [shape(batch) for batch in take(train(), 10)] == SHAPES


def test_a_stage_is_a_function_of_the_step(data):
    data.curriculum = STAGES
    stages = make_stages(as_namespace(data))
    assert [stage_at(stages, step).number for step in (0, 2, 3, 6, 7, 10**9)] == [0, 0, 1, 1, 2, 2]
    assert str(stages[1]) == "stage 2, from step 3: num_frames 3, target_len 8"
    data.curriculum = ()
    (only,) = make_stages(as_namespace(data))
    assert vars(only.data) == vars(as_namespace(data))


def test_easy_first_means_short_first(train, data):
    data.curriculum = ((0, {"hard": 0}), (6, {"hard": 1.0}))
    counts = [batch["frame_mask"].sum(1) for batch in take(train(), 12)]
    assert max(map(max, counts[:6])) <= 3 and min(map(min, counts[6:])) >= 4


@pytest.mark.parametrize("buckets", [(), (2, 4, 6)])
def test_a_restored_run_goes_on_within_its_stage(train, data, buckets):
    data.curriculum, data.buckets = STAGES, buckets
    reference, states, batches = train(), [], []
    for _ in range(10):
        states.append(json.dumps(reference.get_state()))
        batches.append(next(reference))
    assert json.loads(states[5])["stage"] == {"number": 1, "first": 3, "changes": {"num_frames": 3, "target_len": 8}}
    for start in (5, 2, 3, 9):
        again = train()
        take(again, 1)
        again.set_state(json.loads(states[start]))
        assert again.stage.number == json.loads(states[start])["stage"]["number"]
        for batch in batches[start : start + 2]:
            assert_same(next(again), batch)


def test_a_state_of_another_curriculum_is_refused(train, data):
    data.curriculum = STAGES
    iterator = train()
    take(iterator, 5)
    state = iterator.get_state()
    data.curriculum = ((0, {"num_frames": 2}), (3, {"num_frames": 4}))
    with pytest.raises(DataError, match=r"stage .*'num_frames': 3.* batch 5 .*'num_frames': 4"):
        train().set_state(state)


def test_a_state_saved_with_older_names_of_settings_is_continued(train, data):
    data.curriculum = STAGES
    iterator, resumed = train(), train()
    take(iterator, 5)
    state = json.loads(json.dumps(iterator.get_state()).replace('"num_frames"', '"frames"'))
    resumed.set_state(state)
    assert_same(joined(take(resumed, 1)), joined(take(iterator, 1)))


@pytest.mark.parametrize("count", [2, 4])
def test_processes_have_rows_of_one_shape_and_make_up_the_same_batches(train, data, count):
    data.curriculum, data.buckets = STAGES, (2, 4, 6)
    whole = train(batch_size=8)
    shards = [train(batch_size=8, rows=rows) for rows in np.arange(8).reshape(count, -1)]
    for _ in range(12):
        assert_same(joined([next(whole)]), joined([next(shard) for shard in shards]))


# ---- Buckets


def test_a_bucketed_batch_holds_what_the_one_without_buckets_would_but_for_padding(train, data, videos):
    data.buckets = (2, 4, 6)
    frame_counts, shapes = {}, set()
    for batch in take(train(batch_size=5), 6):
        t = batch["frames"].shape[1]
        shapes.add(t)
        for row, id in enumerate(batch["ids"]):
            count = len(videos[int(id[1:])].frames)
            assert batch["frame_mask"][row].tolist() == [True] * count + [False] * (t - count)
            assert batch["frame_times"][row].tolist() == [*range(count), *[0] * (t - count)]
            assert batch["frames"][row, :count].any((1, 2, 3)).all() and not batch["frames"][row, count:].any()
            frame_counts[id] = count
    assert shapes == {2, 4, 6} and len(frame_counts) == 30, "an epoch"


def test_features_are_padded_to_buckets_too(train, data):
    data.features, data.buckets = True, (2, 6)

    def featured(number: int, t: int) -> Record:
        features = np.full((2, t, 4, 3), number, np.float16)
        times = np.arange(t, dtype=np.float32)
        return record(number, langs=("en",), frames=(b"",) * t, frame_times=times, features=features)

    source = Videos(featured(number, t) for number, t in enumerate([1, 2, 2, 5, 6, 3]))
    batches = take(train(source, batch_size=3), 2)
    assert sorted(batch["features"].shape for batch in batches) == [(3, 2, 4, 3), (3, 6, 4, 3)]
    for batch in batches:
        for row, id in enumerate(batch["ids"]):
            np.testing.assert_array_equal(batch["features"][row, :, 0, 0], batch["frame_mask"][row] * int(id[1:]))


@pytest.mark.parametrize("count", [1, 2])
def test_evaluation_pads_a_batch_to_the_smallest_bucket_that_all_of_it_fit_into(vocabulary, data, videos, count):
    plain_batches = list(make_eval_batches("d@val", vocabulary, data, batch_size=2, source=videos))
    data.buckets = (2, 4, 6)
    shards = [
        list(make_eval_batches("d@val", vocabulary, data, batch_size=2, source=videos, rows=rows))
        for rows in np.arange(2).reshape(count, -1)
    ]
    assert [batch["frames"].shape[1] for batch in shards[0]] == [2, 4, 6] * 5
    for wanted, *parts in zip(plain_batches, *shards, strict=True):
        padded = joined([{name: part[name] for name in ("frames", "frame_mask", "ids")} for part in parts])
        t = padded["frames"].shape[1]
        np.testing.assert_array_equal(padded["frames"], wanted["frames"][:, :t])
        np.testing.assert_array_equal(padded["frame_mask"], wanted["frame_mask"][:, :t])
        assert list(padded["ids"]) == wanted["ids"]


@pytest.mark.parametrize(("key", "value"), [("buckets", (2, 6)), ("curriculum", ((0, {"hard": 0.1}),))])
def test_a_dataset_without_sizes_is_an_error_that_says_how_to_have_them(
    train, data, vocabulary, videos, key, value, monkeypatch
):
    data[key] = value
    with pytest.raises(DataError, match=rf"d@train has no sizes-train.json, which data.{key}.*--overwrite"):
        train(Source(videos))
    if key == "buckets":
        with pytest.raises(DataError, match=r"d@val has no sizes-val.json, which data.buckets"):
            make_eval_batches("d@val", vocabulary, data, batch_size=2, source=Source(videos))
        with monkeypatch.context() as patch:  # at the start of a run, and not hours later
            patch.setattr(DatasetSplit, "open", lambda part: Source(videos))
            with pytest.raises(DataError, match=r"d@val has no sizes-val.json"):
                check_eval("d@val", ("en",), data.buckets)
            check_eval("d@val", ("en",))


def test_sizes_that_are_not_true_are_an_error(train, data, videos):
    class Lying(Videos):
        def sizes(self):
            return super().sizes() | {"frames": np.ones(len(self), int)}

    data.buckets = (2, 6)
    with pytest.raises(DataError, match=r"record 'r\d+' .* frames, but the dataset's sizes say at most 2"):
        take(train(Lying(videos)), 3)


# ---- Texts that fit


def test_of_several_captions_those_that_fit_are_drawn(train, data, vocabulary):
    data.target_len, data.captions_per_item = 9, 3
    long, short = "en take " * 20, ("take 1", "take 2")
    source = Source([Record("a", "a.jpg", tuple(RecordCaption(s, "en") for s in (long, *short, long)), (jpeg(0),))])
    rows = [row for batch in take(train(source), 10) for row in batch["target"]]
    assert {vocabulary.decode(row) for item in rows for row in item} == set(short)
    assert all(vocabulary.eos_id in row for item in rows for row in item)
    assert all({vocabulary.decode(row) for row in item} == set(short) for item in rows), "both, before one comes again"


def test_where_no_caption_fits_all_are_drawn_and_cut(train, data, vocabulary):
    data.target_len = 8
    long = ["en take " * 20, "take en " * 20]
    source = Source([Record("a", "a.jpg", tuple(RecordCaption(s, "en") for s in long), (jpeg(0),))])
    rows = [tuple(row[2:]) for batch in take(train(source), 10) for row in batch["target"]]
    assert set(rows) == {tuple(vocabulary.encode(s)[:6]) for s in long}


def test_a_stage_without_room_for_text_is_an_error_at_the_start(train, data):
    data.curriculum = ((0, {"target_len": 3}), (5, {}))
    with pytest.raises(ValueError, match="target_len = 3 leaves no room"):
        train()
