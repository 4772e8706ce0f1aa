"""Finds the media that annotations name, in one folder.

Names come from other systems: macOS decomposes accents, Windows writes backslashes and ignores case, and programs write
absolute paths or drop extensions. A name means the file that it names exactly, else the only file that it can mean.
"""

import difflib
import os
import re
import unicodedata
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from capjax.data.media_formats import KINDS_BY_SUFFIX
from capjax.metrics.json_types import is_text
from capjax.metrics.messages import show_value
from data_prep.readers.item import InputError, Problem

# Names that are compared to find the nearest one.
_MAX_COMPARED = 20_000


def plain_name(name: str) -> str:
    """A name with composed accents and slashes, without `.` and repeated slashes; equal for spellings of one path."""
    return str(PurePosixPath(unicodedata.normalize("NFC", name.strip()).replace("\\", "/")))


class MediaFolder:
    """The media folder of a dataset: maps names in annotations to paths inside the folder.

    Args:
      what: `photo` or `video`: the noun in Problems, and what they cost.

    Raises:
      InputError: there is no such folder.
    """

    def __init__(self, folder: Path, what: str = "photo"):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder of {what}s")
        self.folder, self.what = folder, what
        self._real = folder.resolve()
        self._absolute = folder.absolute()
        self._names: dict[Path, dict[str, list[str]]] = {}
        self._stems: dict[Path, dict[str, list[str]]] = {}

    def path(self, name: object, where: str, id: str = "") -> Path | Problem:
        """The path of a photo (which need not exist), or a Problem if the name is invalid or ambiguous, or leads out of
        the folder."""
        what, bad = self.what, partial(Problem, where=where, id=id, costs=self.what)
        if not isinstance(name, str) or not name.strip() or "\0" in name:
            return bad("malformed", f"the {what}'s name should be text, not {show_value(name)}")
        if not is_text(name):
            return bad("encoding", f"the {what}'s name is not valid UTF-8: {show_value(name)}")
        relative = self._relative(name)
        if re.match(r"[\\/]|[A-Za-z]:", relative) or ".." in re.split(r"[\\/]", relative):
            message = (
                f"{show_value(name)} leads out of the folder of the {what}s; use a path relative to it, without '..'"
            )
            return bad("unsafe_path", message)
        path = self.folder / relative
        try:
            if not os.path.lexists(path) and (paths := self._similar(relative)):
                if len(paths) > 1:
                    listed = " or ".join(sorted(each.relative_to(self.folder).as_posix() for each in paths)[:5])
                    message = f"{show_value(name)} could be {listed}; write the name as it is in the folder"
                    return bad(f"ambiguous_{what}", message)
                path = paths[0]
            inside = path.resolve().is_relative_to(self._real)
        except (OSError, RuntimeError) as error:  # the name is too long, or links form a loop
            return bad(f"missing_{what}", f"{show_value(name)}: {error}")
        if not inside:
            message = (
                f"{show_value(name)} is a symbolic link out of the folder of the {what}s; put the file itself there"
            )
            return bad("unsafe_path", message)
        return path

    def _relative(self, name: str) -> str:
        """The name relative to the folder, if it is an absolute path inside."""
        if name.startswith("/"):
            for folder in (self._absolute, self._real):
                if PurePosixPath(name).is_relative_to(folder):
                    return str(PurePosixPath(name).relative_to(folder))
        return name

    def _similar(self, name: str) -> list[Path]:
        """The files that a name can mean which no file has: by another form of Unicode, else another case, else an
        extension that it lacks. At each step all parts of the path may differ so."""
        *parents, last = plain_name(name).split("/")
        folders = [self.folder]
        for parent in parents:
            folders = [child for folder in folders for child in self._children(folder, parent) if _is_folder(child)]
        paths = [path for folder in folders for path in self._children(folder, last)]
        if not paths:
            paths = [folder / file for folder in folders for file in self._by_stem(folder).get(_folded(last), ())]
        exact = [path for path in paths if plain_name(name) in self._spellings(path)]
        return exact or paths

    def _spellings(self, path: Path) -> tuple[str, str]:
        """The plain names of a file with and without its extension."""
        relative = path.relative_to(self.folder)
        return plain_name(str(relative)), plain_name(str(relative.with_suffix("")))

    def _children(self, folder: Path, name: str) -> list[Path]:
        if os.path.lexists(folder / name):
            return [folder / name]
        if folder not in self._names:
            names: dict[str, list[str]] = {}
            for file in names_in(folder):
                names.setdefault(_folded(file), []).append(file)
            self._names[folder] = names
        return [folder / file for file in self._names[folder].get(_folded(name), ())]

    def _by_stem(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._stems:
            stems: dict[str, list[str]] = {}
            for file in names_in(folder):
                stem, suffix = os.path.splitext(file)  # noqa: PTH122, much faster than a Path for every file
                if KINDS_BY_SUFFIX.get(suffix.lower()) == self.what:
                    stems.setdefault(_folded(stem), []).append(file)
            self._stems[folder] = stems
        return self._stems[folder]


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112, false for a name that is too long, where a Path raises


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def names_in(folder: Path) -> Sequence[str]:
    """The names in a folder, sorted; none if it cannot be read."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208, names are all that is needed
    except OSError:
        return ()


def nearest_file(path: Path) -> str:
    """What to do about a file that does not exist, with the file of its folder whose name is most similar."""
    folder = path.parent
    if not _is_folder(folder):
        return f"there is no folder {folder.name!r}; correct the name, or give the folder of the media with --images"
    names = names_in(folder)[:_MAX_COMPARED]
    if close := difflib.get_close_matches(path.name, names, n=1):
        return f"the nearest file is {close[0]!r}; correct the name in the annotations, or rename the file"
    return "no file has a similar name; correct the name, or give the folder of the media with --images"
