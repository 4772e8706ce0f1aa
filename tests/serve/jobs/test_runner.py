"""Threads that run jobs."""

import logging
import os
import threading
import time

import pytest

from capjax.serve.jobs import JobRunner, StoreUnavailable


def until(condition, seconds=10.0):
    """Waits for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


@pytest.fixture
def start():
    """A function that starts a runner, which stops at the end of the test."""
    runners = []

    def start(store, handler, **options):
        runner = JobRunner(store, handler, **{"poll_seconds": 0.02, **options})
        runner.start()
        runners.append(runner)
        return runner

    yield start
    for runner in runners:
        runner.stop(0)


def test_jobs_run_with_their_media_and_their_results_are_recorded(open_jobs, start):
    store = open_jobs()
    jobs = [store.submit("", {"n": n}, [str(n).encode()]) for n in range(9)]
    start(store, lambda job, path, progress: {"n": job.request["n"], "media": path.read_text()}, workers=3)
    until(lambda: all(store.get(job.id, "").ended for job in jobs))
    assert [store.get(job.id, "").result for job in jobs] == [{"n": n, "media": str(n)} for n in range(9)]


def test_a_woken_runner_does_not_wait_for_its_next_poll(open_jobs, start):
    store = open_jobs()
    runner = start(store, lambda job, path, progress: {}, poll_seconds=60)
    time.sleep(0.2)
    job = store.submit("", {}, [b"a"])
    runner.wake()
    until(lambda: store.get(job.id, "").ended)


def test_clients_see_the_progress_of_a_job(open_jobs, start):
    store, go_on = open_jobs(), threading.Event()

    def handler(job, path, progress):
        for fraction in (0.5, 7, float("nan"), 0.5):
            progress(fraction)
        go_on.wait(10)
        return {}

    job = store.submit("", {}, [b"a"])
    start(store, handler, lease_seconds=0.3)
    until(lambda: store.get(job.id, "").progress == 0.5)
    go_on.set()
    until(lambda: store.get(job.id, "").ended)


def test_a_job_may_take_longer_than_its_lease(open_jobs, start):
    store, starts = open_jobs(), []

    def handler(job, path, progress):
        starts.append(job.attempts)
        time.sleep(1)
        return {}

    job = store.submit("", {}, [b"a"])
    start(store, handler, lease_seconds=0.3, workers=2)
    until(lambda: store.get(job.id, "").state == "done")
    assert starts == [1]


def test_a_running_job_stops_when_it_is_canceled(open_jobs, start):
    store, running, ended = open_jobs(), threading.Event(), threading.Event()

    def handler(job, path, progress):
        running.set()
        try:
            while True:
                progress(0.1)
                time.sleep(0.01)
        finally:
            ended.set()

    job = store.submit("", {}, [b"a"])
    start(store, handler)
    assert running.wait(5)
    store.cancel(job.id, "")
    assert ended.wait(5) and store.get(job.id, "").state == "canceled"


def test_clients_read_public_errors_without_paths_and_no_others(open_jobs, start, caplog):
    store, paths = open_jobs(), []

    def handler(job, path, progress):
        paths.append(str(path))
        raise (ValueError if job.request["public"] else KeyError)(f"{path} is damaged")

    public, internal = (store.submit("", {"public": value}, [b"a"]) for value in (True, False))
    with caplog.at_level(logging.ERROR, "capjax"):
        start(store, handler, public_kind=lambda error: "media" if isinstance(error, ValueError) else None)
        until(lambda: store.get(internal.id, "").ended)
        until(lambda: caplog.records)
    assert store.get(public.id, "").error == {"kind": "media", "message": "the file is damaged"}
    error = store.get(internal.id, "").error
    assert error["kind"] == "internal" and "damaged" not in error["message"] and paths[1] not in error["message"]
    assert [record.getMessage() for record in caplog.records] == [f"job {internal.id} failed"]
    assert caplog.records[0].exc_info[0] is KeyError


@pytest.mark.parametrize("result", [{"score": float("nan")}, None, {"path": os}])
def test_a_result_that_is_no_json_is_an_internal_error(open_jobs, start, result):
    store = open_jobs()
    job = store.submit("", {}, [b"a"])
    start(store, lambda *_: result)
    until(lambda: store.get(job.id, "").ended)
    assert store.get(job.id, "").error["kind"] == "internal"


def test_a_handler_that_hangs_costs_its_job_and_not_those_after_it(open_jobs, start):
    store, go_on = open_jobs(), threading.Event()

    def handler(job, path, progress):
        if job.request["hang"]:
            go_on.wait(30)
        return {}

    hanging, next_ = (store.submit("", {"hang": hang}, [b"a"]) for hang in (True, False))
    runner = start(store, handler, max_seconds=0.3, lease_seconds=0.3)
    until(lambda: store.get(next_.id, "").ended)
    assert store.get(hanging.id, "").error["kind"] == "timeout" and store.get(next_.id, "").state == "done"
    assert runner.hung == 1
    go_on.set()
    until(lambda: runner.hung == 0)
    assert store.get(hanging.id, "").state == "failed"


def test_stop_waits_for_running_jobs_and_claims_no_more(open_jobs):
    store, running = open_jobs(), threading.Event()

    def handler(job, path, progress):
        running.set()
        time.sleep(0.5)
        return {}

    first, second = (store.submit("", {}, [b"a"]) for _ in range(2))
    runner = JobRunner(store, handler, poll_seconds=0.02)
    runner.start()
    running.wait(5)
    runner.stop(10)
    assert store.get(first.id, "").state == "done" and store.get(second.id, "").state == "queued"


def test_stop_returns_jobs_that_take_too_long_to_the_queue(open_jobs):
    store, running = open_jobs(), threading.Event()

    def handler(job, path, progress):
        while True:
            progress(0.5)
            running.set()
            time.sleep(0.01)

    job = store.submit("", {}, [b"a"])
    runner = JobRunner(store, handler)
    runner.start()
    running.wait(5)
    begin = time.monotonic()
    runner.stop(0.1)
    assert time.monotonic() - begin < 5
    job = store.get(job.id, "")
    assert (job.state, job.attempts, job.progress) == ("queued", 0, 0)


def test_a_runner_outlasts_a_store_that_is_away(open_jobs, start, monkeypatch):
    store = open_jobs()
    calls = dict.fromkeys(("claim", "renew", "finish"), 0)

    def failing(name, method):
        def call(*arguments, **options):
            calls[name] += 1
            if calls[name] == 1:
                raise StoreUnavailable("it is away")
            return method(*arguments, **options)

        return call

    for name in calls:
        monkeypatch.setattr(store, name, failing(name, getattr(store, name)))

    def handler(job, path, progress):
        time.sleep(0.5)
        return {"a": 1}

    job = store.submit("", {}, [b"a"])
    start(store, handler, lease_seconds=1)
    until(lambda: store.get(job.id, "").ended)
    assert store.get(job.id, "").result == {"a": 1} and all(calls.values())


def test_an_error_that_nobody_expects_costs_no_worker(open_jobs, start, monkeypatch):
    store = open_jobs()
    finish, errors = store.finish, [KeyError("a bug")]

    def failing_once(lease, **outcome):
        if errors:
            raise errors.pop()
        return finish(lease, **outcome)

    monkeypatch.setattr(store, "finish", failing_once)
    jobs = [store.submit("", {}, [b"a"]) for _ in range(2)]
    start(store, lambda job, path, progress: {"a": job.attempts}, lease_seconds=0.5)
    until(lambda: all(store.get(job.id, "").ended for job in jobs))
    assert sorted(store.get(job.id, "").result["a"] for job in jobs) == [1, 2]
