"""Processes that are killed or frozen while they run or submit jobs."""

import collections
import os
import random
import signal
import time

import pytest

from tests.helpers.job_processes import digest, random_media, start_process


def lines(path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def until_all_ended(store, jobs, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not all(store.get(job.id, "").ended for job in jobs):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def counts(path, event: str) -> collections.Counter:
    return collections.Counter(words[1] for words in lines(path) if words[0] == event)


def check_results(store, jobs):
    for n, job in enumerate(jobs):
        assert store.get(job.id, "").result == {"n": n, "digest": digest(str(n).encode())}


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_every_job_has_its_one_result_after_kills(open_jobs, store_location, tmp_path, kills):
    store, log, rng = open_jobs(), tmp_path / "log", random.Random(0)
    jobs = [store.submit("", {"n": n}, [str(n).encode()]) for n in range(50)]
    for _ in range(kills):
        process = start_process("run", store_location, log, 0.5, 0.1)
        assert process.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0, 0.2))  # 50 jobs take 2.5 s
        process.kill()
        process.wait()
    interrupted = sum(counts(log, "started").values()) - sum(counts(log, "recorded").values())
    assert interrupted >= kills // 2 and not all(store.get(job.id, "").ended for job in jobs)
    process = start_process("run", store_location, log, 0.5, 0.01)
    try:
        until_all_ended(store, jobs)
    finally:
        process.kill()
        process.wait()
    check_results(store, jobs)
    assert max(counts(log, "recorded").values()) == 1


def test_two_processes_run_each_job_once(open_jobs, store_location, tmp_path):
    store, log = open_jobs(), tmp_path / "log"
    jobs = [store.submit("", {"n": n}, [str(n).encode()]) for n in range(30)]
    processes = [start_process("run", store_location, log, 30, 0.01) for _ in range(2)]
    try:
        until_all_ended(store, jobs)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    check_results(store, jobs)
    assert counts(log, "started") == dict.fromkeys((job.id for job in jobs), 1)


def test_the_job_of_a_frozen_process_runs_again_and_is_recorded_once(open_jobs, store_location, tmp_path):
    store, log = open_jobs(), tmp_path / "log"
    job = store.submit("", {"n": 0}, [b"0"])
    frozen = start_process("run", store_location, log, 0.5, 0.5)
    processes = [frozen]
    try:
        while not counts(log, "started"):
            time.sleep(0.01)
        os.kill(frozen.pid, signal.SIGSTOP)
        processes.append(start_process("run", store_location, log, 30, 0.5))
        while counts(log, "started")[job.id] < 2:
            time.sleep(0.01)
        os.kill(frozen.pid, signal.SIGCONT)
        until_all_ended(store, [job])
        time.sleep(1)  # until the frozen process has finished as well
    finally:
        for process in processes:
            process.kill()
            process.wait()
    check_results(store, [job])
    assert counts(log, "recorded") == {job.id: 1} and store.get(job.id, "").attempts == 2


def test_a_submission_that_is_killed_leaves_no_job_or_a_whole_one(open_jobs, store_location, tmp_path):
    store, rng, submitted = open_jobs(), random.Random(0), 0
    for attempt in range(3):
        log = tmp_path / f"log{attempt}"
        process = start_process("submit", store_location, log)
        assert process.stdout.readline() == "ready\n"
        while not lines(log):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        process.wait()
        ids, claimed = [words[0] for words in lines(log)], []
        while lease := store.claim("worker", 60):
            with store.open_media(lease.job) as path:
                assert digest(path.read_bytes()) == digest(random_media(lease.job.request["n"]))
            claimed.append(lease.job.id)
            assert store.finish(lease, result={})
        assert claimed[: len(ids)] == ids and len(claimed) <= len(ids) + 1  # the last may be stored and not yet logged
        submitted += len(ids)
    assert submitted >= 3
    purging = open_jobs(upload_seconds=0, max_spool_bytes=1)
    purging.purge()
    purging.submit("", {}, [b"a"])  # of the uploads nothing is left
