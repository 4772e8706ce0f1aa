"""Limits of the server. Each bounds what one client, or all of them together, can take of it."""

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class ServeSettings:
    """Limits of the server.

    Attributes:
      max_body_bytes: size of a request, except to `/v1/videos`.
      max_video_bytes: size of a request to `/v1/videos`.
      max_bytes_in_progress: bodies of all requests in progress together, except to `/v1/videos`, which go to disk;
        further ones are answered with 429.
      max_pixels: of a photo, checked before it is decoded.
      max_files: photos in a request.
      max_video_seconds: duration of a video.
      sync_video_seconds: longer videos become jobs.
      max_queued: photos that wait for the model; further requests are answered with 429.
      max_explanations: explanations that wait; further ones are answered with 429.
      max_requests: requests in progress; further ones are answered with 429.
      rate: requests per minute of each API key, or of each address without keys; 0: not limited.
      request_seconds: time in which a request is answered once its body has arrived.
      body_seconds: time in which the body of a request arrives, plus that which the body takes at `body_rate`.
      body_rate: bytes per second, the slowest for large bodies.
      photo_seconds: time in which a photo is decoded.
      video_seconds: time in which a window of a video is decoded.
      max_spool_bytes: videos of jobs that have not ended.
      worker_bytes: address space of a process that decodes media.
      photo_workers: processes that decode photos.
      video_workers: videos of requests that are captioned at once; those of jobs are captioned one after another.
      batch_wait: seconds that a batch waits for photos that are being decoded.
    """

    max_body_bytes: int = 64 * MIB
    max_video_bytes: int = 512 * MIB
    max_bytes_in_progress: int = 1024 * MIB
    max_pixels: int = 100_000_000
    max_files: int = 64
    max_video_seconds: float = 4 * 3600.0
    sync_video_seconds: float = 60.0
    max_queued: int = 256
    max_explanations: int = 16
    max_requests: int = 256
    rate: float = 0.0
    request_seconds: float = 120.0
    body_seconds: float = 30.0
    body_rate: float = 64 * 1024.0
    photo_seconds: float = 15.0
    video_seconds: float = 60.0
    max_spool_bytes: int = 4 * 2**30
    worker_bytes: int = 4 * 2**30
    photo_workers: int = 2
    video_workers: int = 2
    batch_wait: float = 0.005
