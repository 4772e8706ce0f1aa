"""The folder in which capjax keeps files that can be made again: compiled programs, METEOR's tables."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """Returns $CAPJAX_CACHE, or else `capjax` in the user's cache folder. The folder may not exist yet."""
    if folder := os.environ.get("CAPJAX_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "capjax"
