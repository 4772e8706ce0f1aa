"""From a photo and its caption to heat maps of what each word is based on."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from capjax.data.media_reader import MediaSample
from capjax.data.photo import MediaError
from capjax.explain.explainer import explain_samples
from capjax.explain.explanation import Explanation
from capjax.serve.errors import ApiError, bad_request, busy
from capjax.serve.media_workers import MediaWorkers
from capjax.serve.metrics import Metrics
from capjax.serve.served_model import ServedModel
from capjax.serve.uploads import Photo


class PhotoExplainer:
    """Explains captions of photos, one after another, in a thread of its own.

    Its programs are compiled when a length of captions occurs for the first time. That takes seconds, in which the
    thread of the model goes on with captions.

    Args:
      max_queued: explanations that wait or are computed.
    """

    def __init__(self, workers: MediaWorkers, metrics: Metrics, max_queued: int):
        self._workers, self._metrics, self._max_queued = workers, metrics, max_queued
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="explainer")
        self._queued = 0
        self._seconds = 1.0

    def check_room(self):
        """Raises ApiError when too many explanations wait."""
        if self._queued >= self._max_queued:
            raise busy("too many explanations wait", self._queued * self._seconds)

    async def explain(self, photo: Photo, model: ServedModel, method: str, caption: str, lang: str) -> Explanation:
        """Returns the explanation of a caption.

        Raises:
          ApiError: too many explanations wait, the photo cannot be read, or the caption is empty or too long.
        """
        self.check_room()
        self._queued += 1
        try:
            if photo.problem:
                raise MediaError("not_base64", photo.problem)
            sample = await self._workers.read_photo(photo.data, model.predictor.reader)
            function = partial(self._run, sample, model, method, caption, lang)
            return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        except MediaError as error:
            self._metrics.media_errors.labels(error.kind).inc()
            raise ApiError(422, error.kind, str(error)) from error
        finally:
            self._queued -= 1

    def close(self):
        """Ends the thread after the explanation in progress."""
        self._thread.shutdown(cancel_futures=True)

    def _run(self, sample: MediaSample, model: ServedModel, method: str, caption: str, lang: str) -> Explanation:
        start = time.monotonic()
        try:
            (explanation,) = explain_samples(model.predictor, [sample], [caption], method=method, lang=lang)
        except ValueError as error:
            raise bad_request("invalid_caption", str(error)) from error
        self._seconds += 0.3 * (time.monotonic() - start - self._seconds)
        return explanation
