"""Writing files so that nothing partial is ever mistaken for whole."""

import os
from pathlib import Path


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
