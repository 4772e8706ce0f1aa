"""Threads that claim jobs and run them."""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from capjax.serve.jobs.job import Job, JobCanceled, Lease, StoreUnavailable
from capjax.serve.jobs.store import JobStore, end_of_job

log = logging.getLogger("capjax")

# (job, file with its media, function that takes the progress from 0 to 1) -> result as JSON.
Handler = Callable[[Job, Path, Callable[[float], None]], dict[str, Any]]

# How often progress is stored, and a job checked for having been canceled. Renewing earlier than the lease needs costs
# one small write.
_RENEW_SECONDS = 1.0
_PURGE_SECONDS = 60.0
_RETRY_SECONDS = 1.0
_TIMEOUT = "the job was given up after {:.0f} s, the longest time for one; send a shorter video"


class JobRunner:
    """Runs the jobs of a store in threads of this process.

    Each job runs in a thread of its own, which a supervising thread watches: it renews the lease, and ends a job that
    takes too long, although the thread of a handler that hangs cannot be stopped.
    """

    def __init__(
        self,
        store: JobStore,
        handler: Handler,
        *,
        workers: int = 1,
        lease_seconds: float = 30.0,
        max_seconds: float = 3600.0,
        poll_seconds: float = 0.5,
        public_kind: Callable[[BaseException], str | None] = lambda error: None,
    ):
        """Creates a runner; `start` starts it.

        Args:
          handler: runs one job. Its third argument, called with the progress, raises JobCanceled where the handler
            should stop.
          workers: jobs that run at once.
          lease_seconds: a job whose process was killed is claimed again after this time.
          max_seconds: a job that takes longer fails with the kind `timeout`.
          poll_seconds: how often the store is asked for jobs. Jobs of this process start at once after `wake`.
          public_kind: returns the kind of an exception of the handler whose message clients may read. For others it
            returns None: they are logged, and clients read that there was an internal error.
        """
        self._store = store
        self._handler = handler
        self._lease_seconds = lease_seconds
        self._max_seconds = max_seconds
        self._poll_seconds = poll_seconds
        self._public_kind = public_kind
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._release_running = threading.Event()
        self._name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._next_purge = time.monotonic()
        self._threads = [
            threading.Thread(target=self._work, args=(f"{self._name}:{number}",), daemon=True)
            for number in range(workers)
        ]
        self._given_up: list[_Attempt] = []

    def start(self):
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def wake(self):
        """Has a waiting thread look for jobs now."""
        self._wake.set()

    def stop(self, grace_seconds: float):
        """Claims no more jobs, waits for those that run, and after `grace_seconds` returns them to the queue."""
        self._stopping.set()
        self._wake.set()
        deadline = time.monotonic() + grace_seconds
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
        self._release_running.set()
        for thread in self._threads:
            thread.join()

    @property
    def hung(self) -> int:
        """The number of handlers that were given up and have not returned: each keeps a thread and its memory."""
        self._given_up = [attempt for attempt in self._given_up if not attempt.ended.is_set()]
        return len(self._given_up)

    def _work(self, worker: str):
        while not self._stopping.is_set():
            try:
                self._purge_if_due()
                if lease := self._store.claim(worker, self._lease_seconds):
                    self._run(lease)
                    continue
            except Exception as error:
                _log_store_error("claiming or ending a job", error)
                self._stopping.wait(_RETRY_SECONDS)
                continue
            self._wake.wait(self._poll_seconds)
            self._wake.clear()

    def _purge_if_due(self):
        if time.monotonic() >= self._next_purge:
            self._next_purge = time.monotonic() + _PURGE_SECONDS
            self._store.purge()

    def _run(self, lease: Lease):
        log.info("job %s: attempt %d", lease.job.id, lease.job.attempts)
        attempt = _Attempt(self._store, self._handler, lease.job)
        deadline = time.monotonic() + self._max_seconds
        while not attempt.ended.wait(min(_RENEW_SECONDS, self._lease_seconds / 3)):
            if self._release_running.is_set():
                attempt.canceled.set()
                self._record(lease, self._store.release)
                return
            if time.monotonic() >= deadline:
                attempt.canceled.set()
                self._given_up.append(attempt)
                self._record(lease, self._store.finish, error=_error("timeout", _TIMEOUT.format(self._max_seconds)))
                return
            if not attempt.canceled.is_set() and not self._renew(lease, attempt.progress):
                attempt.canceled.set()
        self._end(lease, attempt)

    def _renew(self, lease: Lease, progress: float) -> bool:
        try:
            return self._store.renew(lease, progress, self._lease_seconds)
        except Exception as error:  # the lease may outlast it
            _log_store_error(f"renewing the lease of job {lease.job.id}", error)
            return True

    def _end(self, lease: Lease, attempt: "_Attempt"):
        """Records what a handler returned or raised."""
        error = attempt.error
        if isinstance(error, StoreUnavailable):
            log.warning("job %s: %s", lease.job.id, error)
            self._record(lease, self._store.release)
        elif error is None:
            self._record(lease, self._store.finish, result=attempt.result)
        else:
            if kind := self._public_kind(error):
                message = str(error).replace(attempt.path, "the file")
            else:
                kind, message = "internal", "the job failed because of an error in the server, which its log explains"
            if self._record(lease, self._store.finish, error=_error(kind, message)) and kind == "internal":
                log.error("job %s failed", lease.job.id, exc_info=error)

    def _record(self, lease: Lease, method: Callable[..., bool], **outcome) -> bool:
        """Calls a method of the store that ends an attempt, until the store can be reached; returns whether the lease
        was not lost."""
        while True:
            try:
                recorded = method(lease, **outcome)
                break
            except StoreUnavailable as error:
                _log_store_error(f"ending job {lease.job.id}", error)
                if self._release_running.wait(_RETRY_SECONDS):
                    return False
        log.info("job %s: %s", lease.job.id, "ended" if recorded else "canceled, or claimed by another worker")
        return recorded


class _Attempt:
    """One run of the handler on a job, in a thread of its own.

    Attributes:
      canceled: set by the supervising thread; the handler notices at its next report of progress.
      path: of the file with the media.
    """

    def __init__(self, store: JobStore, handler: Handler, job: Job):
        self.progress = 0.0
        self.canceled, self.ended = threading.Event(), threading.Event()
        self.result: dict[str, Any] | None = None
        self.error: BaseException | None = None
        self.path = ""
        self._store, self._handler, self._job = store, handler, job
        threading.Thread(target=self._run, name=f"job {job.id}", daemon=True).start()

    def _run(self):
        try:
            with self._store.open_media(self._job) as path:
                self.path = str(path)
                result = self._handler(self._job, path, self._report)
            end_of_job(result, None)  # is it JSON?
            self.result = result
        except BaseException as error:
            self.error = error
        finally:
            self.ended.set()

    def _report(self, fraction: float):
        if self.canceled.is_set():
            raise JobCanceled("the job was canceled, claimed by another worker, or took too long")
        self.progress = min(1.0, max(0.0, fraction))  # 0 for NaN


def _error(kind: str, message: str) -> dict[str, str]:
    return {"kind": kind, "message": message[:1000]}


def _log_store_error(action: str, error: Exception):
    log.warning("%s: %s", action, error, exc_info=None if isinstance(error, StoreUnavailable) else error)
