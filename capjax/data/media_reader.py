"""Reads raw photos and videos the way data preparation does, and picks the frames that a model sees."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from capjax.data.media_formats import media_kind
from capjax.data.photo import MediaError, MediaSettings, check_file, photo_source, to_jpeg
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
        """Reads a photo or a whole video, in any form that `photo_source` takes. Its content decides what it is.

        Raises:
          MediaError: The media cannot be read; the message names the file.
        """
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

    def _read_video(self, source: Path | bytes) -> MediaSample:
        if isinstance(source, bytes):
            with NamedTemporaryFile(prefix="capjax-") as file:
                file.write(source)
                file.flush()
                try:
                    return self._read_video(Path(file.name))
                except MediaError as error:
                    raise MediaError(error.kind, str(error).replace(file.name, "the video")) from error
        video = VideoFile(source, threads=0)
        (sample,) = self.read_windows(video, [(0.0, video.duration)])
        return sample

    def open_windows(self, path: str | Path, windows: WindowSettings) -> tuple[float, Iterator[MediaSample]]:
        """Returns the duration of a video in seconds, and its windows, which are read one after another.

        Raises:
          MediaError: The file is not a video or cannot be read; also raised by the iterator.
        """
        path = Path(path)
        try:
            kind = media_kind(path)
        except OSError as error:
            raise MediaError("missing_video", f"{path} cannot be read: {error.strerror}") from error
        if kind == "photo":
            raise MediaError("not_a_video", f"{path} is a photo; this model finds events in videos")
        video = VideoFile(path, threads=0)
        return video.duration, self.read_windows(video, windows.split(video.duration))

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
