"""From photos of a request to their captions, whichever interface the request used."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from capjax.data.photo import MediaError
from capjax.decode.results import Caption
from capjax.serve.errors import ApiError, busy
from capjax.serve.media_workers import MediaWorkers
from capjax.serve.metrics import Metrics
from capjax.serve.model_thread import ModelThread, PhotoQueueFull
from capjax.serve.served_model import DecodeChoice, ServedModel
from capjax.serve.uploads import Photo

Result = TypeVar("Result")


@dataclass
class Timings:
    """Seconds of a request: reading its photos, and all until they were captioned."""

    read: float = 0.0
    total: float = 0.0
    start: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class PhotoCaptioner:
    """Captions the photos of requests."""

    workers: MediaWorkers
    thread: ModelThread
    metrics: Metrics

    async def caption(
        self, photos: Sequence[Photo], model: ServedModel, choices: Sequence[DecodeChoice], timings: Timings
    ) -> list[Caption]:
        """Returns a caption, with an error where a photo cannot be read, for each photo in order.

        Args:
          choices: the options of each photo.

        Raises:
          ApiError: too many photos wait.
        """
        try:
            self.thread.reserve(len(photos))
        except PhotoQueueFull as error:
            raise busy("the queue is full", error.retry_seconds) from error
        # A group ends all of its tasks when one fails or the client has gone: nothing stays announced or queued.
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._caption(photo, model, choice, timings))
                for photo, choice in zip(photos, choices, strict=True)
            ]
        timings.total = time.perf_counter() - timings.start
        captions = [task.result() for task in tasks]
        self.metrics.captions.labels(model.source.name).inc(sum(not caption.error for caption in captions))
        return captions

    async def _caption(self, photo: Photo, model: ServedModel, choice: DecodeChoice, timings: Timings) -> Caption:
        announced = True
        try:
            if photo.problem:
                raise MediaError("not_base64", photo.problem)
            sample = await self.workers.read_photo(photo.data, model.predictor.reader)
            timings.read = max(timings.read, time.perf_counter() - timings.start)
            future = self.thread.submit(model.program(choice), sample)
            announced = False
            return await asyncio.wrap_future(future)
        except MediaError as error:
            self.metrics.media_errors.labels(error.kind).inc()
            return Caption.failed(error, choice.lang)
        finally:
            if announced:
                self.thread.release(1)


async def until_disconnected(request: Request, work: Coroutine[Any, Any, Result], seconds: float) -> Result:
    """Returns the result of a coroutine, which is canceled when the client has gone or the time is over.

    Args:
      request: its body was read.
      work: the coroutine.
      seconds: longest time.

    Raises:
      ApiError: the time is over.
    """
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((task, watcher), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not task.done() and not watcher.done():
            raise ApiError(503, "timeout", f"not answered within {seconds:g} s", {"Retry-After": "10"})
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        watcher.cancel()
        task.cancel()


async def _disconnected(request: Request):
    while (await request.receive())["type"] != "http.disconnect":
        pass
