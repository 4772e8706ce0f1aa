"""Redis as a store: its restart, its memory, its permissions."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from capjax.serve.jobs import JobLimits, QueueFull, StoreError, StoreUnavailable, open_store
from capjax.serve.jobs.redis_store import RedisJobStore
from capjax.serve.jobs.store import BLOCK_BYTES
from tests.helpers.redis_server import RedisServer


@pytest.fixture
def server():
    """A Redis that the test may kill or configure."""
    server = RedisServer("--appendfsync", "always")
    yield server
    server.close()


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_jobs_survive_a_redis_that_is_killed(server):
    store = RedisJobStore(server.url)
    data = bytes(BLOCK_BYTES + 5)
    running, queued = (store.submit("", {"n": n}, [data]) for n in range(2))
    lease = store.claim("worker", 30)
    server.kill()
    for method in (lambda: store.claim("worker", 30), lambda: store.get(queued.id, ""), store.queue_length):
        with pytest.raises(StoreUnavailable, match=r"Redis at .*socket cannot be used: .*is it running\?"):
            method()
    server.start()
    assert store.get(queued.id, "") == queued
    assert store.renew(lease, 0.5, 30) and store.finish(lease, result={"a": 1})
    assert store.get(running.id, "").result == {"a": 1}
    with store.open_media(store.claim("worker", 30).job) as path:
        assert path.read_bytes() == data


def test_an_upload_during_which_redis_is_killed_is_no_job(server):
    store = RedisJobStore(server.url, JobLimits(upload_seconds=0, max_spool_bytes=3 * BLOCK_BYTES))

    def chunks():
        yield bytes(BLOCK_BYTES)
        server.kill()
        server.start()
        yield bytes(BLOCK_BYTES)

    job = store.submit("", {}, chunks())  # Redis is back and has the first block: the upload goes on
    store.cancel(job.id, "")

    def broken():
        yield bytes(BLOCK_BYTES)
        server.kill()
        yield bytes(BLOCK_BYTES)

    with pytest.raises(StoreUnavailable):
        store.submit("", {}, broken())
    server.start()
    assert store.claim("worker", 30) is None
    store.purge()
    store.submit("", {}, [bytes(3 * BLOCK_BYTES)])


def test_a_redis_without_memory_refuses_jobs_and_still_ends_those_it_has(server, caplog):
    store = RedisJobStore(server.url)
    first, second, third = (store.submit("", {}, [bytes(BLOCK_BYTES)]) for _ in range(3))
    lost = store.claim("worker", 30)
    server.client.config_set("maxmemory", server.client.info()["used_memory"] - BLOCK_BYTES // 2)
    with pytest.raises(QueueFull, match="space"):
        store.submit("", {}, [b"a"])
    assert "has reached its maxmemory" in caplog.text
    assert store.renew(lost, 0.5, 30) and store.finish(lost, result={"a": 1})
    assert store.get(first.id, "").result == {"a": 1}
    server.client.config_set("maxmemory", server.client.info()["used_memory"] - BLOCK_BYTES // 2)
    lease = store.claim("worker", 30)
    assert lease.job.id == second.id and store.release(lease)
    assert store.cancel(second.id, "").state == "canceled" and store.cancel(third.id, "").state == "canceled"
    store.purge()
    assert store.submit("", {}, [b"a"]).state == "queued"


def test_a_redis_that_may_lose_jobs_is_a_warning(server, caplog):
    server.client.config_set("appendonly", "no")
    server.client.config_set("maxmemory", "1gb")
    server.client.config_set("maxmemory-policy", "allkeys-lru")
    RedisJobStore(server.url)
    assert "appendonly yes" in caplog.text and "noeviction" in caplog.text


def test_jobs_of_another_version_are_refused(server):
    server.client.set("{capjax-jobs}:version", "7")
    with pytest.raises(StoreError, match="schema version 7, this version of capjax has 1"):
        RedisJobStore(server.url)


def test_database_numbers_are_separate_queues(server):
    stores = [open_store(f"{server.url}?db={number}") for number in range(2)]
    stores[0].submit("", {}, [b"a"])
    assert [store.queue_length() for store in stores] == [1, 0]


def test_a_redis_that_does_not_run_is_an_error_without_the_password():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]  # nobody listens
        with pytest.raises(StoreUnavailable, match=f"Redis at 127.0.0.1:{port} cannot be used") as error:
            open_store(f"redis://:secret@127.0.0.1:{port}/0")
    assert "secret" not in str(error.value)


def test_a_wrong_password_is_an_error_that_does_not_show_it(server):
    server.client.config_set("requirepass", "right")
    with pytest.raises(StoreUnavailable, match="refuses the user") as error:
        RedisJobStore(f"unix://:secret@{server.folder}/socket")
    assert "secret" not in str(error.value)
    assert RedisJobStore(f"unix://:right@{server.folder}/socket").queue_length() == 0


@pytest.mark.parametrize("url", ["redis://host:port/0", "redis://host:6379/0?socket_timeout=x"])
def test_a_url_that_is_none_is_an_error(url):
    with pytest.raises(StoreError, match="redis://HOST:PORT/DATABASE"):
        open_store(url)


def test_a_redis_that_does_not_answer_is_an_error_in_time(server):
    store = RedisJobStore(server.url + "?socket_timeout=0.2")
    with server.frozen(), pytest.raises(StoreUnavailable):
        store.queue_length()
    assert store.queue_length() == 0


def test_files_for_workers_are_removed_after_use_and_after_a_kill(server, temporary_folder):
    store = RedisJobStore(server.url)
    store.submit("", {}, [b"a"])
    lease = store.claim("worker", 30)
    with store.open_media(lease.job) as path:
        assert path.read_bytes() == b"a" and path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.exists()
    program = (
        "import sys, os, signal; from capjax.serve.jobs import open_store\n"
        "store = open_store(sys.argv[1]); store.submit('', {}, [b'a'])\n"
        "with store.open_media(store.claim('worker', 30).job): os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "TMPDIR": str(temporary_folder), "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([sys.executable, "-c", program, server.url], env=environment)
    (leftover,) = set(temporary_folder.glob("capjax-jobs-*")) - {path.parent}
    assert len(list(leftover.iterdir())) == 1
    for folder in (leftover, path.parent):
        os.utime(folder, (0, 0))
    RedisJobStore(server.url).close()
    assert list(temporary_folder.iterdir()) == [path.parent]  # that of a process that is alive
    store.close()
    assert not list(temporary_folder.iterdir())
