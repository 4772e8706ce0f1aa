"""Jobs and their media in Redis, for several machines."""

import fcntl
import json
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from capjax.metrics.writing import WriteError, write_errors_named
from capjax.serve.jobs.job import Job, JobLimits, Lease, QueueFull, StoreError, StoreUnavailable
from capjax.serve.jobs.redis_scripts import PREFIX, SCRIPTS
from capjax.serve.jobs.store import JobStore, NewJob, end_of_job, lost_worker_error, stalled_upload

log = logging.getLogger("capjax")

_VERSION = b"1"
_TEMPORARY = "capjax-jobs-"
_NO_SPACE = "the uploads of waiting jobs take all space that is set aside for them"


class RedisJobStore(JobStore):
    """A job store in one Redis, version 6 or later, that several machines share. Clusters are not supported.

    Redis must keep what it is given: `appendonly yes`, so that jobs survive its restart (`appendfsync always`, so that
    none of the last second is lost with its machine), and `maxmemory-policy noeviction`. `JobLimits.max_spool_bytes` of
    media are in its memory. Another database number, `redis://HOST/1`, is another queue.
    """

    def __init__(self, url: str, limits: JobLimits | None = None):
        """Connects to Redis.

        Raises:
          StoreError: its jobs are from another version of capjax, or the URL is none.
          StoreUnavailable: it cannot be reached.
        """
        super().__init__(limits or JobLimits())
        try:
            # A lost reply does not say whether a script ran, so that none is sent twice. Connections that Redis closed
            # are opened again in any case.
            self._client: Any = redis.Redis.from_url(
                url, retry=Retry(NoBackoff(), 0), socket_timeout=10, socket_connect_timeout=5
            )
        except ValueError as error:
            raise StoreError(f"the URL of Redis: {error}; write redis://HOST:PORT/DATABASE") from error
        options = self._client.connection_pool.connection_kwargs  # the URL may contain a password
        self._name = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        self._scripts = {name: self._client.register_script(script) for name, script in SCRIPTS.items()}
        with self._errors_named():
            self._check_server()
        _remove_leftovers()
        self._folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY))
        self._lock = _lock(self._folder)

    def queue_length(self) -> int:
        with self._errors_named():
            return self._client.zcard(PREFIX + "queued")

    def claim(self, worker: str, lease_seconds: float) -> Lease | None:
        now, token, limits = self._now(), secrets.token_urlsafe(16), self.limits
        fields, lost = self._run(
            "claim", now, now + lease_seconds, token, worker, limits.max_attempts,
            lost_worker_error(limits.max_attempts), now + limits.result_seconds,
        )  # fmt: skip
        for job_id, holder, attempts in zip(*[iter(lost)] * 3, strict=True):
            log.warning(
                "job %s: the worker %s no longer renews its lease (attempt %d of %d)",
                job_id.decode(), holder.decode(), int(attempts), limits.max_attempts,
            )  # fmt: skip
        return Lease(_job(_dict(fields)), token) if fields else None

    def renew(self, lease: Lease, progress: float, lease_seconds: float) -> bool:
        return bool(self._run("renew", lease.job.id, lease.token, progress, self._now() + lease_seconds))

    def finish(
        self, lease: Lease, *, result: dict[str, Any] | None = None, error: dict[str, str] | None = None
    ) -> bool:
        state, result_text, error_text = end_of_job(result, error)
        now = self._now()
        return bool(
            self._run(
                "finish",
                lease.job.id,
                lease.token,
                state,
                result_text or "",
                error_text or "",
                now,
                now + self.limits.result_seconds,
            )  # fmt: skip
        )

    def release(self, lease: Lease) -> bool:
        return bool(self._run("release", lease.job.id, lease.token))

    @contextmanager
    def open_media(self, job: Job) -> Iterator[Path]:
        path = self._folder / f"{job.id}-{secrets.token_hex(4)}"
        try:
            with _disk_errors(path), path.open("xb") as file:
                index, size = 0, 0
                while block := self._block(job.id, index):
                    file.write(block)
                    index, size = index + 1, size + len(block)
            if size != job.media_bytes:
                raise FileNotFoundError(f"the media of job {job.id} are missing; it has ended, or they were removed")
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _block(self, job_id: str, index: int) -> bytes | None:
        with self._errors_named():
            return self._client.lindex(f"{PREFIX}media:{job_id}", index)

    def purge(self):
        now = self._now()
        self._run("purge", now, now - self.limits.upload_seconds)

    def close(self):
        self._client.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)

    def _now(self) -> float:
        with self._errors_named():
            seconds, microseconds = self._client.time()
        return seconds + microseconds / 1e6

    def _find_by_key(self, idempotency: str) -> tuple[Job, str] | None:
        with self._errors_named():
            job_id = self._client.hget(PREFIX + "idempotency", idempotency)
        fields = self._fields(job_id.decode()) if job_id else None
        return (_job(fields), fields["fingerprint"]) if fields else None

    def _store_media(self, job_id: str, blocks: Iterable[bytes]):
        if not self._run("begin_upload", job_id, self._now(), self.limits.max_queued):
            raise self._too_many_jobs()
        for block in blocks:
            status = self._run("append", job_id, self._now(), block, self.limits.max_spool_bytes)
            if status == b"full":
                raise QueueFull(_NO_SPACE)
            if status == b"gone":
                raise stalled_upload(self.limits)

    def _discard_media(self, job_id: str):
        self._run("discard", job_id)

    def _enqueue(self, new: NewJob) -> tuple[Job, str] | None:
        now = self._now()
        fields = {
            "id": new.id,
            "owner": new.owner,
            "request": new.request,
            "media_bytes": new.media_bytes,
            "fingerprint": new.fingerprint,
            "idempotency": new.idempotency or "",
            "attempts": 0,
            "created": now,
        }
        flat = [item for pair in fields.items() for item in pair]
        answer = self._run("enqueue", new.id, now, self.limits.max_queued, new.idempotency or "", *flat)
        if answer == b"full":
            raise self._too_many_jobs()
        if answer == b"gone":
            raise stalled_upload(self.limits)
        if answer == b"ok":
            return None
        earlier = _dict(answer)
        return _job(earlier), earlier["fingerprint"]

    def _too_many_jobs(self) -> QueueFull:
        return QueueFull(f"{self.limits.max_queued} jobs are waiting, which is the most")

    def _get(self, job_id: str) -> Job | None:
        fields = self._fields(job_id)
        return _job(fields) if fields else None

    def _fields(self, job_id: str) -> dict[str, str] | None:
        """The fields of a job that has not expired."""
        with self._errors_named():
            items = self._client.hgetall(f"{PREFIX}job:{job_id}").items()
        fields = {key.decode(): value.decode() for key, value in items}
        if not fields or ("expires" in fields and float(fields["expires"]) <= self._now()):
            return None
        return fields

    def _cancel(self, job_id: str):
        now = self._now()
        self._run("cancel", job_id, now, now + self.limits.result_seconds)

    def _run(self, script: str, *arguments: Any) -> Any:
        with self._errors_named():
            return self._scripts[script](args=arguments)

    def _check_server(self):
        self._client.set(PREFIX + "version", _VERSION, nx=True)
        version = self._client.get(PREFIX + "version")
        if version != _VERSION:
            raise StoreError(
                f"the jobs in Redis at {self._name} have schema version {version.decode()}, this version of capjax has "
                f"{_VERSION.decode()}; let the version that wrote them finish them, or choose another database number"
            )
        try:
            info = self._client.info()
        except redis.ResponseError:  # a user without the permission
            return
        if not info.get("aof_enabled"):
            log.warning("Redis at %s loses jobs when it restarts; set `appendonly yes`", self._name)
        if info.get("maxmemory") and info.get("maxmemory_policy") != "noeviction":
            log.warning("Redis at %s may remove jobs to save memory; set `maxmemory-policy noeviction`", self._name)

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except redis.OutOfMemoryError as error:
            log.warning("Redis at %s has reached its maxmemory", self._name)
            raise QueueFull(_NO_SPACE) from error
        except redis.AuthenticationError as error:
            raise StoreUnavailable(f"Redis at {self._name} refuses the user: {error}; correct its URL") from error
        except redis.RedisError as error:
            raise StoreUnavailable(f"Redis at {self._name} cannot be used: {error}; is it running?") from error


def _dict(flat: list[bytes]) -> dict[str, str]:
    """Fields and values in turn, as HGETALL returns them in a script."""
    texts = [item.decode() for item in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _job(fields: dict[str, str]) -> Job:
    result, error = fields.get("result"), fields.get("error")
    return Job(
        id=fields["id"],
        owner=fields["owner"],
        state=fields["state"],  # type: ignore[arg-type]
        request=json.loads(fields["request"]),
        media_bytes=int(fields["media_bytes"]),
        progress=float(fields["progress"]),
        result=json.loads(result) if result else None,
        error=json.loads(error) if error else None,
        attempts=int(fields["attempts"]),
        created=float(fields["created"]),
        finished=float(fields["finished"]) if "finished" in fields else None,
        expires=float(fields["expires"]) if "expires" in fields else None,
    )


def _remove_leftovers():
    """Removes the temporary folders of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY}*"):
        try:
            # Another process may be between making its folder and locking it.
            if folder.stat().st_uid != os.getuid() or time.time() - folder.stat().st_mtime < 60:
                continue
            lock = _lock(folder)
        except OSError:  # locked: its process is alive
            continue
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _lock(folder: Path) -> int:
    """Locks a folder until this process ends; returns the descriptor that holds the lock.

    Raises:
      OSError: another process has locked it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        with write_errors_named(path):
            yield
    except WriteError as error:
        raise StoreUnavailable(str(error)) from error
