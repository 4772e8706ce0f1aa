"""Media as commands take them: files, and folders of them."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def expand(program: str, names: Sequence[str], *, videos_only: bool) -> tuple[list[str], bool]:
    """Replaces each folder by the photos (unless `videos_only`) and videos below it, in order, and reports on standard
    error what was skipped.

    Args:
      program: the command, for messages.

    Returns:
      The paths, and whether files or folders could not be read or named.
    """
    from capjax.data.media_folder import find_media

    paths, any_unreadable = [], False
    for name in names:
        if name == "-" or not os.path.isdir(name):  # noqa: PTH112 (Path.is_dir raises for names that are too long)
            paths.append(name)
            continue
        folder = find_media(Path(name), videos_only=videos_only)
        paths += map(str, folder.paths)
        any_unreadable |= bool(folder.unreadable)
        messages = [f"skipped {message}" for message in folder.unreadable]
        if folder.skipped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in folder.skipped.most_common())
            messages.append(f"skipped files in the folder {name}: {reasons}")
        if not folder.paths:
            messages.append(f"no {'videos' if videos_only else 'images or videos'} in the folder {name}")
        for message in messages:
            print(printable(f"{program}: {message}"), file=sys.stderr)
    named = [path for path in paths if _has_utf8_name(program, path)]
    return named, any_unreadable or len(named) < len(paths)


def _has_utf8_name(program: str, path: str) -> bool:
    """Whether a path can be printed and written to JSON; reports one that cannot."""
    try:
        path.encode()
    except UnicodeEncodeError:
        print(f"{program}: {path!r}: the name is not UTF-8; rename the file or folder", file=sys.stderr)
        return False
    return True


def printable(text: str) -> str:
    """A text with a path on one line: line ends and control characters in file names are written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
