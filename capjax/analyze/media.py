"""Photos and videos of items: found in a folder by the items' ids, and read as thumbnails."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from capjax.data.media_folder import find_media
from capjax.data.media_formats import media_kind
from capjax.data.media_reader import MediaReader
from capjax.data.photo import MediaError, MediaSettings
from capjax.data.video import VideoFile
from capjax.metrics.id_matching import RULES
from capjax.metrics.messages import shorten

log = logging.getLogger("capjax")

Id = int | str
_THUMBNAIL = MediaSettings(size=200, quality=85)


@dataclass
class ItemMedia:
    """The files of items.

    Attributes:
      paths: {id: file}.
      unreadable: {id: why its file cannot be read}, as far as they were read.
    """

    paths: dict[Id, Path]
    unreadable: dict[Id, str] = field(default_factory=dict)

    @classmethod
    def find(cls, folder: Path, ids: Iterable[Id]) -> "ItemMedia":
        """Finds the files of a folder and its subfolders whose names are the ids, compared as those of predictions and
        references are.

        Raises:
          FileNotFoundError: there is no such folder.
          ValueError: no file has the name of an item.
        """
        if not folder.is_dir():
            raise FileNotFoundError(f"--media {folder}: no such folder")
        ids = list(ids)
        files = find_media(folder).paths
        names = {path: path.relative_to(folder).as_posix() for path in files}
        for rule in RULES.values():
            by_key = {key: path for path in reversed(files) if (key := rule(names[path])) is not None}
            paths = {id: by_key[key] for id in ids if (key := rule(id)) in by_key}
            if paths:
                return cls(paths)
        raise ValueError(
            f"--media {folder}: no file has the name of an item; files {shorten(names.values())}; items {shorten(ids)}"
        )

    def thumbnail(self, id: Id) -> bytes | None:
        """Returns the photo, or the frame in the middle of the video, as a small JPEG; None where there is none."""
        path = self.paths.get(id)
        if path is None or id in self.unreadable:
            return None
        try:
            frames = MediaReader(_THUMBNAIL, fps=1.0, max_frames=3).read(path).frames
        except MediaError as error:
            self._note(id, error)
            return None
        return frames[len(frames) // 2]

    def duration(self, id: Id) -> float:
        """Returns the duration of a video in seconds; 0 of a photo, or where there is no readable file."""
        path = self.paths.get(id)
        if path is None or id in self.unreadable:
            return 0.0
        try:
            return VideoFile(path).duration if media_kind(path) == "video" else 0.0
        except (MediaError, OSError) as error:
            self._note(id, error)
            return 0.0

    def _note(self, id: Id, error: Exception):
        self.unreadable[id] = str(error)
        log.warning("skipped %s", error)
