"""What a folder holds, to compare it with another."""

import hashlib
from pathlib import Path


def contents(folder: Path) -> dict[str, str]:
    """Its files by name: JSON as it is, of others a digest, so that a failed comparison can be read."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: path.read_text() if path.suffix == ".json" else hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in files.items()
    }
