"""Sample times and windows of long videos, the same for data preparation and prediction."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from jaxtyping import Float64, Int

from capjax.data.video import EPSILON

# A video up to this many times longer than the longest record of the training data is not split.
_SLACK = 1.5


def sample_times(start: float, end: float, fps: float) -> Float64[np.ndarray, " n"]:
    """Returns the times in [start, end), in seconds, at which frames are taken."""
    # Rounded to microseconds, so that windows that overlap by a whole number of frames share them.
    return np.round(start + np.arange(0, end - start - EPSILON, 1 / fps), 6)


def split_into_windows(start: float, end: float, length: float, overlap: float) -> list[tuple[float, float]]:
    """Splits [start, end] into windows of equal length.

    Args:
      length: Length of a window, in seconds; a shorter interval is one window.
      overlap: Smallest overlap of neighboring windows, in seconds.
    """
    if end - start <= length + EPSILON:
        return [(start, end)]
    count = math.ceil((end - start - overlap) / (length - overlap) - EPSILON)
    starts = np.linspace(start, end - length, count)
    return [(float(first), float(first + length)) for first in starts]


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """Settings for splitting a video into windows.

    Attributes:
      length: Length of a window in seconds, as in the training data.
      overlap: Overlap of neighboring windows in seconds, as in the training data.
      longest: Duration in seconds of the longest record of the training data; 0 if unknown.
    """

    length: float
    overlap: float
    longest: float = 0.0

    def override(self, length: float | None, overlap: float | None) -> "WindowSettings":
        """Returns the settings with another length or overlap; None keeps the present value.

        Raises:
          ValueError: The overlap is not smaller than the length.
        """
        if length is None and overlap is None:
            return self
        if overlap is None and length is not None and length > 0:
            overlap = min(self.overlap, length / 2)
        # An explicit length applies whatever the training data were.
        new = WindowSettings(
            self.length if length is None else length, overlap or 0.0, 0.0 if length is not None else self.longest
        )
        if not (new.length > 0 and 0 <= new.overlap < new.length):
            raise ValueError(
                f"windows of {new.length:g} s with an overlap of {new.overlap:g} s: the overlap should be smaller"
            )
        return new

    def split(self, duration: float) -> list[tuple[float, float]]:
        """Returns the windows of a video as (start, end) in seconds.

        They are those of evaluation, except that a video far longer than all training records is split into windows as
        long as the longest of these.
        """
        if self.longest and min(duration, self.length) > _SLACK * self.longest:
            return split_into_windows(0.0, duration, self.longest, min(self.overlap, self.longest / 2))
        return split_into_windows(0.0, duration, self.length, self.overlap)


class IndexedFrame(Protocol):
    """A frame displayed at the sample times with `indices`."""

    @property
    def indices(self) -> range: ...


Frame = TypeVar("Frame", bound=IndexedFrame)


def frames_by_window(frames: Iterable[Frame], windows: Sequence[Int[np.ndarray, " n"]]) -> Iterator[list[Frame]]:
    """Groups the frames of a video by windows, which may overlap, in one pass.

    Memory holds only the frames that the current or a later window may contain.

    Args:
      frames: In order of display.
      windows: Ascending indices of the sample times of each window; windows are sorted by their first index.

    Yields:
      The frames displayed at the sample times of each window.
    """
    frames = iter(frames)
    kept: deque[Frame] = deque()
    for indices in windows:
        if not len(indices):
            yield []
            continue
        while not kept or kept[-1].indices.stop <= indices[-1]:
            if (frame := next(frames, None)) is None:
                break
            kept.append(frame)
        yield [frame for frame in kept if _any_in_range(indices, frame.indices)]
        while kept and kept[0].indices.stop <= indices[0]:
            kept.popleft()


def _any_in_range(ascending: np.ndarray, indices: range) -> bool:
    return bool(np.searchsorted(ascending, indices.stop) > np.searchsorted(ascending, indices.start))
