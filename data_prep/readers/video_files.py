"""Writes generated videos as files, to look at or to use in other programs."""

import json
from collections.abc import Iterator
from pathlib import Path

from capjax.data.record import RecordCaption
from capjax.files import write_bytes, write_text
from data_prep.readers.item import Item


def add_videos(parser):
    """Adds `--videos` and `--all-videos` of readers of generated videos."""
    parser.add_argument("--videos", type=Path, metavar="DIR",
                        help="also write the videos of val and test as files, and their captions.jsonl")  # fmt: skip
    parser.add_argument("--all-videos", action="store_true", help="with --videos: those of train too")


def write_videos(items: Iterator[Item], folder: Path | None, all_splits: bool) -> Iterator[Item]:
    """Yields the items, and writes the videos of val and test (or of all splits) and a captions.jsonl.

    Each line of it is {"video": ..., "split": ..., "captions": [{"text", "lang"}, ...]}; a caption of an event also has
    `start`, `end` and `set`, a summary `kind`.
    """
    if folder is None:
        yield from items
        return
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for item in items:
        if all_splits or item.split != "train":
            assert not isinstance(item.media, Path)  # it is generated
            write_bytes(folder / item.name, item.media())
            row = {"video": item.name, "split": item.split, "captions": [_as_row(caption) for caption in item.captions]}
            rows.append(json.dumps(row, ensure_ascii=False) + "\n")
        yield item
    write_text(folder / "captions.jsonl", "".join(rows))


def _as_row(caption: RecordCaption) -> dict:
    row: dict[str, object] = {"text": caption.text, "lang": caption.lang}
    if caption.kind == "event":
        return row | {"start": caption.start, "end": caption.end, "set": caption.set}
    return row if caption.kind == "caption" else row | {"kind": caption.kind}
