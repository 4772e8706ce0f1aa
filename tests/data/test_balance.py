"""Weights of training items by attribute and context, and the batches that are drawn and weighted with them."""

import collections
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capjax.data.balance import Balance, BalanceError, cell_weights
from capjax.data.order import BatchOrder, RecordPool
from capjax.data.pipeline import DataError, make_train_iterator
from capjax.data.record import RecordCaption
from capjax.text import vocabulary as text
from tests.data.test_order import stages
from tests.helpers.drawn_batches import Source, assert_same, joined, record, take

ATTRIBUTE, CONTEXT = (("man", "boy"), ("woman",)), (("kitchen",), ("street", "road"))


def _with_captions(number: int, texts):
    made = record(number, langs=("en",))
    made.captions = tuple(RecordCaption(text, "en") for text in texts)
    return made


def items(counts: dict[str, int]) -> Source:
    """As many items of each caption."""
    texts = [text for text, count in counts.items() for _ in range(count)]
    return Source(_with_captions(number, [text]) for number, text in enumerate(texts))


PLANTED = {
    "a man in a kitchen": 2, "a woman in a kitchen": 18, "a boy on the road": 9, "a woman on the street": 1,
    "a man": 4, "a woman": 4, "a dog": 5, "a man and a woman in a kitchen": 3,
}  # fmt: skip


@pytest.fixture
def config(common_config):
    common_config.data.image_size = 16
    common_config.mitigation.attribute, common_config.mitigation.context = ATTRIBUTE, CONTEXT
    return common_config


@pytest.fixture(scope="module")
def vocabulary() -> text.Vocabulary:
    return text.Vocabulary(text.train({"en": list(PLANTED) * 20}, size=300))


def of(config, *sources, shares=None) -> Balance:
    return Balance.of(sources, shares or [1.0] * len(sources), config.mitigation, config.data)


# ---- Weights


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 2), st.sets(st.integers(0, 2)).map(sorted).map(tuple)), st.integers(1, 50), min_size=1
    )
)
def test_weighted_data_make_attribute_and_context_independent_where_all_combinations_exist(counts):
    attributes = {attribute for attribute, _ in counts}
    contexts = {context for _, context in counts}
    counts = {cell: counts.get(cell, 1) for cell in itertools.product(attributes, contexts)}
    shares = np.array(list(counts.values())) / sum(counts.values())
    weights = cell_weights(list(counts), shares, np.inf)
    weighted = dict(zip(counts, weights * shares, strict=True))
    for attribute, context in counts:
        of_attribute = sum(share for (a, _), share in weighted.items() if a == attribute)
        of_context = sum(share for (_, c), share in weighted.items() if c == context)
        assert weighted[attribute, context] == pytest.approx(of_attribute * of_context)
        before = sum(s for (a, _), s in zip(counts, shares, strict=True) if a == attribute)
        assert of_attribute == pytest.approx(before), "attributes are as frequent as before"


def test_without_contexts_attributes_get_the_same_weight():
    shares = np.array([0.7, 0.2, 0.1])
    weights = cell_weights([(0, ()), (1, ()), (2, ())], shares, np.inf, uniform=True)
    np.testing.assert_allclose(weights * shares, 1 / 3)


def test_a_capped_weight_exceeds_no_other_by_more_and_the_mean_stays_one():
    shares = np.array([0.499, 0.001, 0.001, 0.499])
    weights = cell_weights([(0, (0,)), (1, (0,)), (0, (1,)), (1, (1,))], shares, 10.0)
    assert (weights * shares).sum() == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx(10 / 0.501, rel=0.01)


def test_items_with_several_attributes_or_none_keep_the_weight_one(config):
    balance = of(config, items(PLANTED))
    weights = balance.record_weights(0)
    assert (weights[-8:] == 1).all() and weights.mean() == pytest.approx(1)
    counts = {(cell.attribute, cell.context): cell.items for cell in balance.cells}
    assert counts == {(0, (0,)): 2, (1, (0,)): 18, (0, (1,)): 9, (1, (1,)): 1, (0, ()): 4, (1, ()): 4}
    np.testing.assert_allclose(balance.attribute_shares(), [[0.1, 0.9], [0.9, 0.1]])


def test_captions_of_an_item_count_together(config):
    source = Source([_with_captions(0, ["a person", "a boy"]), _with_captions(1, ["a man", "a woman on the road"])])
    source += items({"a woman in a kitchen": 1, "a man on the road": 1})
    (cells,) = of(config, source).cell_of_record
    assert (cells >= 0).tolist() == [True, False, True, True]


def test_a_mixture_counts_as_it_is_drawn(config):
    """Two datasets of one size, of which the first is drawn three times as often."""
    men, women = (items({f"{who} in a kitchen": 4, f"{who} on the road": 4}) for who in ("a man", "a woman"))
    balance = of(config, men, women, shares=[3.0, 1.0])
    assert {cell.share for cell in balance.cells if cell.attribute == 0} == {0.375}


@pytest.mark.parametrize(
    ("captions", "named"),
    [({"a man in a kitchen": 2, "a man on the road": 2}, "mitigation.attribute.*woman"),
     ({"a man in a kitchen": 2, "a woman": 2}, "mitigation.context.*street")],
)  # fmt: skip
def test_a_group_without_captions_is_named(config, captions, named):
    with pytest.raises(BalanceError, match=named):
        of(config, items(captions))


def test_a_saved_balance_loads_alike_and_a_damaged_one_is_named(config, tmp_path):
    balance, path = of(config, items(PLANTED)), tmp_path / "balance.json"
    balance.save(path)
    loaded = Balance.load(path)
    np.testing.assert_array_equal(loaded.record_weights(0), balance.record_weights(0))
    assert loaded.cells == balance.cells and loaded.attribute == balance.attribute
    value = json.loads(path.read_text()) | {"cell_of_record": [[10**6]]}
    Path(tmp_path / "digests.json").unlink()
    path.write_text(json.dumps(value))
    with pytest.raises(ValueError, match=r"balance\.json is damaged: it names groups or records that do not exist"):
        Balance.load(path)


# ---- Order


@pytest.mark.parametrize("buckets", [(), (4, 8, 16)])
def test_records_are_drawn_as_often_as_their_frequencies_say(buckets):
    rng = np.random.default_rng(0)
    count, epochs, b = 40, 50, 8
    frequencies = rng.uniform(0.05, 4, count)
    picks = np.stack([np.zeros(count, int), np.arange(count)], axis=1)
    pool = RecordPool(picks, 1.0, {"frames": rng.integers(1, 16, count)}, frequencies)
    order = BatchOrder([pool], stages(buckets=buckets), batch_size=b, seed=0)
    drawn = collections.Counter(
        index for number in range(count * epochs // b) for _, index in order.rows(number, np.arange(b)).picks
    )
    expected = frequencies / frequencies.sum() * count * epochs
    assert abs(np.array([drawn[i] for i in range(count)]) - expected).max() < 4 * np.sqrt(epochs) / 2


def test_within_an_epoch_a_record_comes_as_often_as_its_frequency_rounded_up_or_down():
    frequencies = np.array([0.5, 2.5, 1.0, 1.25, 0.75, 0.0])
    picks = np.stack([np.zeros(6, int), np.arange(6)], axis=1)
    order = BatchOrder([RecordPool(picks, 1.0, {}, frequencies)], stages(buckets=()), batch_size=6, seed=3)
    for epoch in range(20):
        drawn = np.bincount([index for _, index in order.rows(epoch, np.arange(6)).picks], minlength=6)
        assert (np.floor(frequencies) <= drawn).all() and (drawn <= np.ceil(frequencies)).all()


# ---- Batches


@pytest.fixture
def train(vocabulary, config):
    def make(*sources, mode="", balance=None, batch_size=4, rows=None):
        config.mitigation.balance = mode
        if mode and balance is None:
            balance = of(config, *sources)
        return make_train_iterator(
            [f"d{number}@train" for number in range(len(sources))], vocabulary, config.data, batch_size=batch_size,
            seed=0, rows=rows, sources=list(sources), mitigation=config.mitigation, balance=balance,
        )  # fmt: skip

    return make


def drawn_shares(iterator, batches: int) -> dict[str, float]:
    """How often each caption of PLANTED is drawn."""
    texts = [text for text, count in PLANTED.items() for _ in range(count)]
    ids = [int(id[1:]) for batch in take(iterator, batches) for id in batch["ids"]]
    return {text: count / len(ids) for text, count in collections.Counter(texts[id] for id in ids).items()}


def test_sampling_draws_attributes_independently_of_contexts(train):
    shares = drawn_shares(train(items(PLANTED), mode="sampling", batch_size=46), 40)
    men, women = shares["a man in a kitchen"], shares["a woman in a kitchen"]
    assert men / women == pytest.approx(shares["a boy on the road"] / shares["a woman on the street"], rel=0.05)
    assert men / women == pytest.approx(15 / 23, rel=0.05), "as in all the data"


def test_datasets_of_a_mixture_are_drawn_by_the_weights_of_their_records(train, config):
    first = items({"a man in a kitchen": 18, "a woman in a kitchen": 2, "a man on the road": 2})
    second = items({"a woman on the road": 18, "a woman in a kitchen": 2, "a man on the road": 2})
    balance = of(config, first, second)
    ids = [
        id for batch in take(train(first, second, mode="sampling", balance=balance, batch_size=44), 60)
        for id in zip(batch["ids"], map(bytes, batch["target"]), strict=True)
    ]  # fmt: skip
    texts = collections.Counter(target for _, target in ids)
    shares = sorted(count / len(ids) for count in texts.values())
    expected = collections.defaultdict(float)
    for number, source in enumerate((first, second)):
        for made, weight in zip(source, balance.record_weights(number), strict=True):
            expected[made.captions[0].text] += weight / 44
    np.testing.assert_allclose(shares, sorted(expected.values()), atol=0.01)


def test_weights_go_with_their_records_and_the_order_stays(train, config):
    source = items(PLANTED)
    plain, weighted = train(source), train(source, mode="weights")
    expected = dict(zip([made.id for made in source], of(config, source).record_weights(0), strict=True))
    for a, b in zip(take(plain, 20), take(weighted, 20), strict=True):
        weights = b.pop("loss_weight")
        assert_same(a, b)
        np.testing.assert_allclose(weights, [expected[id] for id in b["ids"]], rtol=1e-6)


@pytest.mark.parametrize("mode", ["sampling", "weights"])
def test_order_is_that_of_any_number_of_processes_and_of_a_resumed_run(train, mode):
    source = items(PLANTED)
    whole = train(source, mode=mode, batch_size=8)
    shards = [train(source, mode=mode, batch_size=8, rows=rows) for rows in np.arange(8).reshape(2, -1)]
    batches = take(whole, 5)
    state = json.loads(json.dumps(whole.get_state()))
    for batch in batches:
        assert_same(joined([batch]), joined([next(shard) for shard in shards]))
    following = take(whole, 20)
    again = train(source, mode=mode, batch_size=8)
    again.set_state(state)
    for a, b in zip(following, take(again, 20), strict=True):
        assert_same(a, b)


def test_weights_of_other_datasets_are_refused(train, config):
    balance = of(config, items(PLANTED))
    with pytest.raises(DataError, match=r"balance\.json has weights of \[46\] records.*\(8\)"):
        train(items({"a man in a kitchen": 8}), mode="sampling", balance=balance)


def test_without_a_mitigation_batches_are_as_they_were(train, vocabulary, config):
    source = items(PLANTED)
    without = make_train_iterator(
        ["d0@train"], vocabulary, config.data, batch_size=4, seed=0, sources=[source]
    )  # fmt: skip
    for a, b in zip(take(without, 30), take(train(source), 30), strict=True):
        assert_same(a, b)


# ---- Counterfactual captions


@pytest.fixture
def texts_of(train, vocabulary, config):
    """Draws batches of items with these captions -> {id: captions that were drawn}."""
    config.mitigation.attribute = (("man",), ("woman",))

    def draw(captions: list[list[str]], share: float, neutral=()) -> dict[str, set[str]]:
        config.mitigation.counterfactual, config.mitigation.neutral = share, neutral
        drawn = collections.defaultdict(set)
        for batch in take(train(Source(_with_captions(n, own) for n, own in enumerate(captions))), 60):
            for id, target in zip(batch["ids"], batch["target"], strict=True):
                drawn[id].add(vocabulary.decode(target.tolist()))
        return drawn

    return draw


MIXED = [["a man in a kitchen", "a dog in a kitchen"], ["a man on the road", "a man"], ["a woman on the road", "a man"]]


def test_captions_are_exchanged_where_the_picture_does_not_decide(texts_of):
    drawn = texts_of(MIXED, 0.5)
    assert drawn["r0"] == {"a man in a kitchen", "a woman in a kitchen", "a dog in a kitchen"}
    assert drawn["r1"] == {"a man on the road", "a man"}
    assert drawn["r2"] == {"a woman on the road", "a man on the road", "a man", "a woman"}
    assert texts_of(MIXED, 1.0)["r0"] == {"a woman in a kitchen", "a dog in a kitchen"}
    assert texts_of(MIXED, 1.0, ("dog",))["r2"] == {"a dog on the road", "a dog"}


def test_items_whose_pictures_decide_are_drawn_as_without(texts_of, train, config):
    decided = [own for own in MIXED if own[1] == "a man" and "woman" not in own[0]] * 5
    assert texts_of(decided, 0.9) == texts_of(decided, 0.0)
