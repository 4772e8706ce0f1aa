"""Liveness: which process counts as lost, by the reports of all processes and their times."""

import pytest

from capjax.parallel.liveness import LOST, Peers

HOSTS = ["a, process 11", "b, process 12", "c, process 13"]


def watch(report, seconds: int, own: int = 0):
    """(second, status) of the first status from the reports `report(index, second)`, every other second; else None."""
    peers = Peers(HOSTS, 0)
    for now in range(0, seconds, 2):
        peers.update([report(index, now) for index in range(len(HOSTS))], now)
        if status := peers.status(own, now):
            return now, status
    return None


def alive(now: int, step: int = 0, busy: bool = False) -> dict:
    return {"heartbeats": now + 1, "step": step, "busy": busy}


@pytest.mark.parametrize("length", [1, 40, 50, 90, 600])
def test_steps_of_any_length_lose_nobody(length):
    """A report of a new step arrives up to four seconds later from one process than from another."""
    assert watch(lambda index, now: alive(now, max(0, now - 2 * index) // length), 2000) is None


def test_a_silent_process_is_named_within_a_minute():
    when, (status, text) = watch(lambda index, now: alive(min(now, 100) if index == 1 else now), 300)
    assert 130 < when < 160 and status == LOST
    assert text.startswith("host b (process 12, number 1 of 3), has given no sign of life for 30 s")


def test_a_process_without_any_report_is_lost():
    when, (status, text) = watch(lambda index, now: {} if index == 2 else alive(now), 300)
    assert when < 60 and status == LOST and "host c" in text


@pytest.mark.parametrize("own", [0, 2])
def test_a_live_process_that_stays_behind_hangs_and_ends_itself_too(own):
    when, (status, text) = watch(lambda index, now: alive(now, now if index != 2 else min(now, 100)), 300, own)
    assert 145 < when <= 160 and status == LOST
    assert text.startswith("host c (process 13, number 2 of 3), hangs at step 100")


def test_a_busy_process_may_stay_behind():
    assert watch(lambda index, now: alive(now, 7 if index == 2 else 8, busy=index == 2), 2000) is None


@pytest.mark.parametrize("busy", [False, True])
def test_a_step_that_no_process_finishes_is_a_stuck_collective_unless_one_is_busy(busy):
    failure = watch(lambda index, now: alive(now, min(now // 10, 7), busy=busy and index == 1), 4000)
    if busy:
        assert failure is None
    else:
        when, (status, text) = failure
        assert 1870 < when < 1880 and status == LOST
        assert text.startswith("no process has got past step 7 for 30 minutes")


def test_a_process_that_failed_passes_on_its_status_and_reason():
    def report(index, now):
        return {"exit_status": 1, "reason": "no such file"} if index == 1 and now >= 20 else alive(now)

    assert watch(report, 100) == (20, (1, "host b (process 12, number 1 of 3), ended: no such file"))


def test_a_process_that_has_finished_is_neither_silent_nor_behind():
    def report(index, now):
        return {"exit_status": 0, "reason": ""} if index == 1 and now >= 20 else alive(now, now)

    assert watch(report, 1000) is None


def test_a_process_that_was_frozen_itself_reports_nobody_as_lost():
    peers = Peers(HOSTS, 0)
    peers.update([alive(0)] * 3, 0)
    peers.reset(500)
    assert peers.status(0, 500) is None
