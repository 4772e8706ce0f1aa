"""Dense captioning of videos of any length: overlapping windows, merged into one list of events."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from capjax.data.media_reader import MediaSample
from capjax.data.photo import MediaError
from capjax.decode.merge_windows import WindowEvents, merge_windows
from capjax.decode.results import Event


@dataclass(frozen=True)
class LocalizedVideo(Sequence):
    """The events of a video as a sequence in order of start, or the error that prevented it.

    Attributes:
      duration: seconds of the video.
      events: its events; empty where `error` is set.
      error: why the video could not be read, or None.
    """

    duration: float = 0.0
    events: tuple[Event, ...] = ()
    error: MediaError | None = None

    def __getitem__(self, index):
        return self.events[index]

    def __len__(self) -> int:
        return len(self.events)


@dataclass
class _OpenVideo:
    """A video in progress: its windows so far, and the number of windows that wait for the model."""

    duration: float = 0.0
    windows: list[WindowEvents] = field(default_factory=list)
    pending: int = 0
    read_to_end: bool = False
    error: MediaError | None = None

    def result(self) -> LocalizedVideo:
        return LocalizedVideo(self.duration, () if self.error else tuple(merge_windows(self.windows)), self.error)


def localize(
    media: Iterable, open_video: Callable[[Any], tuple[float, Iterator[MediaSample]]],
    find_events: Callable[[list[MediaSample]], Sequence[list[Event]]], *, batch_size: int,
    progress: Callable[[float, float], None] | None = None,
) -> Iterator[LocalizedVideo]:  # fmt: skip
    """Yields the events of each video, in order. Memory does not grow with the length of a video.

    Args:
      media: paths of videos, their bytes, records of videos, or functions without arguments that return one of these or
        raise MediaError.
      open_video: returns the duration of a video in seconds, and its windows.
      find_events: returns the events of each window of a batch, with seconds from the start of the window.
      batch_size: largest number of windows in a batch, which may be of several videos.
      progress: called with the seconds of video read so far, and the total seconds of the files opened so far.
    """
    videos: deque[_OpenVideo] = deque()
    pending: list[tuple[_OpenVideo, MediaSample]] = []
    seconds_read = seconds_opened = 0.0

    def flush():
        for (video, sample), events in zip(pending, find_events([sample for _, sample in pending]), strict=True):
            events = [replace(e, start=e.start + sample.start, end=e.end + sample.start) for e in events]
            video.windows.append(WindowEvents(sample.start, sample.start + sample.duration, events))
            video.pending -= 1
        pending.clear()

    for item in media:
        video = _OpenVideo()
        videos.append(video)
        try:
            video.duration, samples = open_video(item() if callable(item) else item)
            before, seconds_opened = seconds_opened, seconds_opened + video.duration
            for sample in samples:
                pending.append((video, sample))
                video.pending += 1
                if len(pending) == batch_size:
                    flush()
                seconds_read = before + sample.start + sample.duration
                if progress:
                    progress(seconds_read, seconds_opened)
        except MediaError as error:
            video.error = error
        video.read_to_end = True
        while videos and videos[0].read_to_end and not videos[0].pending:
            yield videos.popleft().result()
    if pending:
        flush()
    yield from (video.result() for video in videos)
