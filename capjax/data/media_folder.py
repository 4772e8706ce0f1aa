"""Finds the photos and videos of a folder and its subfolders, and says what was skipped."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from capjax.data.media_formats import media_kind


@dataclass
class MediaFolder:
    """The media of a folder.

    Attributes:
      paths: Photos and videos, sorted. A file with the suffix of a photo or video is among them whatever its content,
        so that a damaged file is reported when it is read.
      skipped: Number of other files by the reason for which they were skipped.
      unreadable: Files and folders that cannot be read, each with the reason.
    """

    paths: list[Path] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)


def find_media(folder: Path, *, videos_only: bool = False) -> MediaFolder:
    """Returns the photos and videos below `folder`. Links to folders are followed, each folder once.

    Args:
      videos_only: Skip photos.
    """
    result = MediaFolder()
    for path in _files_below(folder, result):
        if path.name.startswith("._"):
            result.skipped["metadata of macOS (._*)"] += 1
            continue
        try:
            kind = media_kind(path)
        except OSError as error:
            result.unreadable.append(f"{path}: {error.strerror}")
            continue
        if kind is None:
            result.skipped[f"neither photo nor video ({path.suffix.lower() or 'no suffix'})"] += 1
        elif videos_only and kind == "photo":
            result.skipped["photos"] += 1
        else:
            result.paths.append(path)
    result.paths.sort(key=str)
    return result


def _files_below(folder: Path, result: MediaFolder) -> Iterator[Path]:
    visited: set[tuple[int, int]] = set()

    def note(error: OSError):
        result.unreadable.append(f"{error.filename}: {error.strerror}")

    for parent, folders, files in os.walk(folder, onerror=note, followlinks=True):
        try:
            status = Path(parent).stat()
        except OSError as error:
            note(error)
            folders.clear()
            continue
        if (identity := (status.st_dev, status.st_ino)) in visited:
            folders.clear()
            result.skipped["in a folder that is linked more than once"] += len(files)
            continue
        visited.add(identity)
        folders.sort()
        yield from (Path(parent, name) for name in sorted(files))
