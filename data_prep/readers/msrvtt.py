"""MSR-VTT: clips of 10 to 30 s, each with 20 captions.

    DIR/train_val_videodatainfo.json   DIR/test_videodatainfo.json       video0.mp4 anywhere in DIR or --videos

    {"videos": [{"video_id": "video0", "split": "train", "url": "https://www.youtube.com/watch?v=9lZi22qLlEo",
        "start time": 137.72, "end time": 149.44, ...}, ...],
     "sentences": [{"video_id": "video0", "caption": "a car is shown", "sen_id": 0}, ...]}

All files *videodatainfo*.json are read, or MSRVTT_data.json. A file named by the clip's id, `video0`, is the clip. A
file named by the YouTube id, `9lZi22qLlEo`, is the whole video, of which the clip is taken. Missing clips are listed in
report.json. For translations into another language set --lang.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from capjax.data.record import RecordCaption
from capjax.metrics.json_types import Text, type_mismatch
from capjax.metrics.messages import show_value
from data_prep.readers.files import load_json, numbered, rows, shown
from data_prep.readers.item import Item, ItemStream, Problem, interval, make_caption, parse_split, without_problems
from data_prep.readers.keys import read_field
from data_prep.readers.registry import READERS
from data_prep.readers.videos import Videos, add_video_arguments, find_annotations

_PATTERN = r".*videodatainfo.*\.json|MSRVTT_data\.json"


class _Row(TypedDict):
    video_id: Text


def add_arguments(parser):
    add_video_arguments(parser, "the folder with train_val_videodatainfo.json and test_videodatainfo.json")


@READERS.register("msrvtt")
def read(
    input_dir: Path, annotations: Sequence[Path] = (), videos: Path | None = None, lang: str = "en",
) -> ItemStream:  # fmt: skip
    """Yields the clips of every file, in order.

    Raises:
      InputError: annotations are missing or broken, or the folder of videos is missing.
    """
    usual = "train_val_videodatainfo.json, test_videodatainfo.json"
    paths = find_annotations(input_dir, annotations, _PATTERN, usual)
    video_files = Videos(videos or input_dir)
    for path in paths:
        yield from _read_file(path, shown(path, input_dir), video_files, lang)


def _read_file(path: Path, where: str, videos: Videos, lang: str) -> ItemStream:
    data = load_json(path)
    clips = rows(data, "videos", path)
    video_ids = {row["video_id"] for row in clips if not type_mismatch(row, _Row)}
    captions: dict[str, list[RecordCaption | Problem]] = defaultdict(list)
    for location, row in numbered(rows(data, "sentences", path), f"{where} sentences"):
        if message := type_mismatch(row, _Row):
            yield Problem("malformed", message, location, costs="caption")
        elif (id := row["video_id"]) not in video_ids:
            message = f"no video of the file has the id {show_value(id)}"
            yield Problem("caption_without_video", message, location, id, costs="caption")
        else:
            captions[id].append(make_caption(read_field(row, "caption"), lang, location, id))
    locations: dict[str, str] = {}
    for location, row in numbered(clips, f"{where} videos"):
        if message := type_mismatch(row, _Row):
            yield Problem("malformed", message, location, costs="video")
        elif (first := locations.setdefault(row["video_id"], location)) != location:
            message = f"the id {row['video_id']!r} is already used ({first})"
            yield Problem("duplicate_id", message, location, row["video_id"], costs="video")
        else:
            yield from _clip(row, location, captions, videos)


def _clip(row: dict, where: str, captions: dict[str, list[RecordCaption | Problem]], videos: Videos) -> ItemStream:
    id = row["video_id"]
    split = parse_split(row.get("split"), where, id, "video")
    if isinstance(split, Problem):
        yield split
        return
    url = row["url"] if isinstance(row.get("url"), str) else ""
    youtube = re.search(r"(?:[?&]v=|youtu\.be/|/embed/|/shorts/)([\w-]{11})(?![\w-])", url, re.ASCII)
    media = videos.find(id, [id, youtube[1]] if youtube else [id], where, split)
    if isinstance(media, Problem):
        yield media
        return
    clip = None
    if media.stem != id:
        times = [read_field(row, "start"), read_field(row, "end")]
        if (clip := interval(times)) is None:
            message = f"start time and end time should be seconds with 0 <= start < end, not {show_value(times)}"
            yield Problem("bad_times", message, where, id, "video", split)
            return
    sentences = yield from without_problems(captions[id])
    yield Item(id, media, split, tuple(sentences), clip=clip, where=where, name=id, video=True)
