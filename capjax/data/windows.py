"""Which moments of a video are looked at, and how a long one is cut: for data preparation and for prediction alike."""

import math
from dataclasses import dataclass

import numpy as np

from capjax.data.video import EPSILON

# A video that is longer than all that training saw, but not by so much, is looked at whole.
_SLACK = 1.5


def sample_times(start: float, end: float, fps: float) -> np.ndarray:
    """float64 [n], the moments from `start` up to `end` (s) at which a frame is taken."""
    # To the microsecond: windows that overlap by a whole number of frames share them.
    return np.round(start + np.arange(0, end - start - EPSILON, 1 / fps), 6)


def split_into_windows(start: float, end: float, length: float, overlap: float) -> list[tuple[float, float]]:
    """Windows of equal length, at most `length` seconds, that share `overlap` seconds or more with the next."""
    if end - start <= length + EPSILON:
        return [(start, end)]
    count = math.ceil((end - start - overlap) / (length - overlap) - EPSILON)
    starts = np.linspace(start, end - length, count)
    return [(float(first), float(first + length)) for first in starts]


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """How prediction cuts a video.

    Attributes:
      length, overlap: in seconds, as the training data were cut.
      longest: seconds of the longest record that training saw; 0: not known.
    """

    length: float
    overlap: float
    longest: float = 0.0

    def override(self, length: float | None, overlap: float | None) -> "WindowSettings":
        """With another length or overlap; None: as it is.

        Raises:
          ValueError: windows that would not get on.
        """
        if length is None and overlap is None:
            return self
        if overlap is None and length is not None and length > 0:
            overlap = min(self.overlap, length / 2)
        # Whoever asks for a length gets it, whatever training saw.
        new = WindowSettings(
            self.length if length is None else length, overlap or 0.0, 0.0 if length is not None else self.longest
        )
        if not (new.length > 0 and 0 <= new.overlap < new.length):
            raise ValueError(f"windows of {new.length:g} s that share {new.overlap:g} s: the share should be smaller")
        return new

    def split(self, duration: float) -> list[tuple[float, float]]:
        """The windows of a video, as evaluation has them; but a video far longer than any that training saw is cut into
        windows as long as the longest of those."""
        if self.longest and min(duration, self.length) > _SLACK * self.longest:
            return split_into_windows(0.0, duration, self.longest, min(self.overlap, self.longest / 2))
        return split_into_windows(0.0, duration, self.length, self.overlap)
