"""Jobs as clients and workers see them, the limits of a queue, and its errors."""

from dataclasses import dataclass
from typing import Any, Literal

State = Literal["queued", "running", "done", "failed", "canceled"]
ENDED = ("done", "failed", "canceled")


@dataclass(frozen=True)
class Job:
    """A job at one moment. Times are Unix seconds.

    Attributes:
      id: unguessable; a client that has it and the owner's API key may read and cancel the job.
      owner: name of the API key that submitted it; empty on a server without keys.
      request: the client's parameters, as JSON.
      media_bytes: size of the uploaded file.
      progress: from 0 to 1.
      result: JSON of the handler, of a job that is done.
      error: `{"kind", "message"}`, for the client, of a job that failed.
      attempts: how often a worker started the job; a graceful stop of the worker is not counted.
      finished: when it ended; None before.
      expires: when the job and its result are forgotten; None before it ended.
    """

    id: str
    owner: str
    state: State
    request: dict[str, Any]
    media_bytes: int
    progress: float
    result: dict[str, Any] | None
    error: dict[str, str] | None
    attempts: int
    created: float
    finished: float | None
    expires: float | None

    @property
    def ended(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True)
class Lease:
    """A worker's right to finish a job. It is lost when it expires and another worker claims the job, or when the job
    is canceled."""

    job: Job
    token: str


@dataclass(frozen=True)
class JobLimits:
    """Bounds of a queue.

    Attributes:
      max_queued: jobs that wait.
      max_media_bytes: size of one upload.
      max_spool_bytes: size of all uploads of jobs that have not ended, and of those being received. With Redis they
        are in its memory.
      max_attempts: a job whose lease expires this often fails, so that a file that kills its worker does not kill
        workers forever.
      result_seconds: how long a job is kept after it ended.
      upload_seconds: an upload that stores nothing for so long is removed: its process was killed.
    """

    max_queued: int = 100
    max_media_bytes: int = 256 << 20
    max_spool_bytes: int = 4 << 30
    max_attempts: int = 3
    result_seconds: float = 24 * 3600.0
    upload_seconds: float = 15 * 60.0


class JobNotFound(LookupError):
    """No such job: its id is wrong, it belongs to another owner, or it has expired."""


class IdempotencyConflict(ValueError):
    """The idempotency key was used before with another request or another file."""


class QueueFull(RuntimeError):
    """Too many jobs wait, or their uploads take too much space; the client may retry later."""


class MediaTooLarge(ValueError):
    """An upload exceeds `JobLimits.max_media_bytes`."""


class JobCanceled(Exception):
    """Raised in a handler whose job was canceled, was claimed by another worker, or took too long."""


class StoreUnavailable(RuntimeError):
    """The store cannot be read or written at present. The message is for the operator; clients may retry later."""


class StoreError(ValueError):
    """The store cannot be used: it was written by another version of capjax, or is something else."""
