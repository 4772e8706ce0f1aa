"""Media files to what a record holds of them: frames with their times."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from capjax.data.photo import MediaError, MediaSettings, check_file, photo_to_jpeg, read_file

__all__ = ["Media", "MediaError", "MediaSettings", "check_file", "photo_to_jpeg", "read_file", "read_media"]


@dataclass(frozen=True, slots=True)
class Media:
    """What a record holds of a file: t JPEG frames, their times float32 [t] in seconds, the duration in seconds."""

    frames: tuple[bytes, ...]
    frame_times: np.ndarray
    duration: float = 0.0


def read_media(source: Path | Callable[[], bytes], settings: MediaSettings) -> Media:
    """Reads a media file, or draws what `source` draws.

    Raises:
      MediaError: missing, empty, too large, damaged, or not an image.
    """
    data = read_file(source) if isinstance(source, Path) else source()
    return Media((photo_to_jpeg(data, settings),), np.zeros(1, np.float32))
