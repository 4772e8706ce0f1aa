"""Raw photos and videos to what a model looks at of them, by the path that training data took."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from capjax.data.photo import MediaError, MediaSettings, to_jpeg
from capjax.data.transforms import pick_frames
from capjax.data.video import VIDEO_SUFFIXES, VideoFile
from capjax.data.windows import sample_times


@dataclass(frozen=True)
class MediaSample:
    """What the model sees of a picture, a video or a part of one.

    Attributes:
      frames: t JPEGs; times: float32 [t], seconds from its beginning.
      start: where it begins in the video; duration: both in seconds, 0 for a picture.
    """

    frames: tuple[bytes, ...]
    times: np.ndarray
    duration: float = 0.0
    start: float = 0.0


@dataclass(frozen=True)
class MediaReader:
    """Reads media as a record of them would hold them, and of a record those frames that evaluation picks.

    Attributes:
      picture: how frames are stored; fps: how many a second; most: frames that the model looks at.
    """

    picture: MediaSettings
    fps: float
    most: int

    def read(self, media) -> MediaSample:
        """A picture (path, bytes, PIL image or array) or the path of a video, as a whole.

        Raises:
          MediaError: it cannot be read; the message names a file.
        """
        if isinstance(media, str | Path) and Path(media).suffix.lower() in VIDEO_SUFFIXES:
            video = VideoFile(Path(media), threads=0)
            return next(self.parts(video, [(0.0, video.duration)]))
        try:
            return MediaSample((to_jpeg(media, self.picture),), np.zeros(1, np.float32))
        except MediaError as error:
            if not isinstance(media, str | Path) or str(media) in str(error):
                raise
            raise MediaError(error.kind, f"{media}: {error}") from error

    def parts(self, video: VideoFile, spans: Sequence[tuple[float, float]]) -> Iterator[MediaSample]:
        """Parts of a video, from and to in seconds, by their start. Its frames are decoded once, and no more are in
        memory than those of parts that overlap. Parts of which no frame can be decoded are left out.

        Raises:
          MediaError: that are all of them.
        """
        chosen = [self._chosen(video, *span) for span in spans]
        every = np.unique(np.concatenate([*chosen, []]))
        frames = video.frames_at(every)
        near: deque[tuple[float, range, bytes]] = deque()  # those that this part or a later one may show
        some = False
        for (start, end), own in zip(spans, chosen, strict=True):
            if not len(own):
                continue
            places = np.searchsorted(every, own)
            while not near or near[-1][1].stop <= places[-1]:
                if (shown := next(frames, None)) is None:
                    break
                near.append((shown.time, shown.indices, video.jpeg(shown.frame, self.picture)))
            mine = [(time, jpeg) for time, span, jpeg in near if any(place in span for place in places)]
            if mine:
                some = True
                times = np.asarray([max(0.0, time - start) for time, _ in mine], np.float32)
                yield MediaSample(tuple(jpeg for _, jpeg in mine), times, end - start, start)
            while near and near[0][1].stop <= places[0]:
                near.popleft()
        if not some:
            raise MediaError("no_frames", f"{video.path}: not one frame could be decoded")

    def _chosen(self, video: VideoFile, start: float, end: float) -> np.ndarray:
        """A moment of each frame that is picked, in seconds of the video: of two hours of frames a model looks at a
        few, and the others need not be decoded."""
        wanted = sample_times(start, end, self.fps)
        frames = video.group_by_frame(wanted)
        return wanted[[frames[i].start for i in pick_frames(len(frames), self.most)]]
