"""Which process is taken for lost, by what all of them say and when."""

import pytest

from capjax.parallel.liveness import LOST, Peers

HOSTS = ["a, process 11", "b, process 12", "c, process 13"]


def watch(says, seconds: int, own: int = 0):
    """(second, status) of the first status on what `says(index, second)`, heard every other second; else None."""
    peers = Peers(HOSTS, 0)
    for now in range(0, seconds, 2):
        peers.hear([says(index, now) for index in range(len(HOSTS))], now)
        if status := peers.status(own, now):
            return now, status
    return None


def alive(now: int, step: int = 0, busy: bool = False) -> dict:
    return {"beats": now + 1, "step": step, "busy": busy}


@pytest.mark.parametrize("length", [1, 40, 50, 90, 600])
def test_steps_of_any_length_are_no_reason_to_part(length):
    """Word of a new step comes from one process two seconds later than from another."""
    assert watch(lambda index, now: alive(now, max(0, now - 2 * index) // length), 2000) is None


def test_a_silent_process_is_named_within_a_minute():
    when, (status, text) = watch(lambda index, now: alive(min(now, 100) if index == 1 else now), 300)
    assert 130 < when < 160 and status == LOST
    assert text.startswith("host b (process 12, number 1 of 3), has given no sign of life for 30 s")


def test_a_process_that_was_never_heard_of_is_lost_too():
    when, (status, text) = watch(lambda index, now: {} if index == 2 else alive(now), 300)
    assert when < 60 and status == LOST and "host c" in text


@pytest.mark.parametrize("own", [0, 2])
def test_a_process_that_lives_but_stays_behind_hangs_and_knows_it_itself(own):
    when, (status, text) = watch(lambda index, now: alive(now, now if index != 2 else min(now, 100)), 300, own)
    assert 145 < when <= 160 and status == LOST
    assert text.startswith("host c (process 13, number 2 of 3), hangs at step 100")


def test_one_that_is_busy_may_stay_behind():
    assert watch(lambda index, now: alive(now, 7 if index == 2 else 8, busy=index == 2), 2000) is None


@pytest.mark.parametrize("busy", [False, True])
def test_a_step_that_none_comes_out_of_is_an_exchange_that_is_stuck_unless_one_is_busy(busy):
    found = watch(lambda index, now: alive(now, min(now // 10, 7), busy=busy and index == 1), 4000)
    if busy:
        assert found is None
    else:
        when, (status, text) = found
        assert 1870 < when < 1880 and status == LOST
        assert text.startswith("no process has come further than step 7 for 30 minutes")


def test_the_error_of_a_process_that_parted_is_told_with_its_status():
    def says(index, now):
        return {"beats": -1, "status": 1, "reason": "no such file"} if index == 1 and now >= 20 else alive(now)

    assert watch(says, 100) == (20, (1, "host b (process 12, number 1 of 3), ended: no such file"))


def test_one_that_parted_in_peace_is_neither_silent_nor_behind():
    def says(index, now):
        return {"beats": -1, "status": 0, "reason": ""} if index == 1 and now >= 20 else alive(now, now)

    assert watch(says, 1000) is None


def test_a_process_that_was_frozen_itself_blames_nobody():
    peers = Peers(HOSTS, 0)
    peers.hear([alive(0)] * 3, 0)
    peers.forget(500)
    assert peers.status(0, 500) is None
