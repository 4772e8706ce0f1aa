"""ActivityNet Captions: several events per video, each with its times and a sentence.

    DIR/train.json   DIR/val_1.json   DIR/val_2.json         v_QOlSCBRmfWY.mp4 anywhere in DIR or --videos

    {"v_QOlSCBRmfWY": {"duration": 82.73, "timestamps": [[0.83, 19.86], ...], "sentences": ["A young woman ...", ...]}}

The name of a file gives its split. Several files of one split are annotation sets of the same videos, in the order of
their names: val_1 is set 0 and val_2 is set 1. The lists of ids that are downloaded with them are not read. A video may
be named `v_QOlSCBRmfWY` or `QOlSCBRmfWY`, with any extension; missing videos are listed in report.json. An event that
ends after the video is cut at the end of the video.
"""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

from capjax.metrics.json_types import type_mismatch
from data_prep.readers.events import EventSet, event_item
from data_prep.readers.files import at, load_json, repeated_ids, shown
from data_prep.readers.item import InputError, ItemStream, Problem, standard_split
from data_prep.readers.registry import READERS
from data_prep.readers.videos import Videos, add_video_arguments, find_annotations

PATTERN = r"(train|val|test)(_\d+)?\.json"


class _Video(TypedDict):
    duration: Any
    timestamps: list
    sentences: list


def add_arguments(parser):
    add_video_arguments(parser, "the folder with train.json, val_1.json and val_2.json")


@READERS.register("activitynet")
def read(
    input_dir: Path, annotations: Sequence[Path] = (), videos: Path | None = None, lang: str = "en",
) -> ItemStream:  # fmt: skip
    """Yields the videos of each split, train first.

    Raises:
      InputError: annotations are missing or broken, a file name has no split, or the folder of videos is missing.
    """
    paths = find_annotations(input_dir, annotations, PATTERN, "train.json, val_1.json, val_2.json")
    yield from read_files(paths, input_dir, Videos(videos or input_dir), lang)


def read_files(paths: Sequence[Path], input_dir: Path, videos: Videos, lang: str) -> ItemStream:
    """Yields the videos of files of this format, split by split."""
    by_split: dict[str, list[Path]] = {}
    for path in paths:
        by_split.setdefault(split_of(path), []).append(path)
    for split in sorted(by_split, key=("train", "val", "test").index):
        sets: dict[str, list[EventSet]] = {}
        for number, path in enumerate(by_split[split]):
            duplicate_keys: list[str] = []
            data = load_json(path, duplicate_keys=duplicate_keys)
            yield from repeated_ids(duplicate_keys, data, shown(path, input_dir))
            for id, row in data.items():
                events = event_set(row, at(f"{shown(path, input_dir)} {id}"), id, split, number)
                if isinstance(events, Problem):
                    yield events
                else:
                    sets.setdefault(id, []).append(events)
        for id, event_sets in sets.items():
            yield from event_item(id, _names(id), split, event_sets, videos, lang)


def split_of(path: Path) -> str:
    """The split in a file's name: `val_1.json` belongs to val.

    Raises:
      InputError: the name has no split, or several.
    """
    splits = {split for part in re.split(r"[^A-Za-z]+", path.stem) if (split := standard_split(part))}
    if len(splits) != 1:
        raise InputError(f"{path}: the name should contain the split, such as train.json or val_1.json")
    return splits.pop()


def event_set(row: Any, where: str, id: str, split: str, number: int) -> EventSet | Problem:
    """The annotations of one video, or a Problem with the entry as a whole."""
    bad = partial(Problem, "malformed", where=where, id=id, costs="video", split=split)
    if message := type_mismatch(row, _Video):
        return bad(message)
    times, sentences = row["timestamps"], row["sentences"]
    if len(times) != len(sentences):
        return bad(f"timestamps and sentences should have the same length, not {len(times)} and {len(sentences)}")
    return EventSet(list(zip(times, sentences, strict=True)), where, row["duration"], number)


def _names(id: str) -> tuple[str, str]:
    return (id, id.removeprefix("v_")) if id.startswith("v_") else (id, f"v_{id}")
