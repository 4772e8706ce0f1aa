"""Errors of media files, and checks of files before they are read."""

import stat
from pathlib import Path

MAX_FILE_BYTES = 512 * 2**20

# What to do about a damaged file, for messages.
REMEDY = "copy the file again, or save it anew"


class MediaError(ValueError):
    """A media file cannot be used. `kind` is a short name of the problem, by which reports count."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


def check_file(path: Path, what: str = "photo", limit: int | None = MAX_FILE_BYTES) -> tuple[int, int]:
    """Checks that a file exists and has a plausible size, without opening it.

    Args:
      what: `photo` or `video`, for the kind of the error.
      limit: Largest size in bytes; None for no limit.

    Returns:
      (size in bytes, modification time in ns).

    Raises:
      MediaError: The path is missing, not a file, empty, or too large.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise MediaError(f"missing_{what}", f"{path} does not exist") from error
    except OSError as error:
        raise MediaError(f"missing_{what}", f"{path}: {error.strerror}") from error
    except ValueError as error:  # a zero byte in the path
        raise MediaError(f"missing_{what}", f"{str(path)!r:.200} is not the path of a file: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise MediaError("not_an_image" if what == "photo" else "not_a_video", f"{path} is not a file")
    if status.st_size == 0:
        raise MediaError("empty_file", f"{path} has no bytes")
    if limit is not None and status.st_size > limit:
        size = status.st_size / 2**20
        raise MediaError("too_large", f"{path} has {size:.0f} MB; at most {limit // 2**20} MB are read")
    return status.st_size, status.st_mtime_ns


def read_file(path: Path) -> bytes:
    """Returns the bytes of a media file.

    Raises:
      MediaError: See `check_file`; or the file is not readable.
    """
    check_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise MediaError("missing_photo", f"{path} cannot be read: {error.strerror}") from error
