"""Paths as users write them, and atomic writing of files."""

from pathlib import Path

from capjax.metrics.writing import replacing


def local_path(path: str | Path) -> Path:
    """Returns the path of a folder or file, with `~` expanded.

    Raises:
      ValueError: the path is a URL, which would become a folder of that name.
    """
    if "://" in str(path):
        raise ValueError(
            f"{path} is a URL, not a path on this machine; mount the bucket and give the path where it is mounted"
        )
    return Path(path).expanduser()


def write_bytes(path: Path, data: bytes):
    """Writes a file under a temporary name, then renames it, so that readers never see a part of it."""
    with replacing(path, "wb") as file:
        file.write(data)


def write_text(path: Path, text: str):
    """Writes text in UTF-8, as `write_bytes` does."""
    write_bytes(path, text.encode())
