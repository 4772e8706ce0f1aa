"""ViTT (Video Timeline Tags): sections of instructional videos, each with its start and a tag.

    DIR/ViTT-annotations.json   DIR/train_id.txt   DIR/dev_id.txt   DIR/test_id.txt       anywhere in DIR: FmTp.mp4

    {"id": "FmTp", "annotations": [{"timestamp": 260, "tag": "Opening"}, {"timestamp": 16000, "tag": "..."}, ...]}

One object per line; a section starts at `timestamp` (milliseconds) and ends where the next starts, the last at the end
of the video. Several lines of one id are annotation sets of that video. The ids are those of YouTube-8M; with an
`id_mapping.json` ({"FmTp": "YouTube id"}) videos may also be named by their YouTube ids. Videos in none of the lists of
ids are left out; without lists a hash of the id assigns the split.
https://github.com/google-research-datasets/Video-Timeline-Tags-ViTT
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

from capjax.metrics.json_types import type_mismatch
from data_prep.readers.events import EventSet, event_item
from data_prep.readers.files import DEFAULT_FRACTIONS, add_fractions, json_lines, load_json, shown, split_by_hash
from data_prep.readers.item import Item, ItemStream, Problem, interval
from data_prep.readers.registry import READERS
from data_prep.readers.tokens import read_lists
from data_prep.readers.values import Id, id_text
from data_prep.readers.videos import Videos, add_video_arguments, find_annotations

_LISTS = {"train": "train_id.txt", "val": "dev_id.txt", "test": "test_id.txt"}


class _Line(TypedDict):
    id: Id
    annotations: list


def add_arguments(parser):
    add_video_arguments(parser, "the folder with ViTT-annotations.json and the lists of ids")
    add_fractions(parser)


@READERS.register("vitt")
def read(
    input_dir: Path, annotations: Sequence[Path] = (), videos: Path | None = None, lang: str = "en",
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
) -> ItemStream:  # fmt: skip
    """Yields the videos, in the order of their first lines.

    Raises:
      InputError: annotations or the folder of videos are missing, or a list or the mapping is broken.
    """
    paths = find_annotations(input_dir, annotations, r"ViTT-annotations\.jsonl?", "ViTT-annotations.json")
    video_files = Videos(videos or input_dir)
    names = load_json(input_dir / "id_mapping.json") if (input_dir / "id_mapping.json").is_file() else {}
    sets: dict[str, list[EventSet]] = {}
    for path in paths:
        for id, sections in _lines(path, shown(path, input_dir)):
            if isinstance(sections, Problem):
                yield sections
            else:
                sets.setdefault(id, []).append(sections)
    lists = {split: input_dir / name for split, name in _LISTS.items() if (input_dir / name).is_file()}
    splits = yield from read_lists(lists, input_dir, costs="video")
    for id, event_sets in sets.items():
        split = splits.get(id, ("", ""))[0] if lists else split_by_hash(id, fractions)
        if not split:
            yield Item(id, video_files.folder / id, "", (), where=event_sets[0].where, name=id, video=True)
            continue
        file_names = [id, names[id]] if isinstance(names.get(id), str) else [id]
        numbered = [EventSet(each.rows, each.where, set=number) for number, each in enumerate(event_sets)]
        yield from event_item(id, file_names, split, numbered, video_files, lang)
    for id, (split, location) in splits.items():
        if id not in sets:
            yield Problem(
                "no_caption", f"{id} is listed for {split} but has no annotation", location, id, "video", split
            )


def _lines(path: Path, where: str) -> Iterator[tuple[str, EventSet | Problem]]:
    row: Any
    for location, row in json_lines(path, where, "video"):
        if isinstance(row, Problem):
            yield "", row
            continue
        if message := type_mismatch(row, _Line):
            yield "", Problem("malformed", message, location, costs="video")
        else:
            yield id_text(row["id"]), EventSet(list(_sections(row["annotations"])), location)


def _sections(rows: list) -> Iterator[tuple[object, object]]:
    """Yields (times in seconds, tag) in order of start. A section whose start is not a number keeps its times, which
    are
    then reported as invalid."""
    valid, invalid = [], []
    for row in rows:
        row = row if isinstance(row, dict) else {}
        start = row.get("timestamp")
        if span := (0.0, 0.0) if start == 0 else interval([0, start]):
            valid.append((span[1] / 1000, row.get("tag")))
        else:
            invalid.append(([start], row.get("tag")))
    valid.sort(key=lambda section: section[0])
    ends = [*(start for start, _ in valid), float("inf")][1 : len(valid) + 1]
    yield from (((start, end), tag) for (start, tag), end in zip(valid, ends, strict=True))
    yield from invalid
