"""From a video to its caption or its events, for requests and for jobs."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from capjax.data.media_reader import MediaSample
from capjax.predict.localize import localize
from capjax.serve.media_workers import MediaWorkers
from capjax.serve.metrics import Metrics
from capjax.serve.model_thread import ModelThread
from capjax.serve.served_model import WINDOW_BATCH_SIZE, DecodeChoice, ServedModel
from capjax.serve.subtitles import Cue


class LongVideo(Exception):
    """A video that is longer than requested; nothing of it has been captioned."""


@dataclass(frozen=True)
class VideoCaptioner:
    """Captions videos, one part after another, so that photos are captioned between them.

    The methods wait for the model; they are called in threads of their own.
    """

    workers: MediaWorkers
    thread: ModelThread
    metrics: Metrics

    def caption(
        self, path: Path, model: ServedModel, choice: DecodeChoice, *, progress: Callable[[float], None],
        max_seconds: float = float("inf"),
    ) -> dict[str, Any]:  # fmt: skip
        """Returns the duration of a video in seconds, and its captions or its events, as JSON.

        Args:
          progress: called with the fraction that is done; an exception that it raises ends the work.
          max_seconds: raise LongVideo for a longer video.

        Raises:
          MediaError: the video cannot be read.
        """
        reader, windows = model.predictor.reader, model.predictor.windows() if model.dense else None
        with ExitStack() as stack:

            def open_video(path: str | Path) -> tuple[float, Iterator[MediaSample]]:
                duration, samples = stack.enter_context(self.workers.open_video(Path(path), reader, windows))
                if duration > max_seconds:
                    raise LongVideo
                progress(0.0)
                return duration, samples

            if not model.dense:
                duration, samples = open_video(path)
                run = partial(model.caption, [next(samples)], choice)
                (caption,) = self.thread.run(run).result()
                texts = [
                    {"text": each.text, "lang": each.lang, "score": each.score}
                    for each in (caption, *caption.alternatives)
                ]
                self.metrics.captions.labels(model.source.name).inc()
                return {"duration": duration, "captions": texts}
            finder = model.event_finder(choice)
            (video,) = localize(
                [path], open_video, lambda samples: self.thread.run(partial(finder, samples)).result(),
                batch_size=WINDOW_BATCH_SIZE, progress=lambda seconds, total: progress(seconds / total),
            )  # fmt: skip
        if video.error:
            raise video.error
        self.metrics.captions.labels(model.source.name).inc(len(video))
        events = [{"start": e.start, "end": e.end, "text": e.text, "lang": e.lang, "score": e.score} for e in video]
        return {"duration": video.duration, "events": events}


def cues_of(result: dict[str, Any]) -> list[Cue]:
    """Returns the subtitles of a video: its events, or its best caption from the start to the end."""
    if "events" in result:
        return [Cue(event["start"], event["end"], event["text"]) for event in result["events"]]
    return [Cue(0.0, result["duration"], result["captions"][0]["text"])]
