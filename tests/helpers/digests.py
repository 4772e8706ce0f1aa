"""Damage to files that have digests."""

from pathlib import Path

import pytest

from capjax import digests


def flip_bit(path: Path, position: float = 0.5):
    """Flips one bit of a file, at a fraction of its length."""
    data = bytearray(path.read_bytes())
    data[min(int(position * len(data)), len(data) - 1)] ^= 4
    path.write_bytes(bytes(data))


def forget_warnings(monkeypatch: pytest.MonkeyPatch):
    """Lets a test see warnings that are given once in a process."""
    monkeypatch.setattr(digests, "_warned_without_digests", False)
    digests._warn.cache_clear()
