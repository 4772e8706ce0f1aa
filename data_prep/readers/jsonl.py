"""Your own photos and videos, with captions in JSON lines: one object per photo or video, or per caption.

    {"image": "cats/1.jpg", "captions": ["A cat on a chair.", {"text": "Eine Katze.", "lang": "de"}], "split": "train"}
    {"video": "a.mp4", "captions": ["A cat jumps.", {"text": "A cat crouches.", "start": 0.5, "end": 3.2},
        {"text": "First a cat crouches, then it jumps.", "kind": "summary"}]}
    {"file_name": "cats/1.jpg", "text": "A cat on a chair."}

    image     path of the photo, relative to --images (default: the folder of the JSON lines)
    video     or path of the video, relative to --videos (default: the same folder)
    file_name or path of either, as in metadata.jsonl of Hugging Face; also `filename`, `file`, `path`
    captions  a list of texts, or of objects with text and lang; or `caption` (or `text`, `sentence`), a single one
    lang      (or `language`) language of captions without one (default: --lang)
    origin    in the object of a caption: human (the default), machine-translated or generated
    split     train, val or test; without it, a hash of the name of the photo or video assigns one
    id        unique in the dataset (default: the name of the photo or video, and the clip)
    labels    objects in the photo: a list of {"name": "cat", "box": [x0, y0, x1, y1]}; the box is in fractions of the
              photo's width and height, and optional

Several lines of one photo or clip are one item with all their captions. A caption of a video may also have

    start, end  seconds from the start of the video (or clip): the caption describes this event; also in the line of a
                single caption
    set         number of the annotation set, from 0; each set is the annotation of one person
    kind        caption (the default), event (with start and end) or summary

and the line

    clip        [start, end] in seconds: the part of the file that this line describes
    transcript  speech: a list of {"text": ..., "start": ..., "end": ..., "lang": ...}, with times like those of events

A null is like a missing key. Other keys are ignored; those that look meaningful are listed in report.json, and a
probable misspelling (`captoins`) is bad input. A missing photo is bad input too; missing videos are listed in
report.json and do not count as bad. If there are no JSON lines in the folder, but a metadata.jsonl in its folders
`train`, `validation` or `test`, the folders are the splits. --captions may be a folder that `capjax bulk` wrote, whose
shards are read together: the media are in --input.
"""

import difflib
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Annotated, Any, NotRequired, TypedDict

from capjax.data.media_formats import KINDS_BY_SUFFIX
from capjax.data.photo import MediaError, check_file
from capjax.data.record import ORIGINS, Label, RecordCaption, TranscriptSegment
from capjax.metrics.json_types import Rule, Text, between, type_mismatch
from capjax.metrics.messages import show_value
from data_prep.readers.files import DEFAULT_FRACTIONS, add_fractions, json_lines, shown, split_by_hash
from data_prep.readers.item import (
    InputError,
    Item,
    ItemStream,
    Problem,
    interval,
    make_caption,
    parse_split,
    standard_split,
    without_problems,
)
from data_prep.readers.keys import IgnoredKeys, is_name, read_fields, words_of
from data_prep.readers.media_folder import MediaFolder
from data_prep.readers.registry import READERS, add_input
from data_prep.readers.table import locate
from data_prep.readers.values import Id, id_text, is_box

_CAPTION_FIELDS = ("text", "lang", "origin")
_VIDEO_CAPTION_FIELDS = (*_CAPTION_FIELDS, "start", "end", "set", "kind")
_SEGMENT_FIELDS = ("text", "lang", "start", "end")
_FIELDS = ("image", "file", "captions", "caption", "lang", "split", "id", "labels")
_VIDEO_FIELDS = ("video", *_FIELDS[1:], "clip", "transcript", "start", "end")
# Similar keys are misspellings.
_KEYS = ("image", "captions", "caption", "lang", "split", "id", "labels")
_VIDEO_KEYS = ("video", "clip", "transcript", *_KEYS[1:])

_SetNumber = Annotated[int, between(0, 2**31 - 1)]


def _is_box(box: Any) -> bool:
    return is_box(box) and min(box) >= 0 and max(box) <= 1 and box[0] <= box[2] and box[1] <= box[3]


class _Label(TypedDict):
    name: Text
    box: NotRequired[Annotated[Any, Rule("[x0, y0, x1, y1] in fractions from 0 to 1", _is_box)] | None]


@dataclass(frozen=True, slots=True)
class _Source:
    """A file of JSON lines with the folders of its media.

    Attributes:
      where: the file in locations.
      split: split of lines without one; if it is empty, a hash assigns their splits.
      prefix: what precedes the names of media.
    """

    path: Path
    where: str
    photos: MediaFolder
    videos: MediaFolder
    lang: str
    fractions: Sequence[float]
    split: str
    prefix: str
    ignored: IgnoredKeys


def add_arguments(parser):
    add_input(parser, "the folder with the photos or videos and a captions.jsonl, or that file itself")
    parser.add_argument("--videos", type=Path, metavar="DIR", help="folder of the videos, if it is another")
    parser.add_argument(
        "--captions", type=Path, metavar="FILE", help="the JSON lines, if they are elsewhere; or a folder of shards"
    )
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
    for path, folder, split in _files(input_dir, captions):
        prefix = f"{path.parent.name}/" if split else ""
        source = _Source(
            path, shown(path, folder), MediaFolder(images or folder), MediaFolder(videos or folder, "video"),
            lang, fractions, split, prefix, IgnoredKeys(),
        )  # fmt: skip
        for location, row in json_lines(path, source.where, "photo"):
            if isinstance(row, Problem):
                yield row
            else:
                yield from _item(row, location, source)
        yield from source.ignored.problems(tuple(dict.fromkeys((*_KEYS, *_VIDEO_KEYS, *_VIDEO_CAPTION_FIELDS))))


def _files(input_dir: Path, captions: Path | None) -> list[tuple[Path, Path, str]]:
    """(file of JSON lines, folder of its media, split) of each file; without folders of splits there is one."""
    if captions is None and input_dir.is_dir() and not any(input_dir.glob("*.jsonl")):
        files = [(path, standard_split(path.parent.name)) for path in sorted(input_dir.glob("*/metadata.jsonl"))]
        if by_split := [(path, input_dir, split) for path, split in files if split]:
            return sorted(by_split, key=lambda file: ("train", "val", "test").index(file[2]))
    if captions is not None and captions.is_dir():
        shards = sorted(captions.glob("captions-*-of-*.jsonl"))
        if not shards or len(shards) != int(shards[0].stem.rpartition("-")[2]):
            raise InputError(f"{captions}: not all shards of capjax bulk are in this folder; found {len(shards)}")
        return [(path, input_dir, "") for path in shards]
    return [(*locate(input_dir, captions, ["captions.jsonl", "*.jsonl"]), "")]


def _item(row: Any, where: str, source: _Source) -> ItemStream:
    if message := type_mismatch(row, dict):
        yield Problem("malformed", message, where)
        return
    is_video = _is_video(row)
    media = source.videos if is_video else source.photos
    bad = partial(Problem, "malformed", where=where, costs=media.what)
    if message := _misspelled_key(row, _VIDEO_KEYS if is_video else _KEYS):
        yield bad(message)
        return
    fields, other_keys = read_fields(row, _VIDEO_FIELDS if is_video else _FIELDS)
    source.ignored.add(other_keys, where)
    name = fields.get("video" if is_video else "image", fields.get("file"))
    if source.prefix and isinstance(name, str) and not name.startswith("/"):
        name = source.prefix + name
    path = media.path(name, where)
    if isinstance(path, Problem):
        yield path
        return
    name = str(name)  # `MediaFolder.path` has checked that it is text
    clip = interval(fields.get("clip"))
    id = fields.get("id", f"{name}@{clip[0]:g}-{clip[1]:g}" if clip else name)
    if message := type_mismatch(id, Id, "id"):
        yield bad(message)
        return
    bad = partial(bad, id=(id := id_text(id)))
    split = _split(fields, name, where, id, media.what, source)
    labels = fields.get("labels", [])
    lang = _lang(fields, source.lang)
    transcript = _transcript(fields.get("transcript", []), lang)
    sentences = _sentences(fields)
    if "captions" in fields:
        source.ignored.add([key for key in ("caption", "start", "end") if key in fields], where)
    if isinstance(split, Problem):
        yield split
    elif "clip" in fields and clip is None:
        yield bad(f"clip should be [start, end] in seconds with 0 <= start < end, not {show_value(fields['clip'])}")
    elif message := type_mismatch(labels, list[_Label], "labels"):
        yield bad(message)
    elif transcript is None:
        yield bad('transcript should be a list of {"text": ..., "start": ..., "end": ...}, with 0 <= start < end')
    elif message := type_mismatch(sentences, list, "captions"):
        yield bad(message)
    elif is_video and (why := _absent(path)):
        yield Problem("missing_video", why, where, id, "absent", split)
    else:
        captions = yield from without_problems(
            _caption(each, lang, where, id, is_video, source.ignored) for each in sentences
        )
        objects = tuple(Label(row["name"], row.get("box") and tuple(map(float, row["box"]))) for row in labels)
        hashed = not (fields.get("split") or source.split)
        yield Item(
            id, path, split, tuple(captions), objects, clip, transcript, where, name, video=is_video, hashed=hashed
        )  # fmt: skip


def _is_video(row: Mapping) -> bool:
    """Whether a line names a video: by its key, else by the extension of the file."""
    fields, _ = read_fields(row, ("image", "video", "file"))
    if "image" in fields or "video" in fields:
        return "image" not in fields
    name = fields.get("file")
    return isinstance(name, str) and KINDS_BY_SUFFIX.get(PurePath(name).suffix.lower()) == "video"


def _split(fields: dict, name: str, where: str, id: str, costs: str, source: _Source) -> str | Problem:
    if split := fields.get("split") or source.split:
        return parse_split(split, where, id, costs)
    return split_by_hash(name, source.fractions)


def _lang(fields: dict, default: object) -> object:
    lang = fields.get("lang", "")
    return default if lang == "" else lang


def _sentences(fields: dict) -> Any:
    """The captions of a line. The times of a line with a single caption are those of the caption."""
    if "captions" in fields or "caption" not in fields:
        return fields.get("captions", [])
    sentence = fields["caption"]
    if isinstance(sentence, list):
        return sentence
    caption = sentence if isinstance(sentence, Mapping) else {"text": sentence}
    return [{key: fields[key] for key in ("start", "end") if key in fields} | dict(caption)]


def _absent(path: Path) -> str:
    """The reason why a video is absent; empty if its file exists."""
    try:
        check_file(path, "video", limit=None)
    except MediaError as error:
        return str(error) if error.kind == "missing_video" else ""
    return ""


def _misspelled_key(row: Mapping, keys: tuple[str, ...]) -> str:
    """A message about a key that is probably misspelled; empty if there is none."""
    for key in row:
        nearest = "" if key in keys or is_name(key) else _similar_key(key, keys)
        if nearest and nearest not in words_of(key):  # `caption_de` is another key
            return f"unknown key {key!r}; did you mean {nearest!r}?"
    return ""


@functools.lru_cache(maxsize=4096)
def _similar_key(key: str, keys: tuple[str, ...]) -> str:
    return "".join(difflib.get_close_matches(key, keys, n=1, cutoff=0.8))


def _caption(
    sentence: object, lang: object, where: str, id: str, is_video: bool, ignored: IgnoredKeys
) -> RecordCaption | Problem:
    row = sentence if isinstance(sentence, Mapping) else {"text": sentence}
    bad = partial(Problem, "malformed", where=where, id=id, costs="caption")
    if is_video and (message := _misspelled_key(row, _VIDEO_CAPTION_FIELDS)):
        return bad(message)
    fields, other_keys = read_fields(row, _VIDEO_CAPTION_FIELDS if is_video else _CAPTION_FIELDS)
    ignored.add(other_keys, where)
    origin = fields.get("origin", "human")
    if origin not in ORIGINS:
        return bad(f"origin should be one of {', '.join(ORIGINS)}, not {show_value(origin)}")
    make = partial(make_caption, fields.get("text"), _lang(fields, lang), where, id, origin=origin)
    if not is_video:
        return make()
    has_times = "start" in fields or "end" in fields
    kind, set = fields.get("kind", "event" if has_times else "caption"), fields.get("set", 0)
    if not isinstance(kind, str) or kind not in (("event",) if has_times else ("caption", "summary")):
        return bad(f"kind should be event with a start and end, else caption or summary; not {show_value(kind)}")
    if message := type_mismatch(set, _SetNumber, "set"):
        return bad(message)
    times = (fields.get("start"), fields.get("end")) if has_times else None
    return make(times=times, set=set, kind=kind)


def _transcript(rows: object, lang: object) -> tuple[TranscriptSegment, ...] | None:
    """The transcript, or None if it does not have the documented form."""
    speech = []
    for row in rows if isinstance(rows, list) else [None]:
        fields = read_fields(row, _SEGMENT_FIELDS)[0] if isinstance(row, Mapping) else {}
        times = fields.get("start"), fields.get("end")
        sentence = make_caption(fields.get("text"), _lang(fields, lang), "", times=times)
        if isinstance(sentence, Problem) or sentence.start is None or sentence.end is None:
            return None
        speech.append(TranscriptSegment(sentence.text, sentence.start, sentence.end, sentence.lang))
    return tuple(speech)
