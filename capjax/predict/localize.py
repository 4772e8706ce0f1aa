"""Dense captioning of videos of any length: overlapping windows, merged into one list of events."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from capjax.data.media_formats import media_kind
from capjax.data.media_reader import MediaReader, MediaSample, video_path
from capjax.data.photo import MediaError
from capjax.data.record import Record
from capjax.data.video import VideoFile
from capjax.data.windows import WindowSettings
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
    media: Iterable, reader: MediaReader, windows: WindowSettings,
    find_events: Callable[[list[MediaSample]], Sequence[list[Event]]], *, batch_size: int,
    progress: Callable[[float, float], None] | None = None,
) -> Iterator[LocalizedVideo]:  # fmt: skip
    """Yields the events of each video, in order. Memory does not grow with the length of a video.

    Args:
      media: paths of videos, their bytes, records of videos that are windows themselves, or functions without arguments
        that return one of these or raise MediaError.
      reader: reads the frames.
      windows: how videos are divided.
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
            with _opened(item() if callable(item) else item, reader, windows) as (duration, samples):
                video.duration = duration
                before, seconds_opened = seconds_opened, seconds_opened + duration
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


@contextmanager
def _opened(media, reader: MediaReader, windows: WindowSettings) -> Iterator[tuple[float, Iterable[MediaSample]]]:
    """The duration of a video, and its windows as they are read."""
    if isinstance(media, Record):
        sample = reader.read(media)
        _check_kind("photo" if media.duration == 0 else "video", f"the record {media.id}")
        yield sample.duration, [sample]
        return
    source = media if isinstance(media, bytes) else Path(media)
    try:
        _check_kind(media_kind(source), "the file" if isinstance(source, bytes) else source)
    except OSError as error:
        raise MediaError("missing_video", f"{source!s:.300} cannot be read: {error.strerror}") from error
    with video_path(source) as path:
        file = VideoFile(path, threads=0)
        yield file.duration, reader.read_windows(file, windows.split(file.duration))


def _check_kind(kind: str | None, name: object):
    if kind == "photo":
        raise MediaError("not_a_video", f"{name} is a photo; this model finds events in videos")
