"""Objects that the detector finds in photos and videos, where a dataset has no labels. This module imports JAX."""

import hashlib
import json
import logging
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypedDict

import numpy as np
from tqdm import tqdm

from capjax.analyze.findings import Box
from capjax.analyze.labels import LEAST_SCORE, LabeledObject
from capjax.data.media_reader import MediaReader
from capjax.data.photo import MediaSettings
from capjax.data.transforms import view
from capjax.files import make_folder
from capjax.metrics.cache import cache_dir
from capjax.metrics.json_types import type_mismatch
from capjax.metrics.writing import write_errors_named
from capjax.models.centernet import SIZE
from capjax.models.detector import Detection, Detector

log = logging.getLogger("capjax")

Id = int | str
_VERSION = 1  # increase it when _READER or _joined change
# A video is seen as the frames in the middle of so many equal parts.
_READER = MediaReader(MediaSettings(SIZE), fps=1.0, max_frames=8)


def detect_objects(
    paths: Mapping[Id, Path], detector: Detector
) -> tuple[dict[Id, list[LabeledObject]], dict[Id, str]]:  # fmt: skip
    """Finds the objects of photos and videos, and shows progress on a terminal.

    Of each category a video has the objects of the frame in which they are surest, without boxes. Results are kept in
    the cache folder as they are found, so that an analysis that was interrupted, or is repeated, does not search again.

    Args:
      paths: {id: file}.

    Returns:
      {id: objects, with their scores}, and {id: why its file cannot be read}.

    Raises:
      WriteError: the disk is full, or the cache folder cannot be written.
    """
    kept = _KeptResults(detector.digest)
    objects: dict[Id, list[LabeledObject]] = {}
    unreadable: dict[Id, str] = {}
    searched: deque[tuple[Id, int]] = deque()
    with tqdm(total=len(paths), disable=None, delay=2, leave=False, desc="objects", unit="file") as bar:

        def images() -> Iterator[np.ndarray]:
            for id, path in paths.items():
                try:
                    if (earlier := kept.of(path)) is not None:
                        objects[id] = earlier
                        bar.update()
                        continue
                    frames = [view(jpeg, SIZE) for jpeg in _READER.read(path).frames]
                except (ValueError, OSError) as error:  # MediaError is a ValueError
                    unreadable[id] = str(error)
                    log.warning("skipped %s", error)
                    bar.update()
                    continue
                searched.append((id, len(frames)))
                yield from frames

        frames: list[list[Detection]] = []
        for frame in detector.detect(images(), least_score=LEAST_SCORE):
            frames.append(frame)
            id, count = searched[0]
            if len(frames) == count:
                objects[id] = _joined(frames)
                kept.add(paths[id], objects[id])
                searched.popleft()
                frames = []
                bar.update()
    return {id: objects[id] for id in paths if id in objects}, unreadable


def _joined(frames: list[list[Detection]]) -> list[LabeledObject]:
    """Returns the objects of a photo, or of each category those of the frame with the largest sum of scores."""
    if len(frames) == 1:
        return [LabeledObject(item.category, item.box, item.score) for item in frames[0]]
    objects = []
    for category in dict.fromkeys(item.category for frame in frames for item in frame):
        scores = [[item.score for item in frame if item.category == category] for frame in frames]
        objects += [LabeledObject(category, None, score) for score in max(scores, key=sum)]
    return objects


class _Row(TypedDict):
    path: str
    size: int
    mtime: int
    objects: list[tuple[str, Box | None, float]]


class _KeptResults:
    """Objects that earlier runs found with the same weights: lines of JSON in the cache folder, one for each file.

    A file that has changed, by its size or time, is searched again. A line that is damaged, such as the last one of a
    run that was killed, counts as absent.
    """

    def __init__(self, digest: str):
        version = f"{digest} {LEAST_SCORE} {_VERSION}"
        self._path = cache_dir() / "objects" / f"{hashlib.sha256(version.encode()).hexdigest()[:16]}.jsonl"
        self._rows: dict[str, _Row] = {}
        if self._path.is_file():
            for line in self._path.read_text(errors="replace").splitlines():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if not type_mismatch(row, _Row):
                    self._rows[row["path"]] = row

    def of(self, path: Path) -> list[LabeledObject] | None:
        """Returns the objects of a file, or None.

        Raises:
          OSError: the file cannot be read.
        """
        status, row = path.stat(), self._rows.get(str(path.resolve()))
        if row is None or (row["size"], row["mtime"]) != (status.st_size, status.st_mtime_ns):
            return None
        return [
            LabeledObject(category, None if box is None else (box[0], box[1], box[2], box[3]), score)
            for category, box, score in row["objects"]
        ]

    def add(self, path: Path, objects: list[LabeledObject]):
        """Keeps the objects of a file.

        Raises:
          WriteError: the disk is full, or the cache folder cannot be written.
        """
        status = path.stat()
        row = {
            "path": str(path.resolve()), "size": status.st_size, "mtime": status.st_mtime_ns,
            "objects": [
                (item.category, item.box and [round(value, 4) for value in item.box], round(item.score, 4))
                for item in objects
            ],
        }  # fmt: skip
        make_folder(self._path.parent)
        with write_errors_named(self._path), self._path.open("a") as file:
            file.write("\n" * (not self._ends_well()) + json.dumps(row) + "\n")

    def _ends_well(self) -> bool:
        """Whether the file ends with a line feed, or is empty."""
        with self._path.open("rb") as file:
            size = file.seek(0, 2)
            if not size:
                return True
            file.seek(-1, 2)
            return file.read() == b"\n"
