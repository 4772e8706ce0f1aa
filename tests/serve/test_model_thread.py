"""The thread that runs the model: batches, turns, cancellation; no model is needed."""

import threading
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capjax.serve.model_thread import BatchProgram, ModelThread, PhotoQueueFull
from tests.helpers.live_server import wait_until

ONE_BY_ONE, ALL_AT_ONCE = {1: 1.0, 8: 8.0, 32: 32.0}, {1: 1.0, 8: 1.0, 32: 1.0}


class Recorder:
    """Records batches; each result is its item, and items that are exceptions are raised."""

    def __init__(self):
        self.batches: list[list] = []
        self.entered, self.released = threading.Event(), threading.Event()
        self.released.set()

    def hold(self):
        """Batches wait until `release`."""
        self.entered.clear()
        self.released.clear()

    def release(self):
        self.released.set()

    def program(self, key="a", seconds=ALL_AT_ONCE) -> BatchProgram:
        return BatchProgram(key, self.run, seconds)

    def run(self, items: Sequence) -> list:
        self.entered.set()
        assert self.released.wait(30)
        self.batches.append(list(items))
        for item in items:
            if isinstance(item, Exception):
                raise item
        return list(items)


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def thread(recorder):
    thread = ModelThread(max_queued=64, batch_wait=0.0)
    yield thread
    recorder.release()
    thread.close()


def submit(thread: ModelThread, program: BatchProgram, *items) -> list:
    thread.reserve(len(items))
    return [thread.submit(program, item) for item in items]


def occupy(thread: ModelThread, recorder: Recorder):
    """Has the thread run a batch until `recorder.release`."""
    recorder.hold()
    [future] = submit(thread, recorder.program("first"), "first")
    assert recorder.entered.wait(30)
    return future


# ---- Batches


@given(
    st.dictionaries(st.sampled_from([2, 4, 8, 32]), st.floats(1e-4, 10), max_size=3), st.floats(1e-4, 10),
    st.integers(1, 100),
)  # fmt: skip
def test_no_other_size_takes_a_tenth_less_time_per_item(seconds, single, waiting):
    seconds = {1: single, **seconds}
    size = BatchProgram("a", list, seconds).batch_size(waiting)
    assert size in {min(each, waiting) for each in seconds}
    cost = {each: time / min(each, waiting) for each, time in seconds.items()}
    chosen = min(cost[each] for each in seconds if min(each, waiting) == size)
    assert chosen <= min(cost.values()) * 1.1 * (1 + 1e-9)


def test_a_batch_that_can_be_filled_is_chosen_for_a_smaller_gain_than_one_that_waits():
    program = BatchProgram("a", list, {1: 1.0, 8: 7.6})  # 5 % less time per item
    assert program.batch_size(8) == 8
    assert program.batch_size(7) == 1


def test_items_that_wait_are_run_together_with_their_results_in_order(thread, recorder):
    first = occupy(thread, recorder)
    futures = submit(thread, recorder.program(), *range(20))
    recorder.release()
    assert [future.result(30) for future in futures] == list(range(20))
    assert first.result(30) == "first"
    assert recorder.batches == [["first"], list(range(20))]


def test_where_large_batches_are_not_faster_items_are_run_alone(thread, recorder):
    occupy(thread, recorder)
    futures = submit(thread, recorder.program(seconds=ONE_BY_ONE), *range(5))
    recorder.release()
    assert [future.result(30) for future in futures] == list(range(5))
    assert recorder.batches[1:] == [[number] for number in range(5)]


def test_items_of_different_programs_are_not_mixed_and_the_oldest_comes_first(thread, recorder):
    occupy(thread, recorder)
    futures = []
    for number in range(9):
        futures += submit(thread, recorder.program("abc"[number % 3]), number)
    recorder.release()
    assert [future.result(30) for future in futures] == list(range(9))
    assert recorder.batches[1:] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]


def test_a_batch_waits_for_announced_items_where_a_larger_batch_is_faster(recorder):
    thread = ModelThread(max_queued=64, batch_wait=10.0)
    thread.reserve(3)
    start = time.monotonic()
    futures = [thread.submit(recorder.program(), number) for number in range(3)]
    assert [future.result(30) for future in futures] == [0, 1, 2]
    assert recorder.batches == [[0, 1, 2]]
    assert time.monotonic() - start < 5, "the last announced item ends the wait"
    thread.close()


def test_a_batch_does_not_wait_for_announced_items_longer_than_the_limit(recorder):
    thread = ModelThread(max_queued=64, batch_wait=0.05)
    thread.reserve(2)
    assert thread.submit(recorder.program(), 0).result(30) == 0
    thread.release(1)
    assert recorder.batches == [[0]]
    thread.close()


def test_where_batches_are_not_faster_nothing_waits_for_announced_items(recorder):
    thread = ModelThread(max_queued=64, batch_wait=30.0)
    thread.reserve(2)
    start = time.monotonic()
    assert thread.submit(recorder.program(seconds=ONE_BY_ONE), 0).result(30) == 0
    assert time.monotonic() - start < 10
    thread.release(1)
    thread.close()


# ---- Turns


def test_other_work_and_batches_take_turns(thread, recorder):
    occupy(thread, recorder)
    order: list[str] = []

    def note(kind):
        return lambda *_: order.append(kind) or [None]

    photos = [submit(thread, BatchProgram(number, note("photo"), {1: 1.0}), number)[0] for number in range(4)]
    windows = [thread.run(note("window")) for _ in range(4)]
    recorder.release()
    for future in photos + windows:
        future.result(30)
    assert order == ["window", "photo"] * 4


def test_the_error_of_other_work_is_that_of_its_future(thread):
    with pytest.raises(ZeroDivisionError):
        thread.run(lambda: 1 / 0).result(30)
    assert thread.run(lambda: 7).result(30) == 7


# ---- Cancellation and limits


def test_a_canceled_item_is_not_run_and_frees_its_place(thread, recorder):
    occupy(thread, recorder)
    futures = submit(thread, recorder.program(), *range(64))
    with pytest.raises(PhotoQueueFull):
        thread.reserve(1)
    for future in futures[:63]:
        assert future.cancel()
    assert thread.queued == 1
    thread.reserve(63)
    thread.release(63)
    recorder.release()
    assert futures[63].result(30) == 63
    assert recorder.batches[1:] == [[63]]


def test_items_may_be_canceled_while_a_batch_waits_for_others(recorder):
    thread = ModelThread(max_queued=8, batch_wait=1.0)
    thread.reserve(3)
    futures = [thread.submit(recorder.program(), number) for number in range(2)]
    for future in futures:
        assert future.cancel()
    thread.release(1)
    assert submit(thread, recorder.program(), "later")[0].result(30) == "later"
    assert recorder.batches == [["later"]]
    thread.close()


def test_an_item_that_runs_cannot_be_canceled(thread, recorder):
    future = occupy(thread, recorder)
    assert not future.cancel()
    recorder.release()
    assert future.result(30) == "first"


def test_a_full_queue_admits_nothing_and_says_when_it_will_be_empty(recorder):
    thread = ModelThread(max_queued=3, batch_wait=0.0)
    thread.reserve(2)
    with pytest.raises(PhotoQueueFull) as raised:
        thread.reserve(2)
    assert raised.value.retry_seconds > 0
    assert thread.queued == 2, "a refused reservation leaves nothing"
    thread.reserve(1)
    thread.release(3)
    assert thread.queued == 0
    thread.close()


# ---- Errors


def test_an_item_that_fails_does_not_affect_the_others_of_its_batch(thread, recorder):
    occupy(thread, recorder)
    bad = ValueError("bad")
    futures = submit(thread, recorder.program(), 0, bad, 2)
    recorder.release()
    assert (futures[0].result(30), futures[2].result(30)) == (0, 2)
    with pytest.raises(ValueError, match="bad"):
        futures[1].result(30)


def test_a_program_with_too_few_results_fails_its_items_and_the_thread_goes_on(thread, recorder):
    [future] = submit(thread, BatchProgram("short", lambda items: [], {1: 1.0}), 0)
    with pytest.raises(ValueError):
        future.result(30)
    assert submit(thread, recorder.program(), 1)[0].result(30) == 1


def test_the_work_that_waits_is_done_before_the_thread_ends(recorder):
    thread = ModelThread(max_queued=64, batch_wait=0.0)
    occupy(thread, recorder)
    futures = [*submit(thread, recorder.program(), 1, 2), thread.run(lambda: 3)]
    closing = threading.Thread(target=thread.close)
    closing.start()
    recorder.release()
    closing.join(30)
    assert [future.result(0) for future in futures] == [1, 2, 3]


def test_batches_are_counted_with_their_time(recorder):
    counted: list[tuple[int, float]] = []
    thread = ModelThread(64, 0.0, lambda items, seconds: counted.append((items, seconds)))
    submit(thread, recorder.program(), 0)[0].result(30)
    wait_until(lambda: counted)
    assert counted[0][0] == 1 and counted[0][1] >= 0
    thread.close()
