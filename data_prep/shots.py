"""Shot detection while a video is decoded."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from av.video.reformatter import VideoReformatter

from capjax.data.video import EPSILON, TimedFrame

# A change is compared with those of this many frames before and after it.
_CONTEXT = 8


class ShotDetector:
    """Finds cuts: frames that differ from the previous frame far more than neighboring frames do.

    A frame is reduced to 64 x 36 luma and 32 x 18 chroma samples. There is a cut where the mean absolute difference to
    the previous frame is above `threshold` (of 255) and above three times the mean of the surrounding frames.

    Args:
      min_shot: shortest shot in seconds; a cut sooner after the previous one is ignored.
      threshold: smallest mean absolute difference of a cut, of 255.
    """

    def __init__(self, min_shot: float, threshold: float = 15.0):
        self._min_shot, self._threshold = min_shot, threshold
        self._reformatter = VideoReformatter()  # a frame would create one for every call
        self._previous: np.ndarray | None = None
        self._changes: list[float] = []  # of frames 1, 2, ... against the previous frame
        self.cuts: list[float] = []  # seconds at which a new shot begins, without the start of the video

    def process(self, frames: Iterable[TimedFrame]) -> Iterator[tuple[TimedFrame, float]]:
        """Yields each frame with the time of the next one (infinity after the last), in seconds. A frame is yielded
        once
        it is known whether a shot begins with it, a few frames late."""
        waiting: deque[tuple[int, TimedFrame, float]] = deque()
        previous, number = None, 0
        for frame in frames:
            self._add(frame)
            if previous is not None:
                waiting.append((number - 1, previous, frame.time))
            while waiting and waiting[0][0] + _CONTEXT <= number:
                yield self._decide(*waiting.popleft())
            previous, number = frame, number + 1
        if previous is not None:
            waiting.append((number - 1, previous, math.inf))
        for entry in waiting:
            yield self._decide(*entry)

    def _add(self, timed: TimedFrame):
        planes = self._reformatter.reformat(timed.frame, 64, 36, "yuv420p", threads=1).planes
        small = np.concatenate([_thumbnail(plane) for plane in planes])
        if self._previous is not None:
            self._changes.append(float(np.abs(small - self._previous).mean()))
        self._previous = small

    def _decide(self, number: int, timed: TimedFrame, until: float) -> tuple[TimedFrame, float]:
        if number and self._is_cut(number - 1) and timed.time - self.begin >= self._min_shot:
            self.cuts.append(timed.time)
        return timed, until

    @property
    def begin(self) -> float:
        """Start in seconds of the shot of the last yielded frame."""
        return self.cuts[-1] if self.cuts else 0.0

    def _is_cut(self, i: int) -> bool:
        change = self._changes[i]
        if change < self._threshold:
            return False
        around = self._changes[max(i - _CONTEXT, 0) : i] + self._changes[i + 1 : i + 1 + _CONTEXT]
        return not around or change >= 3 * sum(around) / len(around)


def _thumbnail(plane) -> np.ndarray:
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
    return rows.astype(np.int16).ravel()


def is_looked_at(time: float, until: float, shot: float, spans: Sequence[tuple[float, float]], fps: float) -> bool:
    """Whether a frame displayed from `time` to `until` is shown at one of the `sample_times` of the part of any of
    `spans` that begins with the shot.

    Args:
      shot: the second at which the frame's shot begins.
      spans: (start, end) in seconds.
    """
    for start, end in spans:
        begin = max(start, shot)
        moment = round(begin + max(0, math.ceil((time - EPSILON - begin) * fps)) / fps, 6)
        if time - EPSILON <= moment < min(until, end) - EPSILON:
            return True
    return False
