"""What every command sets up once: logging and JAX's compilation cache."""

import logging
import os
from pathlib import Path


def cache_dir() -> Path:
    """Where compiled programs are kept between runs: $CAPJAX_CACHE, else the user's cache folder."""
    base = os.environ.get("CAPJAX_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "capjax"
    return Path(base)


def start(level: int = logging.INFO):
    """Quiet logs, and a compilation cache on disk, so that a second start compiles nothing."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    logging.getLogger("capjax").setLevel(level)
    logging.getLogger("absl").setLevel(logging.ERROR)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import jax

    jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
