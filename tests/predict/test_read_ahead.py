"""Media are read ahead of the model, in order, within bounds."""

import threading
import time

import pytest

from capjax.predict import read_ahead as module
from capjax.predict.read_ahead import read_ahead


def test_results_come_in_order_whatever_the_order_in_which_they_are_done():
    def read(number):
        time.sleep(0.02 if number % 3 == 0 else 0.0)
        return number

    assert list(read_ahead(range(20), read, threads=4, ahead=6)) == list(range(20))


def test_items_are_read_while_the_caller_works_and_no_more_than_allowed():
    taken, read = [], threading.Event()

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    def note(number):
        if number == 3:
            read.set()
        return number

    results = read_ahead(items(), note, threads=2, ahead=5)
    assert next(results) == 0
    assert read.wait(5), "item 3 is read although the caller has asked for item 0 alone"
    assert len(taken) == 6
    results.close()
    assert len(taken) == 6


def test_files_in_memory_are_bounded_by_their_bytes(monkeypatch):
    monkeypatch.setattr(module, "_MAX_WAITING_BYTES", 1000)
    taken = []

    def items():
        for _ in range(50):
            taken.append(1)
            yield bytes(400)

    results = read_ahead(items(), len, threads=2, ahead=40)
    assert next(results) == 400
    assert len(taken) == 3
    assert sum(results) == 49 * 400


@pytest.mark.parametrize("place", ["items", "read"])
def test_an_unforeseen_error_reaches_the_caller_after_the_results_before_it(place):
    def items():
        yield from range(3)
        if place == "items":
            raise KeyError("items")
        yield 3

    def read(number):
        if number == 3:
            raise KeyError("read")
        return number

    results, received = read_ahead(items(), read, threads=2, ahead=0), []
    with pytest.raises(KeyError, match=place):
        for result in results:
            received.append(result)
    assert received == [0, 1, 2]
