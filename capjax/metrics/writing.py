"""Atomic writing of files, and errors that name what could not be written."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

# What to do about an error of the disk or the file system.
_REMEDIES = {
    errno.ENOSPC: "free some space on its disk",
    errno.EDQUOT: "free some space, or have your quota raised",
    errno.EFBIG: "raise the limit of file sizes (`ulimit -f`), or choose another file system",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "choose a folder that you may write to, or have its permissions changed",
    errno.EPERM: "choose a folder that you may write to, or have its permissions changed",
    errno.EIO: "check its disk",
}


class WriteError(OSError):
    """A file cannot be written because of the disk or its permissions; the message names the file and the remedy.

    Its arguments are those of OSError: error number, reason, file name.
    """

    def __str__(self) -> str:
        return f"{self.filename} cannot be written: {self.strerror}; {_REMEDIES.get(self.errno or 0, 'check its disk')}"


@contextmanager
def write_errors_named(path: object) -> Iterator[None]:
    """Converts errors of the disk, of whatever library, to WriteErrors that name `path`.

    Libraries in C++ raise exceptions of their own, with the message of the system in their text.
    """
    try:
        yield
    except WriteError:
        raise
    except Exception as error:
        for code in _REMEDIES:
            if error.errno == code if isinstance(error, OSError) else _says(error, code):
                raise WriteError(code, os.strerror(code), str(path)) from error
        raise


def _says(error: Exception, code: int) -> bool:
    text = str(error)
    return os.strerror(code) in text or (code == errno.ENOSPC and "disk is full" in text)  # the latter is SQLite's


@contextmanager
def standard_output_named() -> Iterator[None]:
    """Converts errors of the standard output, which name no file, to WriteErrors, and flushes it at the end."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        if error.filename or error.errno not in _REMEDIES:
            raise
        with suppress(OSError, ValueError):  # or Python would write what is left in the buffer at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise WriteError(error.errno, error.strerror, "the standard output, or a temporary file,") from error


@contextmanager
def replacing(path: Path | str, mode: str = "w") -> Iterator[IO]:
    """Opens a file that replaces `path` once it is complete; after an error `path` is unchanged.

    Args:
      mode: `w` for text in UTF-8, `wb` for bytes.

    Raises:
      OSError: the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with write_errors_named(path):
            with temporary.open(mode, encoding="utf-8" if mode == "w" else None) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        with suppress(OSError):  # an error of the disk again, which would hide the first
            temporary.unlink(missing_ok=True)
