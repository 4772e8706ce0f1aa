"""Finds the videos of a folder by name, whatever their extension: shared by the readers of videos."""

import os
import re
import unicodedata
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from capjax.data.media_formats import media_kind
from capjax.metrics.json_types import is_text
from capjax.metrics.messages import show_value
from data_prep.readers.item import InputError, Problem


def add_video_arguments(parser, what: str):
    """Adds `--input`, `--annotations`, `--videos` and `--lang`, which all readers of published video datasets have."""
    parser.add_argument("--input", dest="input_dir", type=Path, required=True, metavar="DIR", help=what)
    parser.add_argument("--annotations", type=Path, nargs="+", default=(), metavar="FILE",
                        help="the annotation files, if they are not those in --input with the usual names")  # fmt: skip
    parser.add_argument("--videos", type=Path, metavar="DIR",
                        help="folder of the videos (default: --input); its subfolders are searched too")  # fmt: skip
    parser.add_argument("--lang", default="en", help="the language of the sentences (default: en)")


def find_annotations(input_dir: Path, given: Sequence[Path], pattern: str, usual: str) -> list[Path]:
    """The given files, or those of `input_dir` whose names match the regular expression, ordered by name.

    Args:
      usual: the usual names of the files, for the message.

    Raises:
      InputError: there are none, or the folder does not exist.
    """
    if given:
        return sorted(given, key=lambda path: path.name)
    if not input_dir.is_dir():
        raise InputError(f"{input_dir}: no such folder")
    matches = [path for path in sorted(input_dir.iterdir()) if re.fullmatch(pattern, path.name) and path.is_file()]
    if not matches:
        raise InputError(f"{input_dir}: no annotations here (looked for {usual}); --annotations names others")
    return matches


class Videos:
    """The videos of a folder and its subfolders. Links to folders are not followed.

    Raises:
      InputError: the folder does not exist, or a subfolder cannot be read.
    """

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder of videos")
        self.folder = folder
        self._real = folder.resolve()
        self._paths_by_name: dict[str, list[Path]] = {}
        self._linked_folders: list[str] = []
        for parent, folders, files in os.walk(folder, onerror=_raise_input_error):
            folders.sort()
            self._linked_folders += [name for name in folders if Path(parent, name).is_symlink()]
            for file in sorted(files):
                stem, _ = os.path.splitext(file)  # noqa: PTH122, much faster than a Path for every file
                for name in {_composed(stem), _composed(file)}:
                    self._paths_by_name.setdefault(name, []).append(Path(parent, file))

    def find(self, id: str, names: Sequence[str], where: str, split: str) -> Path | Problem:
        """Finds the file of a video by the first of `names` that exists, with any extension.

        Returns:
          Its path, or a Problem: the video is absent, several files have the name, or the name leads out of the folder.
        """
        bad = partial(Problem, where=where, id=id, costs="video", split=split)
        for name in names:
            if not is_text(name):
                return bad("encoding", f"the video's name is not valid UTF-8: {show_value(name)}")
            if not name.strip() or re.search(r"[/\\\0]", name) or name in (".", ".."):
                return bad("unsafe_path", f"a video's name should have no folder in it: {show_value(name)}")
            if not (paths := [path for path in self._paths_by_name.get(_composed(name), ()) if _is_video(path)]):
                continue
            if len(paths) > 1:
                listed = " and ".join(path.relative_to(self.folder).as_posix() for path in paths)
                message = f"{name} could be {listed}; keep one of them, or give their folder with --videos"
                return bad("ambiguous_video", message)
            if paths[0].is_symlink() and not paths[0].resolve().is_relative_to(self._real):
                message = f"{paths[0].name!r} is a link out of the folder of the videos; put the file itself there"
                return bad("unsafe_path", message)
            return paths[0]
        expected = " or ".join(names)
        message = f"no video {expected} in {self.folder.name}"
        if self._linked_folders:
            message += f"; links to folders are not followed: {', '.join(self._linked_folders[:3])}"
        return Problem("missing_video", message, where, id, "absent", split)


def _is_video(path: Path) -> bool:
    try:
        return media_kind(path) == "video"
    except OSError:
        return True  # reported when it is read


def _composed(name: str) -> str:
    """A name with composed accents; macOS decomposes those of files."""
    return unicodedata.normalize("NFC", name)


def _raise_input_error(error: OSError):
    raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error
