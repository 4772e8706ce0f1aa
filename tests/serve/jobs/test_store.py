"""What each job store does; SQLite and Redis alike."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from capjax.serve.jobs import IdempotencyConflict, JobNotFound, MediaTooLarge, QueueFull
from capjax.serve.jobs.store import BLOCK_BYTES

REQUEST = {"lang": "en", "n": 3, "name": "Straße \ud83d.mp4"}  # half a surrogate pair, as JSON may have it
RESULT = {"events": [{"start": 0.5, "text": "ein Hund läuft"}]}
ERROR = {"kind": "media", "message": "no frame could be decoded"}


def media_of(store, job) -> bytes:
    with store.open_media(job) as path:
        return path.read_bytes()


def test_a_job_is_queued_then_running_then_done(open_jobs, clock):
    store = open_jobs()
    job = store.submit("kim", REQUEST, [b"ab", b"c"])
    assert job == store.get(job.id, "kim")
    assert (job.state, job.request, job.media_bytes, job.attempts, job.created) == ("queued", REQUEST, 3, 0, clock.now)
    assert store.queue_length() == 1

    clock.now += 1
    lease = store.claim("worker", 10)
    assert (lease.job.id, lease.job.state, lease.job.attempts) == (job.id, "running", 1)
    assert store.queue_length() == 0 and store.claim("worker", 10) is None
    assert media_of(store, lease.job) == b"abc"
    assert store.renew(lease, 0.25, 10)
    assert store.get(job.id, "kim").progress == 0.25

    clock.now += 1
    assert store.finish(lease, result=RESULT)
    done = store.get(job.id, "kim")
    assert (done.state, done.result, done.error, done.progress, done.finished) == ("done", RESULT, None, 1, clock.now)
    assert done.ended and not store.finish(lease, result={}) and store.get(job.id, "kim") == done


def test_a_job_that_fails_has_its_error_and_no_result(open_jobs):
    store = open_jobs()
    job = store.submit("", REQUEST, [b"a"])
    assert store.finish(store.claim("worker", 10), error=ERROR)
    failed = store.get(job.id, "")
    assert (failed.state, failed.result, failed.error) == ("failed", None, ERROR)


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES + 7])
@pytest.mark.parametrize("chunk", [65_537, 3 * BLOCK_BYTES])
def test_media_of_any_size_come_back_whole(open_jobs, size, chunk):
    store = open_jobs()
    data = bytes(range(251)) * (size // 251 + 1)
    data = data[:size]
    store.submit("", {}, (data[start : start + chunk] for start in range(0, size, chunk)))
    assert media_of(store, store.claim("worker", 10).job) == data


def test_jobs_outlive_the_store(open_jobs):
    job = open_jobs().submit("kim", REQUEST, [b"abc"])
    later = open_jobs()
    assert later.get(job.id, "kim") == job
    assert media_of(later, later.claim("worker", 10).job) == b"abc"


def test_the_oldest_job_is_claimed_first_and_a_released_one_keeps_its_place(open_jobs):
    store = open_jobs()
    ids = [store.submit("", {}, [b"a"]).id for _ in range(4)]
    first = store.claim("worker", 10)
    assert store.release(first) and not store.release(first) and not store.finish(first, result={})
    leases = [store.claim("worker", 10) for _ in ids]
    assert [lease.job.id for lease in leases] == ids
    assert [lease.job.attempts for lease in leases] == [1] * 4


def test_another_owner_learns_nothing_of_a_job(open_jobs):
    store = open_jobs()
    job = store.submit("kim", REQUEST, [b"a"])
    for job_id, owner in ((job.id, "lee"), (job.id, ""), ("", "kim"), ("../" * 9, "kim"), (job.id[:-1] + "\0", "kim")):
        for method in (store.get, store.cancel):
            with pytest.raises(JobNotFound):
                method(job_id, owner)
    assert store.get(job.id, "kim").state == "queued"


def test_a_canceled_job_never_runs(open_jobs):
    store = open_jobs()
    job = store.submit("", {}, [b"a"])
    assert store.cancel(job.id, "").state == "canceled"
    assert store.claim("worker", 10) is None and store.queue_length() == 0
    with pytest.raises(FileNotFoundError), store.open_media(job):
        pass


def test_the_worker_of_a_canceled_job_loses_its_lease(open_jobs):
    store = open_jobs()
    job = store.submit("", {}, [b"a"])
    lease = store.claim("worker", 10)
    assert store.cancel(job.id, "").state == "canceled"
    assert not store.renew(lease, 0.5, 10) and not store.finish(lease, result=RESULT) and not store.release(lease)
    assert store.get(job.id, "").state == "canceled"


def test_canceling_an_ended_job_keeps_its_result(open_jobs):
    store = open_jobs()
    job = store.submit("", {}, [b"a"])
    store.finish(store.claim("worker", 10), result=RESULT)
    assert store.cancel(job.id, "") == store.get(job.id, "")
    assert store.get(job.id, "").result == RESULT


def test_the_job_of_an_expired_lease_waits_behind_the_others(open_jobs, clock):
    store = open_jobs()
    first, second = (store.submit("", {}, [name]) for name in (b"1", b"2"))
    lost = store.claim("killed", 10)
    clock.now += 9.5
    assert store.renew(lost, 0.5, 10)
    clock.now += 9.5
    assert store.claim("other", 30).job.id == second.id
    assert store.claim("other", 30) is None
    clock.now += 1
    lease = store.claim("other", 10)
    assert (lease.job.id, lease.job.attempts, lease.job.progress) == (first.id, 2, 0)
    assert media_of(store, lease.job) == b"1"
    assert not store.renew(lost, 0.7, 10) and not store.release(lost) and not store.finish(lost, result={"who": "lost"})
    assert store.finish(lease, result={"who": "other"}) and not store.finish(lost, error=ERROR)
    assert store.get(first.id, "").result == {"who": "other"}


def test_a_late_worker_records_its_result_while_no_other_claimed_the_job(open_jobs, clock):
    store = open_jobs()
    job = store.submit("", {}, [b"a"])
    lease = store.claim("frozen", 10)
    clock.now += 100
    assert store.finish(lease, result=RESULT) and store.claim("other", 10) is None
    assert store.get(job.id, "").state == "done"


def test_a_job_that_loses_its_workers_is_given_up(open_jobs, clock):
    store = open_jobs(max_attempts=3)
    job = store.submit("", {}, [b"a"])
    for attempt in (1, 2, 3):
        assert store.claim("killed", 10).job.attempts == attempt
        clock.now += 10
    assert store.claim("killed", 10) is None
    failed = store.get(job.id, "")
    assert failed.state == "failed" and failed.error["kind"] == "worker_lost" and "3 times" in failed.error["message"]
    with pytest.raises(FileNotFoundError), store.open_media(failed):
        pass


def test_a_graceful_stop_costs_no_attempt(open_jobs):
    store = open_jobs(max_attempts=2)
    store.submit("", {}, [b"a"])
    for _ in range(5):
        lease = store.claim("worker", 10)
        assert lease.job.attempts == 1 and store.release(lease)


def test_an_idempotency_key_returns_the_earlier_job(open_jobs):
    store = open_jobs(max_queued=1)
    job = store.submit("kim", {"a": 1, "b": 2}, [b"abc"], idempotency_key="key")
    assert store.submit("kim", {"b": 2, "a": 1}, [b"a", b"bc"], idempotency_key="key") == job  # the full queue as well
    store.finish(store.claim("worker", 10), result=RESULT)
    assert store.submit("kim", {"a": 1, "b": 2}, [b"abc"], idempotency_key="key").result == RESULT
    other = store.submit("lee", {"a": 1, "b": 2}, [b"abc"], idempotency_key="key")
    assert other.id != job.id and other.state == "queued"


@pytest.mark.parametrize(("request_", "media"), [({"a": 2}, b"abc"), ({"a": 1}, b"abd"), ({"a": 1}, b"")])
def test_an_idempotency_key_with_another_request_is_an_error(open_jobs, request_, media):
    store = open_jobs()
    job = store.submit("kim", {"a": 1}, [b"abc"], idempotency_key="key")
    with pytest.raises(IdempotencyConflict, match="'key' was used before"):
        store.submit("kim", request_, [media], idempotency_key="key")
    assert store.queue_length() == 1 and store.get(job.id, "kim") == job


def test_an_idempotency_key_is_free_again_once_its_job_expired(open_jobs, clock):
    store = open_jobs(result_seconds=60)
    job = store.submit("", {}, [b"a"], idempotency_key="key")
    store.cancel(job.id, "")
    clock.now += 60
    later = store.submit("", {"other": 1}, [b"b"], idempotency_key="key")
    assert later.id != job.id
    store.purge()
    assert store.submit("", {"other": 1}, [b"b"], idempotency_key="key") == later


def test_concurrent_submissions_with_one_key_become_one_job(open_jobs):
    store, barrier = open_jobs(), threading.Barrier(8)

    def chunks():
        barrier.wait()  # all of them have looked the key up
        yield b"abc"

    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda _: store.submit("", {}, chunks(), idempotency_key="key"), range(8)))
    assert len({job.id for job in jobs}) == 1 and store.queue_length() == 1
    assert media_of(store, store.claim("worker", 10).job) == b"abc"


def test_a_full_queue_refuses_jobs_before_it_reads_their_media(open_jobs):
    store = open_jobs(max_queued=2)
    for _ in range(2):
        store.submit("", {}, [b"a"])

    def chunks():
        raise AssertionError("the media are read")
        yield

    with pytest.raises(QueueFull, match="2 jobs are waiting"):
        store.submit("", {}, chunks())
    store.claim("worker", 10)
    store.submit("", {}, [b"a"])


def test_space_for_media_is_bounded_and_becomes_free_when_jobs_end(open_jobs):
    store = open_jobs(max_spool_bytes=10)
    first = store.submit("", {}, [b"123456"])
    with pytest.raises(QueueFull, match="space"):
        store.submit("", {}, [b"12345"])
    second = store.submit("", {}, [b"1234"])
    store.finish(store.claim("worker", 10), error=ERROR)
    store.cancel(second.id, "")
    assert store.get(first.id, "").ended
    store.submit("", {}, [b"1234567890"])


def test_a_file_over_the_limit_is_refused_and_leaves_nothing(open_jobs):
    store = open_jobs(max_media_bytes=2 * BLOCK_BYTES, max_spool_bytes=2 * BLOCK_BYTES)

    def endless():
        while True:
            yield bytes(100_000)

    with pytest.raises(MediaTooLarge, match="larger than 8 MiB"):
        store.submit("", {}, endless())
    assert store.queue_length() == 0
    store.submit("", {}, [bytes(2 * BLOCK_BYTES)])


def test_an_aborted_upload_leaves_nothing(open_jobs):
    store = open_jobs(max_spool_bytes=2 * BLOCK_BYTES)

    def aborted():
        yield bytes(BLOCK_BYTES + 1)
        raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError):
        store.submit("", {}, aborted())
    assert store.queue_length() == 0 and store.claim("worker", 10) is None
    store.submit("", {}, [bytes(2 * BLOCK_BYTES)])


def test_an_upload_whose_process_was_killed_is_purged(open_jobs, clock):
    store = open_jobs(upload_seconds=60, max_spool_bytes=4 * BLOCK_BYTES)
    store._store_media("A" * 22, [bytes(BLOCK_BYTES), bytes(BLOCK_BYTES)])  # and no more
    clock.now += 59
    store.purge()
    with pytest.raises(QueueFull):
        store.submit("", {}, [bytes(3 * BLOCK_BYTES)])
    clock.now += 1
    store.purge()
    store.submit("", {}, [bytes(4 * BLOCK_BYTES)])


def test_an_upload_that_stalls_is_refused_when_it_goes_on(open_jobs, clock):
    from capjax.serve.jobs import StoreUnavailable

    store = open_jobs(upload_seconds=60)

    def stalled():
        yield bytes(BLOCK_BYTES)
        clock.now += 60
        store.purge()
        yield b"more"

    with pytest.raises(StoreUnavailable, match="stored nothing for 60 s"):
        store.submit("", {}, stalled())
    assert store.claim("worker", 10) is None


def test_ended_jobs_expire_and_others_do_not(open_jobs, clock):
    store = open_jobs(result_seconds=60)
    queued, running, done = (store.submit("", {}, [b"a"]) for _ in range(3))
    store.cancel(done.id, "")
    lease = store.claim("worker", 1e9)
    clock.now += 60
    for _ in range(2):
        with pytest.raises(JobNotFound):
            store.get(done.id, "")
        assert store.get(queued.id, "").state == "running" and store.get(running.id, "").state == "queued"
        store.purge()
    assert store.finish(lease, result=RESULT)
    assert store.get(queued.id, "").expires == clock.now + 60


@pytest.mark.parametrize("result", [{"a": float("nan")}, {"a": {1}}])
def test_a_result_that_is_no_json_is_refused(open_jobs, result):
    store = open_jobs()
    job = store.submit("", {}, [b"a"])
    lease = store.claim("worker", 10)
    with pytest.raises((TypeError, ValueError)):
        store.finish(lease, result=result)
    assert store.get(job.id, "").state == "running"


def test_threads_claim_each_job_once(open_jobs):
    store = open_jobs()
    ids = {store.submit("", {}, [b"a"]).id for _ in range(20)}

    def work(_):
        claimed = []
        while lease := store.claim("worker", 60):
            claimed.append(lease.job.id)
            assert store.finish(lease, result={})
        return claimed

    with ThreadPoolExecutor(6) as pool:
        claimed = [job_id for ids_of_thread in pool.map(work, range(6)) for job_id in ids_of_thread]
    assert sorted(claimed) == sorted(ids)
