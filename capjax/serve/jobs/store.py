"""The interface of job stores, and what submitting a job is in each of them."""

import hashlib
import json
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capjax.serve.jobs.job import (
    IdempotencyConflict,
    Job,
    JobLimits,
    JobNotFound,
    Lease,
    MediaTooLarge,
    StoreUnavailable,
)

# Uploads are stored in blocks of this size, so that one of any size takes little memory.
BLOCK_BYTES = 4 << 20
_ID = re.compile(r"[\w-]{22}", re.ASCII)


@dataclass(frozen=True)
class NewJob:
    """A job whose media are stored and that can enter the queue.

    Attributes:
      id: of the job and of its upload.
      request: as JSON text.
      fingerprint: digest of the request and the media.
      idempotency: digest of the owner and the idempotency key; None without a key.
    """

    id: str
    owner: str
    request: str
    media_bytes: int
    fingerprint: str
    idempotency: str | None


class JobStore(ABC):
    """A durable queue of jobs, for threads and processes at once.

    All methods are synchronous and may be called from any thread; open a store in each process, not before a fork. All
    of them raise StoreUnavailable while the store cannot be reached or written.

    A job is `queued`, then `running` under a lease, then `done`, `failed` or `canceled`. Every step is atomic and
    survives a crash once its method has returned. A job whose lease expires enters the queue again, behind the jobs
    that wait; as its first worker may still be running, each finishing is checked against the lease's token, so that
    exactly one result is recorded.
    """

    def __init__(self, limits: JobLimits):
        self.limits = limits

    def submit(
        self, owner: str, request: dict[str, Any], media: Iterable[bytes], *, idempotency_key: str | None = None
    ) -> Job:
        """Stores a job and its media, and returns the job once both are durable.

        The same owner's earlier job with the same key, request and media is returned in place of a new one, until it
        expires.

        Args:
          request: the client's parameters; JSON.
          media: contents of the file, in chunks of any size.

        Raises:
          QueueFull: too many jobs wait, or their media take too much space.
          MediaTooLarge: the media exceed the limit.
          IdempotencyConflict: the key was used with another request or other media.
        """
        text = json.dumps(request, sort_keys=True, allow_nan=False)
        key = None if idempotency_key is None else _digest(owner, idempotency_key)
        blocks = _Blocks(media, self.limits.max_media_bytes)
        earlier = self._find_by_key(key) if key else None
        if earlier:
            for _ in blocks:  # read for their digest alone
                pass
        else:
            job_id = secrets.token_urlsafe(16)
            try:
                self._store_media(job_id, blocks)
                new_job = NewJob(job_id, owner, text, blocks.size, _digest(text, blocks.digest), key)
                earlier = self._enqueue(new_job)
            except BaseException:
                with suppress(Exception):  # it is removed as a leftover later
                    self._discard_media(job_id)
                raise
            if earlier is None:
                return self.get(job_id, owner)
            self._discard_media(job_id)  # another process stored the job meanwhile
        job, fingerprint = earlier
        if fingerprint != _digest(text, blocks.digest):
            raise IdempotencyConflict(
                f"the idempotency key {idempotency_key!r:.100} was used before, with other parameters or another "
                "file; send another key"
            )
        return job

    def get(self, job_id: str, owner: str) -> Job:
        """Returns a job of an owner.

        Raises:
          JobNotFound: the owner has no such job, or it has expired.
        """
        job = self._get(job_id) if _ID.fullmatch(job_id) else None
        if job is None or job.owner != owner:
            raise JobNotFound(f"no job {job_id!r:.60}; jobs are forgotten some time after they end")
        return job

    def cancel(self, job_id: str, owner: str) -> Job:
        """Cancels a job unless it has ended, and returns it. A worker that runs it notices when it renews its lease.

        Raises:
          JobNotFound: the owner has no such job, or it has expired.
        """
        self.get(job_id, owner)
        self._cancel(job_id)
        return self.get(job_id, owner)

    @abstractmethod
    def queue_length(self) -> int:
        """Returns the number of jobs that wait."""

    @abstractmethod
    def claim(self, worker: str, lease_seconds: float) -> Lease | None:
        """Returns the oldest waiting job with a lease on it; None where no job waits.

        Jobs with an expired lease enter the queue again first, or fail after `max_attempts`.

        Args:
          worker: name of the worker, for logs.
        """

    @abstractmethod
    def renew(self, lease: Lease, progress: float, lease_seconds: float) -> bool:
        """Extends a lease and stores the job's progress, from 0 to 1; returns False where the lease is lost and the
        worker should stop."""

    @abstractmethod
    def finish(
        self, lease: Lease, *, result: dict[str, Any] | None = None, error: dict[str, str] | None = None
    ) -> bool:
        """Ends a job with its result or its error and removes its media; returns False, and does nothing, where the
        lease is lost.

        Args:
          error: `{"kind", "message"}`, for the client.
        """

    @abstractmethod
    def release(self, lease: Lease) -> bool:
        """Returns a job to its place in the queue without counting the attempt; returns False where the lease is
        lost."""

    @abstractmethod
    def open_media(self, job: Job) -> AbstractContextManager[Path]:
        """Provides the media of a running job as a file, for the length of a `with` block.

        Raises:
          FileNotFoundError: they were removed, because the job has ended.
        """

    @abstractmethod
    def purge(self):
        """Removes expired jobs and what killed processes left of uploads. Call it every minute or so."""

    @abstractmethod
    def close(self):
        """Closes connections."""

    @abstractmethod
    def _find_by_key(self, idempotency: str) -> tuple[Job, str] | None:
        """The job of an idempotency key, with its fingerprint."""

    @abstractmethod
    def _store_media(self, job_id: str, blocks: Iterable[bytes]):
        """Stores media durably. They count as an upload until `_enqueue`."""

    @abstractmethod
    def _discard_media(self, job_id: str):
        """Removes an upload."""

    @abstractmethod
    def _enqueue(self, new: NewJob) -> tuple[Job, str] | None:
        """Makes a stored upload a queued job; where its idempotency key has a job by now, returns that one with its
        fingerprint instead."""

    @abstractmethod
    def _get(self, job_id: str) -> Job | None:
        """A job that has not expired."""

    @abstractmethod
    def _cancel(self, job_id: str):
        """Cancels a job unless it has ended."""


def end_of_job(result: dict[str, Any] | None, error: dict[str, str] | None) -> tuple[str, str | None, str | None]:
    """Returns state, result and error, the latter two as JSON text, of a job that ends.

    Raises:
      ValueError, TypeError: the result is no JSON.
    """
    if (result is None) == (error is None):
        raise ValueError("a job ends with a result or with an error")
    if error is not None:
        return "failed", None, json.dumps(error)
    return "done", json.dumps(result, allow_nan=False), None


def lost_worker_error(attempts: int) -> str:
    """Returns the error, as JSON text, of a job that was given up."""
    message = (
        f"the worker stopped {attempts} times while it processed this file, so that it is not tried again; the file "
        "may be damaged, or need more memory than the server has"
    )
    return json.dumps({"kind": "worker_lost", "message": message})


def stalled_upload(limits: JobLimits) -> StoreUnavailable:
    """Returns the error of an upload that was removed because it took too long."""
    return StoreUnavailable(
        f"an upload stored nothing for {limits.upload_seconds:.0f} s and was removed; JobLimits.upload_seconds is the "
        "longest pause"
    )


class _Blocks:
    """Chunks of media regrouped to blocks of BLOCK_BYTES, with their size and digest once all were read."""

    def __init__(self, media: Iterable[bytes], max_bytes: int):
        self.size = 0
        self._media = media
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        block = bytearray()
        for chunk in self._media:
            self.size += len(chunk)
            if self.size > self._max_bytes:
                raise MediaTooLarge(
                    f"the file is larger than {self._max_bytes / (1 << 20):.5g} MiB, the most for a job"
                )
            self._hash.update(chunk)
            block += chunk
            while len(block) >= BLOCK_BYTES:
                yield bytes(block[:BLOCK_BYTES])
                del block[:BLOCK_BYTES]
        if block:
            yield bytes(block)


def _digest(*texts: str) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()
