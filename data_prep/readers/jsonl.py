"""Your own photos and videos, with captions in JSON lines: one object per photo or video.

    {"image": "cats/1.jpg", "captions": ["A cat on a chair.", {"text": "Eine Katze.", "lang": "de"}], "split": "train"}
    {"video": "a.mp4", "captions": ["A cat jumps.", {"text": "A cat crouches.", "start": 0.5, "end": 3.2},
        {"text": "First a cat crouches, then it jumps.", "kind": "summary"}]}

    image     path of the photo, relative to --images (default: the folder of the JSON lines)
    video     or path of the video, relative to --videos (default: the same folder)
    captions  a list of texts, or of objects with text and lang; or `caption`, a single one
    lang      language of captions without one (default: --lang)
    split     train, val or test; without it, a hash of the name in `image` or `video` assigns one
    id        unique in the dataset (default: the name in `image` or `video`, and the clip)
    labels    objects in the photo: a list of {"name": "cat", "box": [x0, y0, x1, y1]}; the box is in fractions of the
              photo's width and height, and optional

A caption of a video may also have

    start, end  seconds from the start of the video (or clip): the caption describes this event
    set         number of the annotation set, from 0; each set is the annotation of one person
    kind        caption (the default), event (with start and end) or summary

and the line

    clip        [start, end] in seconds: the part of the file that this line describes
    transcript  speech: a list of {"text": ..., "start": ..., "end": ..., "lang": ...}, with times like those of events

Other keys are ignored, but a probable misspelling (`captoins`) is bad input. A missing photo is bad input too; missing
videos are listed in report.json and do not count as bad.
"""

import difflib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from capjax.data.photo import MediaError, check_file
from capjax.data.record import Label, RecordCaption, TranscriptSegment
from data_prep.readers.files import DEFAULT_FRACTIONS, Photos, add_fractions, json_lines, shown, split_by_hash
from data_prep.readers.item import (
    Item,
    ItemStream,
    Problem,
    interval,
    is_text,
    make_caption,
    parse_split,
    without_problems,
)
from data_prep.readers.registry import READERS, add_input
from data_prep.readers.table import locate

_KEYS = ("image", "captions", "caption", "lang", "split", "id", "labels")
_VIDEO_KEYS = ("video", "clip", "transcript", *_KEYS[1:])
_CAPTION_KEYS = ("text", "lang", "start", "end", "set", "kind")


def add_arguments(parser):
    add_input(parser, "the folder with the photos or videos and a captions.jsonl, or that file itself")
    parser.add_argument("--videos", type=Path, metavar="DIR", help="folder of the videos, if it is another")
    parser.add_argument("--captions", type=Path, metavar="FILE", help="the JSON lines, if they are elsewhere")
    parser.add_argument("--lang", default="en", help="language of captions without one (default: en)")
    add_fractions(parser)


@READERS.register("jsonl")
def read(
    input_dir: Path, images: Path | None = None, videos: Path | None = None, captions: Path | None = None,
    lang: str = "en", fractions: Sequence[float] = DEFAULT_FRACTIONS,
) -> ItemStream:  # fmt: skip
    """Yields the photos and videos, in order.

    Raises:
      InputError: a file or folder does not exist.
    """
    path, folder = locate(input_dir, captions, ["captions.jsonl", "*.jsonl"])
    folders, where = (Photos(images or folder), Photos(videos or folder, "video")), shown(path, folder)
    for location, row in json_lines(path, where, "photo"):
        if isinstance(row, Problem):
            yield row
        else:
            yield from _item(row, location, folders, lang, fractions)


def _item(row: object, where: str, folders: tuple[Photos, Photos], lang: str, fractions: Sequence[float]) -> ItemStream:
    is_video = isinstance(row, dict) and "video" in row and "image" not in row
    media, costs = folders[is_video], folders[is_video].what
    bad = partial(Problem, "malformed", where=where, costs=costs)
    if not isinstance(row, dict):
        yield bad(f"should be an object, not {type(row).__name__}")
        return
    if message := _misspelled_key(row, _VIDEO_KEYS if is_video else _KEYS):
        yield bad(message)
        return
    name = row.get("video" if is_video else "image")
    path = media.path(name, where)
    if isinstance(path, Problem):
        yield path
        return
    name = str(name)  # `Photos.path` has checked that it is text
    clip = interval(row["clip"]) if is_video and row.get("clip") is not None else None
    id = row.get("id", f"{name}@{clip[0]:g}-{clip[1]:g}" if clip else name)
    if not isinstance(id, (str, int)) or not str(id).strip():
        yield bad(f"id should be text or a number, not {id!r:.80}")
        return
    id = str(id)
    split = parse_split(row["split"], where, id, costs) if row.get("split") else split_by_hash(name, fractions)
    labels = _labels(row.get("labels", []))
    lang = str(row.get("lang") or lang)
    transcript = _transcript(row.get("transcript", []), lang) if is_video else ()
    sentences = row.get("captions", [row["caption"]] if "caption" in row else [])
    bad = partial(bad, id=id)
    if isinstance(split, Problem):
        yield split
    elif is_video and row.get("clip") is not None and clip is None:
        yield bad(f"clip should be [start, end] in seconds with 0 <= start < end, not {row['clip']!r:.80}")
    elif labels is None:
        yield bad('labels should be a list of {"name": ..., "box": [x0, y0, x1, y1]}, boxes in fractions from 0 to 1')
    elif transcript is None:
        yield bad('transcript should be a list of {"text": ..., "start": ..., "end": ...}, with 0 <= start < end')
    elif not isinstance(sentences, list):
        yield bad(f"captions should be a list, not {type(sentences).__name__}")
    elif is_video and (why := _absent(path)):
        yield Problem("missing_video", why, where, id, "absent", split)
    else:
        captions = yield from without_problems(_caption(each, lang, where, id, is_video) for each in sentences)
        yield Item(id, path, split, tuple(captions), labels, clip, transcript, where=where, name=name, video=is_video)


def _absent(path: Path) -> str:
    """The reason why a video is absent; empty if its file exists."""
    try:
        check_file(path, "video", limit=None)
    except MediaError as error:
        return str(error) if error.kind == "missing_video" else ""
    return ""


def _misspelled_key(row: dict, keys: Sequence[str]) -> str:
    """A message about a key that is probably misspelled; empty if there is none."""
    for key in row.keys() - set(keys):
        if close := difflib.get_close_matches(key, keys, n=1, cutoff=0.8):
            return f"unknown key {key!r}; did you mean {close[0]!r}?"
    return ""


def _caption(sentence: object, lang: str, where: str, id: str, is_video: bool) -> RecordCaption | Problem:
    row = sentence if isinstance(sentence, dict) else {"text": sentence}
    make = partial(make_caption, row.get("text"), str(row.get("lang") or lang), where, id)
    bad = partial(Problem, "malformed", where=where, id=id, costs="caption")
    if not is_video:
        return make()
    if message := _misspelled_key(row, _CAPTION_KEYS):
        return bad(message)
    has_times = row.get("start") is not None or row.get("end") is not None
    kind, set = row.get("kind", "event" if has_times else "caption"), row.get("set", 0)
    if not isinstance(kind, str) or kind not in (("event",) if has_times else ("caption", "summary")):
        return bad(f"kind should be event with a start and end, else caption or summary; not {kind!r:.80}")
    if isinstance(set, bool) or not isinstance(set, int) or not 0 <= set < 2**31:
        return bad(f"set should be a whole number from 0, not {set!r:.80}")
    times = (row.get("start"), row.get("end")) if has_times else None
    return make(times=times, set=set, kind=kind)


def _labels(rows: object) -> tuple[Label, ...] | None:
    """The labels, or None if they do not have the documented form."""
    labels = []
    for row in rows if isinstance(rows, list) else [None]:
        if not isinstance(row, dict) or not isinstance(row.get("name"), str) or not is_text(row["name"]):
            return None
        box = row.get("box")
        if box is not None:
            numbers = isinstance(box, list) and all(isinstance(v, (int, float)) for v in box)
            if not numbers or len(box) != 4 or not all(0 <= v <= 1 for v in box) or box[0] > box[2] or box[1] > box[3]:
                return None
            box = tuple(float(v) for v in box)
        labels.append(Label(row["name"], box))
    return tuple(labels)


def _transcript(rows: object, lang: str) -> tuple[TranscriptSegment, ...] | None:
    """The transcript, or None if it does not have the documented form."""
    speech = []
    for row in rows if isinstance(rows, list) else [None]:
        row = row if isinstance(row, dict) else {}
        times = row.get("start"), row.get("end")
        sentence = make_caption(row.get("text"), str(row.get("lang") or lang), "", times=times)
        if isinstance(sentence, Problem) or sentence.start is None or sentence.end is None:
            return None
        speech.append(TranscriptSegment(sentence.text, sentence.start, sentence.end, sentence.lang))
    return tuple(speech)
