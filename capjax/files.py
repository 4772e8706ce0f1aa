"""Writing files so that nothing partial is ever mistaken for whole."""

import os
from pathlib import Path


def local_path(path: str | Path) -> Path:
    """Of a folder or file as a user names it; `~` is his home.

    Raises:
      ValueError: it is a URL, which would become a folder of an odd name.
    """
    if "://" in str(path):
        raise ValueError(
            f"{path} is a URL, and no path of this machine; mount the bucket, and give where it is mounted"
        )
    return Path(path).expanduser()


def write_bytes(path: Path, data: bytes):
    """Writes aside, then renames over `path`."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: Path, text: str):
    """`write_bytes` of UTF-8."""
    write_bytes(path, text.encode())
