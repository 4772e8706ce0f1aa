"""Where the picture of a video changes, and the frames that its shots may need, in one decode."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from av.video.reformatter import VideoReformatter

from capjax.data.video import EPSILON, TimedFrame

# Frames before and after a change that it is compared with.
_AROUND = 8


class ShotDetector:
    """Finds cuts: frames that differ from the one before far more than frames thereabouts do.

    A frame is looked at as 64 x 36 points of brightness and 32 x 18 of each colour difference. The picture has changed
    where the mean difference is above `threshold` (of 255) and above three times the mean of the frames around it.

    Args:
      min_shot: seconds; a cut sooner after the one before is none.
    """

    def __init__(self, min_shot: float, threshold: float = 15.0):
        self._min_shot, self._threshold = min_shot, threshold
        self._reformatter = VideoReformatter()  # a frame's own is made anew for each
        self._before: np.ndarray | None = None
        self._changes: list[float] = []  # of frames 1, 2, ... to the one before
        self.cuts: list[float] = []  # seconds at which a new shot begins; not the start of the video

    def watch(self, every: Iterable[TimedFrame]) -> Iterator[tuple[TimedFrame, float]]:
        """Every frame of a video, and when the next comes up (after the last: never), both in seconds. A frame comes
        out once it is known whether a shot begins with it, a few frames late."""
        waiting: deque[tuple[int, TimedFrame, float]] = deque()
        before, number = None, 0
        for shown in every:
            self._look(shown)
            if before is not None:
                waiting.append((number - 1, before, shown.time))
            while waiting and waiting[0][0] + _AROUND <= number:
                yield self._decide(*waiting.popleft())
            before, number = shown, number + 1
        if before is not None:
            waiting.append((number - 1, before, math.inf))
        for one in waiting:
            yield self._decide(*one)

    def _look(self, shown: TimedFrame):
        planes = self._reformatter.reformat(shown.frame, 64, 36, "yuv420p", threads=1).planes
        small = np.concatenate([_thumbnail(plane) for plane in planes])
        if self._before is not None:
            self._changes.append(float(np.abs(small - self._before).mean()))
        self._before = small

    def _decide(self, number: int, shown: TimedFrame, until: float) -> tuple[TimedFrame, float]:
        if number and self._is_cut(number - 1) and shown.time - self.begin >= self._min_shot:
            self.cuts.append(shown.time)
        return shown, until

    @property
    def begin(self) -> float:
        """The second at which the shot of the frame that came out last begins."""
        return self.cuts[-1] if self.cuts else 0.0

    def _is_cut(self, i: int) -> bool:
        change = self._changes[i]
        if change < self._threshold:
            return False
        around = self._changes[max(i - _AROUND, 0) : i] + self._changes[i + 1 : i + 1 + _AROUND]
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
