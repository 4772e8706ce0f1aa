"""Shares of captions with errors, by slice, and differences between systems."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capjax.analyze.findings import KINDS, REPETITION, Finding
from capjax.analyze.frequencies import Frequency, by_slice, compare, frequencies
from capjax.analyze.slices import by_duration, by_length, by_number_of_objects, by_training_frequency

ERROR = Finding(REPETITION, "a a", "a a", "", "caption", "it is repeated")


def wilson(count, items, z=1.959964):
    """Wilson (1927)."""
    share, root = count / items, z * math.sqrt(count * (items - count) / items + z * z / 4) / (items + z * z)
    middle = (share + z * z / (2 * items)) / (1 + z * z / items)
    return middle - root, middle + root


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_intervals_are_wilsons(numbers):
    frequency = Frequency.of(*numbers)
    assert (frequency.low, frequency.high) == pytest.approx(wilson(*numbers), abs=1e-6)


def test_a_caption_with_two_errors_of_a_kind_counts_once():
    counted = frequencies({1: [ERROR, ERROR], 2: []})
    assert list(counted) == list(KINDS)
    assert (counted[REPETITION].count, counted[REPETITION].share) == (1, 0.5)


def test_slices_have_their_own_shares():
    sliced = by_slice({1: [ERROR], 2: [], 3: []}, {1: "short", 2: "short"})
    assert {name: kinds[REPETITION].share for name, kinds in sliced.items()} == {"short": 0.5}


def test_a_difference_between_systems_is_significant_if_it_is_large():
    some = {n: [ERROR] if n % 10 == 0 else [] for n in range(300)}
    many = {n: [ERROR] if n % 2 == 0 else [] for n in range(300)}
    compared = compare(many, some)[REPETITION]
    assert compared.difference == pytest.approx(0.4)
    assert compared.low < 0.4 < compared.high
    assert compared.p_value < 0.01
    assert compare(some, some)[REPETITION].p_value == 1
    with pytest.raises(ValueError, match="different items"):
        compare(some, {1: []})


def test_slices_by_numbers():
    assert by_length({n: n for n in range(1, 10)})[1] == "up to 3 words"
    assert by_number_of_objects({1: 0, 2: 3, 3: 9}) == {1: "0", 2: "3", 3: "4 or more"}
    assert by_training_frequency({1: 0, 2: 10, 3: 10**6}) == {1: "never", 2: "10 to 99 times", 3: "1,000 times or more"}
    assert by_duration({1: 0.0, 2: 5.0, 3: 1000.0}) == {2: "up to 10 s", 3: "longer than 2 min"}
    assert by_length({}) == {}
