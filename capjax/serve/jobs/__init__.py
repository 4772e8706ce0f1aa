"""A durable queue of jobs: captions of videos that take longer than a request.

`open_store` opens a queue in a folder, for the processes of one machine, or in Redis, for several machines. Requests
submit jobs to it, and a `JobRunner` in each server process runs them.
"""

from capjax.serve.jobs.job import (
    IdempotencyConflict,
    Job,
    JobCanceled,
    JobLimits,
    JobNotFound,
    Lease,
    MediaTooLarge,
    QueueFull,
    StoreError,
    StoreUnavailable,
)
from capjax.serve.jobs.runner import JobRunner
from capjax.serve.jobs.sqlite_store import SqliteJobStore
from capjax.serve.jobs.store import JobStore

__all__ = [
    "IdempotencyConflict",
    "Job",
    "JobCanceled",
    "JobLimits",
    "JobNotFound",
    "JobRunner",
    "JobStore",
    "Lease",
    "MediaTooLarge",
    "QueueFull",
    "SqliteJobStore",
    "StoreError",
    "StoreUnavailable",
    "open_store",
]


def open_store(location: str, limits: JobLimits | None = None) -> JobStore:
    """Opens a job store.

    Args:
      location: a folder, which is created if it does not exist, or the URL of a Redis: `redis://HOST:6379/0`,
        `rediss://...` with TLS, `unix://PATH`.

    Raises:
      StoreError: the store is from another version of capjax, or something else.
      StoreUnavailable: it cannot be reached or written.
      ModuleNotFoundError: Redis without the extra `redis`.
    """
    if location.startswith(("redis://", "rediss://", "unix://")):
        from capjax.serve.jobs.redis_store import RedisJobStore  # imported on use: an extra

        return RedisJobStore(location, limits)
    return SqliteJobStore(location, limits)
