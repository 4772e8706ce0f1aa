"""Reads raw photos and videos the way data preparation does, and picks the frames that a model sees."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from capjax.data.media_formats import media_kind
from capjax.data.photo import MediaError, MediaSettings, check_file, photo_source, to_jpeg
from capjax.data.record import Record
from capjax.data.transforms import pick_frames
from capjax.data.video import VideoFile
from capjax.data.windows import WindowSettings, frames_by_window, sample_times

log = logging.getLogger("capjax")


@dataclass(frozen=True)
class MediaSample:
    """The frames of a photo, a video, or a window of a video, that a model sees.

    Attributes:
      frames: t JPEG files.
      times: Seconds from the start of the sample.
      duration: Seconds; 0 for a photo.
      start: Start of the window in the video, in seconds.
    """

    frames: tuple[bytes, ...]
    times: Float32[np.ndarray, " t"]
    duration: float = 0.0
    start: float = 0.0


class _EncodedFrame(NamedTuple):
    """A JPEG, its display time in seconds, and the indices of the sample times at which it is displayed."""

    time: float
    indices: range
    jpeg: bytes


@dataclass(frozen=True)
class MediaReader:
    """Reads media as their records would store them, reduced to the frames that evaluation picks.

    Attributes:
      picture: How frames are stored.
      fps: Frames per second that are sampled.
      max_frames: Largest number of frames in a sample.
    """

    picture: MediaSettings
    fps: float
    max_frames: int

    def read(self, media) -> MediaSample:
        """Reads a photo or a whole video, in any form that `photo_source` takes, or a `Record` with frames.

        The content of a file decides whether it is a photo or a video.

        Raises:
          MediaError: The media cannot be read; the message names the file.
        """
        if isinstance(media, Record):
            return self._frames_of(media)
        try:
            source = photo_source(media)
            if isinstance(source, Path):
                check_file(source, limit=None)
            if isinstance(source, Path | bytes) and media_kind(source) == "video":
                return self._read_video(source)
            return MediaSample((to_jpeg(source, self.picture),), np.zeros(1, np.float32))
        except MediaError as error:
            if not isinstance(media, str | Path) or str(media) in str(error):
                raise
            raise MediaError(error.kind, f"{media}: {error}") from error
        except OSError as error:
            raise MediaError("missing_photo", f"{media} cannot be read: {error.strerror}") from error

    def _frames_of(self, record: Record) -> MediaSample:
        if not record.frames:
            raise MediaError("no_frames", f"the record {record.id} has features and no frames")
        picked = pick_frames(len(record.frames), self.max_frames)
        return MediaSample(tuple(record.frames[index] for index in picked), record.frame_times[picked], record.duration)

    def _read_video(self, source: Path | bytes) -> MediaSample:
        with video_path(source) as path:
            video = VideoFile(path, threads=0)
            (sample,) = self.read_windows(video, [(0.0, video.duration)])
            return sample

    def open_windows(self, media, windows: WindowSettings) -> tuple[float, Iterator[MediaSample]]:
        """Returns the duration of a video in seconds, and its windows, which are read one after another.

        Args:
          media: The path of a video, its bytes, or a `Record` of one, which is one window.
          windows: How videos are divided.

        Raises:
          MediaError: The file is not a video or cannot be read; also raised by the iterator.
        """
        if isinstance(media, Record):
            _check_is_video("video" if media.duration else "photo", f"the record {media.id}")
            return media.duration, iter([self._frames_of(media)])
        source = media if isinstance(media, bytes) else Path(media)
        name = "the file" if isinstance(source, bytes) else source
        try:
            _check_is_video(media_kind(source), name)
        except OSError as error:
            raise MediaError("missing_video", f"{name} cannot be read: {error.strerror}") from error
        opened = ExitStack()  # closes a temporary file at the end of the windows, or when they are given up
        video = VideoFile(opened.enter_context(video_path(source)), threads=0)

        def samples() -> Iterator[MediaSample]:
            with opened:
                yield from self.read_windows(video, windows.split(video.duration))

        return video.duration, samples()

    def read_windows(self, video: VideoFile, windows: Sequence[tuple[float, float]]) -> Iterator[MediaSample]:
        """Yields windows of a video, skipping those in which no frame can be decoded.

        Each frame is decoded once. Memory holds only the frames of windows that overlap. A file that is cut short is
        read as far as it goes; what is missing, damaged or was corrected is logged as a warning.

        Args:
          windows: (start, end) in seconds, sorted by start.

        Raises:
          MediaError: No frame could be decoded in any of the windows.
        """
        window_times = [self._picked_times(video, *window) for window in windows]
        times = np.unique(np.concatenate([*window_times, []]))
        frames = (
            _EncodedFrame(frame.time, frame.indices, video.jpeg(frame.frame, self.picture))
            for frame in video.frames_at(times)
        )
        indices = [np.searchsorted(times, each) for each in window_times]
        any_decoded = False
        for (start, end), shown in zip(windows, frames_by_window(frames, indices), strict=True):
            if not shown:
                continue
            any_decoded = True
            shown_times = np.asarray([max(0.0, frame.time - start) for frame in shown], np.float32)
            yield MediaSample(tuple(frame.jpeg for frame in shown), shown_times, end - start, start)
        for _, message in video.notes():
            log.warning("%s", message)
        if not any_decoded:
            raise MediaError("no_frames", f"{video.path}: not one frame could be decoded")

    def _picked_times(self, video: VideoFile, start: float, end: float) -> np.ndarray:
        """Returns a sample time of each frame that is picked, so that only these need be decoded."""
        times = sample_times(start, end, self.fps)
        frames = video.group_by_frame(times)
        return times[[frames[i].start for i in pick_frames(len(frames), self.max_frames)]]


def _check_is_video(kind: str | None, name: object):
    if kind == "photo":
        raise MediaError("not_a_video", f"{name} is a photo; this model finds events in videos")


@contextmanager
def video_path(source: Path | bytes) -> Iterator[Path]:
    """The path of a video; of the bytes of one, that of a temporary file, which errors do not name."""
    if isinstance(source, Path):
        yield source
        return
    with NamedTemporaryFile(prefix="capjax-") as file:
        file.write(source)
        file.flush()
        try:
            yield Path(file.name)
        except MediaError as error:
            raise MediaError(error.kind, str(error).replace(file.name, "the video")) from error
