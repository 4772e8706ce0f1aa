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

from capjax.data.record import RecordCaption
from data_prep.readers.files import load_json, rows, shown
from data_prep.readers.item import Item, ItemStream, Problem, interval, make_caption, parse_split, without_problems
from data_prep.readers.registry import READERS
from data_prep.readers.videos import Videos, add_video_arguments, find_annotations

_PATTERN = r".*videodatainfo.*\.json|MSRVTT_data\.json"


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
    video_ids = {row["video_id"] for row in clips if isinstance(row, dict) and isinstance(row.get("video_id"), str)}
    captions: dict[str, list[RecordCaption | Problem]] = defaultdict(list)
    for number, row in enumerate(rows(data, "sentences", path)):
        location = f"{where} sentences[{number}]"
        id = row.get("video_id") if isinstance(row, dict) else None
        if not isinstance(id, str):
            yield Problem("malformed", "should be an object with video_id and caption", location, costs="caption")
        elif id not in video_ids:
            message = f"no video of the file has the id {id!r:.80}"
            yield Problem("caption_without_video", message, location, id, costs="caption")
        else:
            captions[id].append(make_caption(row.get("caption"), lang, location, id))
    for number, row in enumerate(clips):
        yield from _clip(row, f"{where} videos[{number}]", captions, videos)


def _clip(row: object, where: str, captions: dict[str, list[RecordCaption | Problem]], videos: Videos) -> ItemStream:
    if not isinstance(row, dict) or not isinstance(id := row.get("video_id"), str):
        yield Problem("malformed", "should be an object with video_id and split", where, costs="video")
        return
    split = parse_split(row.get("split"), where, id, "video")
    if isinstance(split, Problem):
        yield split
        return
    youtube = re.search(r"(?:[?&]v=|youtu\.be/|/embed/|/shorts/)([\w-]{11})(?![\w-])", str(row.get("url")), re.ASCII)
    media = videos.find(id, [id, youtube[1]] if youtube else [id], where, split)
    if isinstance(media, Problem):
        yield media
        return
    clip = None
    if media.stem != id:
        times = [row.get("start time"), row.get("end time")]
        if (clip := interval(times)) is None:
            message = f"start time and end time should be seconds with 0 <= start < end, not {times!r:.80}"
            yield Problem("bad_times", message, where, id, "video", split)
            return
    sentences = yield from without_problems(captions[id])
    yield Item(id, media, split, tuple(sentences), clip=clip, where=where, name=id, video=True)
