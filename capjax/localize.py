"""Videos of any length to their events: looked at in windows, which are put together again."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from capjax.data.media_reader import MediaReader, MediaSample
from capjax.data.photo import MediaError
from capjax.data.video import VideoFile
from capjax.data.windows import WindowSettings
from capjax.evals.generate import Event
from capjax.evals.windows import Window, merge


@dataclass
class LocalizedVideo:
    """A video: its seconds, and its events in order of start; or why it could not be read."""

    duration: float = 0.0
    events: list[Event] = field(default_factory=list)
    error: MediaError | None = None


@dataclass
class _OpenVideo:
    """A video that is being looked at: its windows so far, and how many of them wait for the model."""

    result: LocalizedVideo = field(default_factory=LocalizedVideo)
    windows: list[Window] = field(default_factory=list)
    waiting: int = 0
    read: bool = False

    def finish(self) -> LocalizedVideo:
        if not self.result.error:
            self.result.events = merge(self.windows)
        return self.result


def localize(
    media: Iterable[str | Path], reader: MediaReader, windows: WindowSettings,
    find: Callable[[list[MediaSample]], Sequence[list[Event]]], *, batch_size: int,
    progress: Callable[[float, float], None] | None = None,
) -> Iterator[LocalizedVideo]:  # fmt: skip
    """The events of each video, in order. Memory does not grow with a video's length.

    Args:
      find: parts of videos -> the events of each, with seconds from the part's beginning.
      batch_size: parts at a time, at most; they may be of several videos.
      progress: called with the seconds of video that have been looked at, and those of all files opened so far.
    """
    open_videos: deque[_OpenVideo] = deque()
    waiting: list[tuple[_OpenVideo, MediaSample]] = []
    looked = opened = 0.0

    def flush():
        for (one, seen), events in zip(waiting, find([seen for _, seen in waiting]), strict=True):
            events = [e._replace(start=e.start + seen.start, end=e.end + seen.start) for e in events]
            one.windows.append(Window(seen.start, seen.start + seen.duration, events))
            one.waiting -= 1
        waiting.clear()

    for path in media:
        one = _OpenVideo()
        open_videos.append(one)
        try:
            video = VideoFile(Path(path), threads=0)
            one.result.duration = video.duration
            before, opened = opened, opened + video.duration
            for seen in reader.parts(video, windows.split(video.duration)):
                waiting.append((one, seen))
                one.waiting += 1
                if len(waiting) == batch_size:
                    flush()
                looked = before + seen.start + seen.duration
                if progress:
                    progress(looked, opened)
        except MediaError as error:
            one.result.error = error
        one.read = True
        while open_videos and open_videos[0].read and not open_videos[0].waiting:
            yield open_videos.popleft().finish()
    if waiting:
        flush()
    yield from (one.finish() for one in open_videos)
