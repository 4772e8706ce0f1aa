"""Media that are files of their own: those of a folder, and those that a list names."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from capjax.bulk.source import MediaItem
from capjax.data.media_folder import find_media

# A line of a list is a path: files with longer lines are something else.
MAX_LINE = 4096


@dataclass(frozen=True)
class PathSource:
    """Files by their names: the media of a folder, or of a list.

    Attributes:
      names: file names, which are the ids.
      folder: what they are relative to.
    """

    name: str
    kind: str
    names: Sequence[str]
    folder: Path

    def __len__(self) -> int:
        return len(self.names)

    def ids(self) -> Iterable[str]:
        return self.names

    def items(self, ranges: Sequence[range]) -> Iterator[MediaItem]:
        for number in itertools.chain.from_iterable(ranges):
            yield MediaItem(self.names[number], self.names[number], self.folder / self.names[number])

    def part(self, numbers: range) -> tuple["PathSource", range]:
        names = [self.names[number] for number in numbers]
        return PathSource(self.name, self.kind, names, self.folder), range(len(names))


def open_folder(name: str, path: Path, videos_only: bool, warn: Callable[[str], None]) -> PathSource:
    if (path / "dataset_info.json").is_file():
        raise ValueError(f"--input {name}: this folder is a dataset; name a split of it, such as {name}@train")
    media = find_media(path, videos_only=videos_only)
    for message in media.unreadable:
        warn(f"skipped {message}")
    if media.skipped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in media.skipped.most_common())
        warn(f"skipped files in the folder {name}: {reasons}")
    names = [each.relative_to(path).as_posix() for each in media.paths]
    if not names:
        raise ValueError(f"--input {name}: no {'videos' if videos_only else 'photos or videos'} in this folder")
    return PathSource(name, "folder", [each for each in names if _is_utf8(each, warn)], path)


def _is_utf8(name: str, warn: Callable[[str], None]) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        warn(f"skipped {name!r}: the name is not UTF-8; rename the file or folder")
        return False
    return True


def read_list(name: str, path: Path) -> list[str]:
    """The paths in a file, one a line, without blank lines."""
    names = []
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            text = os.fsdecode(line).strip()
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"--input {name}, line {number}: not UTF-8; save the list as UTF-8") from None
        if "\0" in text or len(text) > MAX_LINE:
            raise ValueError(f"--input {name}, line {number}: not a path; the file should be a list of paths")
        if text:
            names.append(text)
    if not names:
        raise ValueError(f"--input {name}: the list is empty")
    return names
