"""The files of the SQLite store: its disk, its versions, several processes."""

import multiprocessing
import os
import sqlite3
import stat

import pytest

from capjax.serve.jobs import JobLimits, QueueFull, SqliteJobStore, StoreError, StoreUnavailable
from capjax.serve.jobs.store import BLOCK_BYTES
from tests.helpers.disks import permissions_checked, read_only, small_disk


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "deep" / "store"


def test_media_are_private_and_removed_with_their_job(folder):
    store = SqliteJobStore(folder)
    store.submit("", {}, [b"a"])
    spool = folder / "spool"
    assert stat.S_IMODE(spool.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in spool.iterdir()] == [0o600]
    store.finish(store.claim("worker", 10), result={})
    assert not list(spool.iterdir())


def test_files_that_belong_to_no_job_are_purged(folder):
    store = SqliteJobStore(folder)
    job = store.submit("", {}, [b"a"])
    (folder / "spool" / "leftover").write_bytes(b"a")  # killed between the end of a job and the removal of its media
    store.purge()
    assert [path.name for path in (folder / "spool").iterdir()] == [job.id]


@pytest.mark.parametrize("damage", ["removed", "cut"])
def test_media_that_are_not_whole_are_not_opened(folder, damage):
    store = SqliteJobStore(folder)
    job = store.submit("", {}, [b"abc"])
    path = folder / "spool" / job.id
    path.unlink() if damage == "removed" else path.write_bytes(b"ab")
    with pytest.raises(FileNotFoundError, match="missing or cut short"), store.open_media(job):
        pass


def test_a_store_of_another_version_is_refused_and_unchanged(folder):
    SqliteJobStore(folder).close()
    with sqlite3.connect(folder / "jobs.sqlite") as db:
        db.execute("PRAGMA user_version = 7")
    with pytest.raises(StoreError, match="schema version 7, this version of capjax has 1"):
        SqliteJobStore(folder)


def test_a_file_that_is_no_job_store_is_refused(folder):
    folder.mkdir(parents=True)
    path = folder / "jobs.sqlite"
    text = b"my jobs are all in this text file\n" * 100
    path.write_bytes(text)
    with pytest.raises(StoreError, match=r"jobs\.sqlite is no SQLite file"):
        SqliteJobStore(folder)
    assert path.read_bytes() == text
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE jobs (a)")
    with pytest.raises(StoreError, match=r"jobs\.sqlite has schema version 0"):
        SqliteJobStore(folder)


def test_a_full_disk_refuses_the_job_and_keeps_the_others(tmp_path):
    folder = tmp_path / "small"
    with small_disk(folder, 3 * BLOCK_BYTES):
        store = SqliteJobStore(folder)
        job = store.submit("", {}, [b"a"])
        with pytest.raises(StoreUnavailable, match="free some space"):
            store.submit("", {}, [bytes(3 * BLOCK_BYTES)])
        assert store.get(job.id, "") == job and [path.name for path in (folder / "spool").iterdir()] == [job.id]
        assert store.submit("", {}, [bytes(BLOCK_BYTES)]).state == "queued"
        store.close()


def test_a_read_only_folder_is_an_error_with_its_remedy(folder):
    SqliteJobStore(folder).close()
    with (
        read_only(folder),
        pytest.raises(StoreUnavailable, match="sqlite cannot be used: .* another folder"),
    ):
        SqliteJobStore(folder).submit("", {}, [b"a"])


def test_a_folder_without_permission_is_an_error_with_its_remedy(tmp_path):
    (tmp_path / "theirs").mkdir(mode=0o500)
    with permissions_checked(), pytest.raises(StoreUnavailable, match="choose a folder that you may write to"):
        SqliteJobStore(tmp_path / "theirs" / "store")


def test_a_store_that_another_process_holds_is_an_error_and_then_works(folder, monkeypatch):
    monkeypatch.setattr("capjax.serve.jobs.sqlite_store._BUSY_SECONDS", 0.1)
    store = SqliteJobStore(folder)
    other = sqlite3.connect(folder / "jobs.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="database is locked; another process"):
        store.submit("", {}, [b"a"])
    other.execute("ROLLBACK")
    assert store.submit("", {}, [b"a"]).state == "queued"
    other.close()


def test_a_damaged_file_is_an_error_with_its_remedy(folder):
    store = SqliteJobStore(folder)
    for _ in range(50):
        store.submit("", {"a": "b" * 500}, [b"a"])
    store.close()
    path = folder / "jobs.sqlite"
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(StoreUnavailable, match="it is damaged: move its folder away"):
        SqliteJobStore(folder).claim("worker", 10)


def _open_and_submit(folders, barrier):
    for folder in folders:
        barrier.wait()
        store = SqliteJobStore(folder)
        for n in range(3):
            store.submit("", {"n": n}, [b"a"])
        store.close()


def test_processes_may_create_a_store_at_the_same_time(folder):
    context = multiprocessing.get_context("spawn")
    barrier, folders = context.Barrier(4), [folder / str(number) for number in range(10)]
    processes = [context.Process(target=_open_and_submit, args=(folders, barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert [SqliteJobStore(folder).queue_length() for folder in folders] == [12] * 10


def test_names_of_owners_and_keys_are_data(folder):
    store = SqliteJobStore(folder, JobLimits(max_queued=1))
    owner = "'; DROP TABLE jobs; --"
    job = store.submit(owner, {}, [b"a"], idempotency_key='"\0\ud83d')
    assert store.get(job.id, owner) == job
    with pytest.raises(QueueFull):
        store.submit(owner, {}, [b"a"], idempotency_key="b")
