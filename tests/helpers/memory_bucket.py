"""A bucket in memory, so that tests of gs:// need neither a network nor gcsfs."""

import importlib.util

import fsspec
import pytest
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry


class MemoryBucket(MemoryFileSystem):
    """All buckets of gs://."""

    protocol = ("gs", "gcs")
    store: dict = {}
    pseudo_dirs = [""]

    @classmethod
    def _strip_protocol(cls, path) -> str:
        return super()._strip_protocol(str(path).removeprefix("gs://"))


def serve_from_memory(monkeypatch: pytest.MonkeyPatch):
    """Replaces gcsfs by an empty MemoryBucket for one test."""
    MemoryBucket.store.clear()
    MemoryBucket.pseudo_dirs[:] = [""]
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: name == "gcsfs" or find_spec(name, *more))
    monkeypatch.setitem(_registry, "gcs", MemoryBucket)
    filesystems: dict = {}  # etils keeps those that it made
    monkeypatch.setattr(
        backend.fsspec_backend, "_get_filesystem", lambda name: filesystems.setdefault(name, fsspec.filesystem(name))
    )
