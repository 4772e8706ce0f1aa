"""Jobs in an SQLite file with their media in a folder, for the processes of one machine."""

import fcntl
import json
import logging
import os
import secrets
import sqlite3
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from capjax.metrics.writing import WriteError, write_errors_named
from capjax.serve.jobs.job import Job, JobLimits, Lease, QueueFull, StoreError, StoreUnavailable
from capjax.serve.jobs.store import JobStore, NewJob, end_of_job, lost_worker_error, stalled_upload

log = logging.getLogger("capjax")

_VERSION = 1
_SCHEMA = (
    """CREATE TABLE jobs (
      id TEXT PRIMARY KEY,
      owner TEXT NOT NULL,
      state TEXT NOT NULL,
      request TEXT NOT NULL,
      media_bytes INTEGER NOT NULL,
      fingerprint TEXT NOT NULL,
      idempotency TEXT UNIQUE,
      position INTEGER NOT NULL,
      progress REAL NOT NULL DEFAULT 0,
      result TEXT,
      error TEXT,
      attempts INTEGER NOT NULL DEFAULT 0,
      token TEXT,
      worker TEXT,
      lease_expires REAL,
      created REAL NOT NULL,
      finished REAL,
      expires REAL
    )""",
    "CREATE INDEX jobs_by_position ON jobs (state, position)",
    "CREATE INDEX jobs_by_expiry ON jobs (expires)",
    "CREATE TABLE uploads (id TEXT PRIMARY KEY, bytes INTEGER NOT NULL, touched REAL NOT NULL)",
    f"PRAGMA user_version = {_VERSION}",
)
# Other processes hold the file for one transaction at a time, which is one fsync.
_BUSY_SECONDS = 10.0
_REMEDIES = {
    "SQLITE_BUSY": f"another process has held it for {_BUSY_SECONDS:.0f} s: find and stop it",
    "SQLITE_FULL": "free some space on its disk",
    "SQLITE_READONLY": "have the permissions of its folder changed, or choose another folder",
    "SQLITE_CANTOPEN": "have the permissions of its folder changed, or choose another folder",
    "SQLITE_CORRUPT": "it is damaged: move its folder away and start with an empty one",
}


class SqliteJobStore(JobStore):
    """A job store in a folder on a local disk: `jobs.sqlite`, and `spool/` with the media of jobs that have not ended.

    Media become visible with the row of their job, never before they are complete. SQLite's write-ahead log needs
    shared memory, so that the folder cannot be on a network file system.
    """

    def __init__(self, folder: Path | str, limits: JobLimits | None = None):
        """Opens a store, and creates it where the folder has none.

        Raises:
          StoreError: the folder's jobs.sqlite is from another version of capjax, or something else.
          StoreUnavailable: it cannot be read or written.
        """
        super().__init__(limits or JobLimits())
        self._path = Path(folder) / "jobs.sqlite"
        self._spool = Path(folder) / "spool"
        self._idle: deque[sqlite3.Connection] = deque()
        with self._disk_errors(self._spool):
            self._spool.mkdir(mode=0o700, parents=True, exist_ok=True)  # uploads are private
        try:
            with self._alone():
                with self._transaction() as db:
                    self._create_or_check(db)
                with self._connection() as db:
                    db.execute("PRAGMA journal_mode = WAL")
        except BaseException:
            self.close()
            raise

    def queue_length(self) -> int:
        with self._connection() as db:
            return _queue_length(db)

    def claim(self, worker: str, lease_seconds: float) -> Lease | None:
        now, token = self._now(), secrets.token_urlsafe(16)
        with self._transaction() as db:
            given_up = self._end_expired_leases(db, now)
            row = db.execute("SELECT id FROM jobs WHERE state = 'queued' ORDER BY position LIMIT 1").fetchone()
            if row:
                db.execute(
                    "UPDATE jobs SET state = 'running', attempts = attempts + 1, token = ?, worker = ?, "
                    "lease_expires = ? WHERE id = ?",
                    (token, worker, now + lease_seconds, row["id"]),
                )
                row = db.execute("SELECT * FROM jobs WHERE id = ?", (row["id"],)).fetchone()
        for job_id in given_up:
            self._remove_file(job_id)
        return Lease(_job(row), token) if row else None

    def renew(self, lease: Lease, progress: float, lease_seconds: float) -> bool:
        with self._transaction() as db:
            return _changed(
                db,
                "UPDATE jobs SET progress = ?, lease_expires = ? WHERE id = ? AND token = ?",
                (progress, self._now() + lease_seconds, lease.job.id, lease.token),
            )

    def finish(
        self, lease: Lease, *, result: dict[str, Any] | None = None, error: dict[str, str] | None = None
    ) -> bool:
        state, result_text, error_text = end_of_job(result, error)
        with self._transaction() as db:
            holds_lease = bool(
                db.execute("SELECT 1 FROM jobs WHERE id = ? AND token = ?", (lease.job.id, lease.token)).fetchone()
            )
            if holds_lease:
                self._end(db, lease.job.id, state, result_text, error_text)
        if holds_lease:
            self._remove_file(lease.job.id)
        return holds_lease

    def release(self, lease: Lease) -> bool:
        with self._transaction() as db:
            return _changed(
                db,
                "UPDATE jobs SET state = 'queued', attempts = attempts - 1, progress = 0, token = NULL, worker = NULL, "
                "lease_expires = NULL WHERE id = ? AND token = ?",
                (lease.job.id, lease.token),
            )

    @contextmanager
    def open_media(self, job: Job) -> Iterator[Path]:
        path = self._media_path(job.id)
        if not path.is_file() or path.stat().st_size != job.media_bytes:
            raise FileNotFoundError(f"{path} is missing or cut short; the job has ended, or its media were removed")
        yield path

    def purge(self):
        now = self._now()
        with self._disk_errors(self._spool):
            files = list(self._spool.iterdir())  # before the rows are read: each file is younger than its row
        with self._transaction() as db:
            db.execute("DELETE FROM jobs WHERE expires <= ?", (now,))
            db.execute("DELETE FROM uploads WHERE touched <= ?", (now - self.limits.upload_seconds,))
            rows = db.execute(
                "SELECT id FROM jobs WHERE state IN ('queued', 'running') UNION SELECT id FROM uploads"
            ).fetchall()
        in_use = {row["id"] for row in rows}
        for path in files:
            if path.name not in in_use:
                self._remove_file(path.name)

    def close(self):
        while self._idle:
            self._idle.pop().close()

    def _now(self) -> float:
        return time.time()

    def _find_by_key(self, idempotency: str) -> tuple[Job, str] | None:
        with self._connection() as db:
            return self._by_key(db, idempotency)

    def _by_key(self, db: sqlite3.Connection, idempotency: str) -> tuple[Job, str] | None:
        row = db.execute(
            "SELECT * FROM jobs WHERE idempotency = ? AND (expires IS NULL OR expires > ?)", (idempotency, self._now())
        ).fetchone()
        return (_job(row), row["fingerprint"]) if row else None

    def _store_media(self, job_id: str, blocks: Iterable[bytes]):
        with self._transaction() as db:
            self._check_queue(db)
            db.execute("INSERT INTO uploads VALUES (?, 0, ?)", (job_id, self._now()))
        path = self._media_path(job_id)
        with self._disk_errors(path):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            for block in blocks:
                self._reserve(job_id, len(block))
                with self._disk_errors(path):
                    _write_all(file.fileno(), block)
            with self._disk_errors(path):
                os.fsync(file.fileno())
        with self._disk_errors(self._spool):
            _sync_folder(self._spool)

    def _reserve(self, job_id: str, size: int):
        """Counts a block of an upload before it is written."""
        with self._transaction() as db:
            spooled = db.execute(
                "SELECT (SELECT coalesce(sum(media_bytes), 0) FROM jobs WHERE state IN ('queued', 'running')) "
                "+ (SELECT coalesce(sum(bytes), 0) FROM uploads)"
            ).fetchone()[0]
            if spooled + size > self.limits.max_spool_bytes:
                raise QueueFull("the uploads of waiting jobs take all space that is set aside for them")
            if not _changed(
                db, "UPDATE uploads SET bytes = bytes + ?, touched = ? WHERE id = ?", (size, self._now(), job_id)
            ):
                raise stalled_upload(self.limits)

    def _discard_media(self, job_id: str):
        self._remove_file(job_id)
        with self._transaction() as db:
            db.execute("DELETE FROM uploads WHERE id = ?", (job_id,))

    def _enqueue(self, new: NewJob) -> tuple[Job, str] | None:
        now = self._now()
        with self._transaction() as db:
            if new.idempotency:
                if earlier := self._by_key(db, new.idempotency):
                    return earlier
                db.execute("DELETE FROM jobs WHERE idempotency = ?", (new.idempotency,))  # expired, not yet purged
            self._check_queue(db)
            if not _changed(db, "DELETE FROM uploads WHERE id = ?", (new.id,)):
                raise stalled_upload(self.limits)
            db.execute(
                "INSERT INTO jobs (id, owner, state, request, media_bytes, fingerprint, idempotency, created, "
                "position) SELECT ?, ?, 'queued', ?, ?, ?, ?, ?, coalesce(max(position), 0) + 1 FROM jobs "
                "WHERE state IN ('queued', 'running')",
                (new.id, new.owner, new.request, new.media_bytes, new.fingerprint, new.idempotency, now),
            )
        return None

    def _get(self, job_id: str) -> Job | None:
        with self._connection() as db:
            row = db.execute(
                "SELECT * FROM jobs WHERE id = ? AND (expires IS NULL OR expires > ?)", (job_id, self._now())
            ).fetchone()
        return _job(row) if row else None

    def _cancel(self, job_id: str):
        with self._transaction() as db:
            active = db.execute(
                "SELECT 1 FROM jobs WHERE id = ? AND state IN ('queued', 'running')", (job_id,)
            ).fetchone()
            if active:
                self._end(db, job_id, "canceled")
        if active:
            self._remove_file(job_id)

    def _end_expired_leases(self, db: sqlite3.Connection, now: float) -> list[str]:
        """Puts jobs whose lease expired at the end of the queue, or fails them; returns the ids of the latter."""
        given_up = []
        rows = db.execute(
            "SELECT id, worker, attempts FROM jobs WHERE state = 'running' AND lease_expires <= ? "
            "ORDER BY lease_expires, id",
            (now,),
        ).fetchall()
        for row in rows:
            log.warning(
                "job %s: the worker %s no longer renews its lease (attempt %d of %d)",
                row["id"], row["worker"], row["attempts"], self.limits.max_attempts,
            )  # fmt: skip
            if row["attempts"] >= self.limits.max_attempts:
                self._end(db, row["id"], "failed", error=lost_worker_error(row["attempts"]))
                given_up.append(row["id"])
            else:
                db.execute(
                    "UPDATE jobs SET state = 'queued', progress = 0, token = NULL, worker = NULL, "
                    "lease_expires = NULL, position = "
                    "(SELECT max(position) + 1 FROM jobs WHERE state IN ('queued', 'running')) WHERE id = ?",
                    (row["id"],),
                )
        return given_up

    def _end(
        self, db: sqlite3.Connection, job_id: str, state: str, result: str | None = None, error: str | None = None
    ):
        now = self._now()
        db.execute(
            "UPDATE jobs SET state = ?, result = ?, error = ?, finished = ?, expires = ?, "
            "progress = CASE ? WHEN 'done' THEN 1 ELSE progress END, token = NULL, worker = NULL, lease_expires = NULL "
            "WHERE id = ?",
            (state, result, error, now, now + self.limits.result_seconds, state, job_id),
        )

    def _check_queue(self, db: sqlite3.Connection):
        if _queue_length(db) >= self.limits.max_queued:
            raise QueueFull(f"{self.limits.max_queued} jobs are waiting, which is the most")

    def _media_path(self, job_id: str) -> Path:
        return self._spool / job_id

    def _remove_file(self, job_id: str):
        with self._disk_errors(self._spool):
            self._media_path(job_id).unlink(missing_ok=True)

    def _create_or_check(self, db: sqlite3.Connection):
        version = db.execute("PRAGMA user_version").fetchone()[0]
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version == 0 and tables == 0:
            for statement in _SCHEMA:
                db.execute(statement)
        elif version != _VERSION:
            raise StoreError(
                f"{self._path} has schema version {version}, this version of capjax has {_VERSION}; let the version "
                "that wrote it finish its jobs, or choose another folder"
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction, durable once the block is left; undone where the block raises."""
        with self._connection() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                db.rollback()
                raise

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection that no other thread uses meanwhile."""
        try:
            try:
                db = self._idle.pop()
            except IndexError:
                db = self._connect()
            try:
                yield db
            except sqlite3.Error:
                db.close()
                raise
            except BaseException:
                self._idle.append(db)
                raise
            self._idle.append(db)
        except sqlite3.DatabaseError as error:
            name = getattr(error, "sqlite_errorname", "")
            if name == "SQLITE_NOTADB":
                raise StoreError(f"{self._path} is no SQLite file; choose another folder") from error
            remedy = next((text for code, text in _REMEDIES.items() if name.startswith(code)), "check its disk")
            raise StoreUnavailable(f"{self._path} cannot be used: {error}; {remedy}") from error

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        try:
            db.execute("PRAGMA synchronous = FULL")  # a committed job survives a power failure
        except sqlite3.Error:
            db.close()
            raise
        return db

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Within, no other process opens the store: SQLite does not wait for others before it turns its log on."""
        descriptor = os.open(self._spool, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _disk_errors(self, path: Path) -> Iterator[None]:
        try:
            with write_errors_named(path):
                yield
        except WriteError as error:
            raise StoreUnavailable(str(error)) from error
        except OSError as error:
            raise StoreUnavailable(f"{path} cannot be used: {error.strerror}; check its disk") from error


def _job(row: sqlite3.Row) -> Job:
    return Job(
        id=row["id"],
        owner=row["owner"],
        state=row["state"],
        request=json.loads(row["request"]),
        media_bytes=row["media_bytes"],
        progress=row["progress"],
        result=row["result"] and json.loads(row["result"]),
        error=row["error"] and json.loads(row["error"]),
        attempts=row["attempts"],
        created=row["created"],
        finished=row["finished"],
        expires=row["expires"],
    )


def _queue_length(db: sqlite3.Connection) -> int:
    return db.execute("SELECT count(*) FROM jobs WHERE state = 'queued'").fetchone()[0]


def _changed(db: sqlite3.Connection, statement: str, parameters: tuple) -> bool:
    """Executes a statement; returns whether it changed a row."""
    return db.execute(statement, parameters).rowcount > 0


def _write_all(descriptor: int, data: bytes):
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: Path):
    """Makes the names of new files durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
