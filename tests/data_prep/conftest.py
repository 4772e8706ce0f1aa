"""Small photos, and files of annotations as people download them."""

import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.pictures import encode, picture


@functools.cache
def _photo(width: int, height: int, seed: int) -> bytes:
    return encode(picture(width, height, seed))


@pytest.fixture
def make_photos() -> Callable:
    def make(folder: Path, names, size: tuple[int, int] = (24, 16)) -> Path:
        for seed, name in enumerate(names):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # Of large ones one picture does for all; comments make the files differ.
            data = _photo(*size, seed if size[0] < 100 else 0)
            comment = b"" if size[0] < 100 else b"\xff\xfe\x00\x06%04d" % seed
            path.write_bytes(data[:2] + comment + data[2:])
        return folder

    return make


@pytest.fixture
def make_jsonl(tmp_path, make_photos) -> Callable:
    """A folder with `count` photos and captions.jsonl; every tenth photo is of val."""

    def make(count: int, name: str = "photos", size: tuple[int, int] = (24, 16)) -> Path:
        folder = make_photos(tmp_path / name, [f"{i:04d}.jpg" for i in range(count)], size)
        rows = [
            {"image": f"{i:04d}.jpg", "captions": [f"photo {i}", "a photo"], "split": "val" if i % 10 == 9 else "train"}
            for i in range(count)
        ]
        (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return make
