"""YouCook2: cooking videos, each step with its times and an instruction.

    DIR/youcookii_annotations_trainval.json       GLd3aX16zBg.mp4 anywhere in DIR or --videos

    {"database": {"GLd3aX16zBg": {"duration": 241.62, "subset": "training", "recipe_type": "113",
        "annotations": [{"segment": [90, 102], "id": 0, "sentence": "spread margarine on ..."}, ...]}}}

or train.json and val.json in the format of ActivityNet Captions (see `activitynet --help`), with ids that begin with
`v_`. If both exist, choose with --annotations. A video may be named `GLd3aX16zBg` or `v_GLd3aX16zBg`, with any
extension; missing videos are listed in report.json.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from capjax.metrics.json_types import type_mismatch
from data_prep.readers import activitynet
from data_prep.readers.events import EventSet, event_item
from data_prep.readers.files import at, load_json, repeated_ids, shown
from data_prep.readers.item import InputError, ItemStream, Problem, parse_split
from data_prep.readers.keys import read_field
from data_prep.readers.registry import READERS
from data_prep.readers.videos import Videos, add_video_arguments, find_annotations

_NATIVE = r"youcookii_annotations.*\.json"


class _Video(TypedDict):
    duration: Any
    annotations: list


def add_arguments(parser):
    add_video_arguments(parser, "the folder with youcookii_annotations_trainval.json, or with train.json and val.json")


@READERS.register("youcook2")
def read(
    input_dir: Path, annotations: Sequence[Path] = (), videos: Path | None = None, lang: str = "en",
) -> ItemStream:  # fmt: skip
    """Yields the videos, in order.

    Raises:
      InputError: annotations are missing, broken or in both formats, or the folder of videos is missing.
    """
    usual = "youcookii_annotations_trainval.json, or train.json and val.json"
    paths = find_annotations(input_dir, annotations, f"{_NATIVE}|{activitynet.PATTERN}", usual)
    duplicate_keys: list[str] = []
    native: dict[Path, dict] = {}
    for path in paths:
        data = load_json(path, duplicate_keys=duplicate_keys)
        if "database" in data:
            native[path] = data
    if not native:
        yield from activitynet.read_files(paths, input_dir, Videos(videos or input_dir), lang)
        return
    if len(native) < len(paths):
        listed = ", ".join(path.name for path in paths)
        raise InputError(f"{input_dir}: the same videos in two formats ({listed}); choose with --annotations")
    video_files = Videos(videos or input_dir)
    for path, data in native.items():
        if message := type_mismatch(data["database"], dict, f"{path}: database"):
            raise InputError(message)
        where = shown(path, input_dir)
        yield from repeated_ids(duplicate_keys, data["database"], where)
        for id, row in data["database"].items():
            yield from _video(id, row, at(f"{where} {id}"), video_files, lang)


def _video(id: str, row: Any, where: str, videos: Videos, lang: str) -> ItemStream:
    if message := type_mismatch(row, _Video):
        yield Problem("malformed", message, where, id, "video")
        return
    split = parse_split(row.get("subset"), where, id, "video")
    if isinstance(split, Problem):
        yield split
        return
    steps = [step if isinstance(step, dict) else {} for step in row["annotations"]]
    steps_of_video = EventSet(
        [(step.get("segment"), read_field(step, "caption")) for step in steps], where, row["duration"]
    )
    yield from event_item(id, (id, f"v_{id}"), split, [steps_of_video], videos, lang)
