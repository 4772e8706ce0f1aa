"""MSVD (the Microsoft Research Video Description Corpus, YouTube2Text): 1,970 short clips, about 41 captions each.

    DIR/AllVideoDescriptions.txt      mv89psg6zh4_33_46 a bird is bathing in a sink
    or DIR/video_corpus.csv           VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description
    anywhere in DIR or --videos       mv89psg6zh4_33_46.avi, or mv89psg6zh4.mp4 (the whole video), or vid1534.avi

The id of an item is `VIDEO_START_END`, in seconds. A file with that name is the clip; a file named by the YouTube id is
the whole video, of which the clip is taken. Names such as `vid1534` are those of `youtube_mapping.txt` (lines
`VIDEO_START_END vid1534`), if it exists. Missing clips are listed in report.json. The table has captions in many
languages and marks which are `clean` (--clean keeps only these); if both files exist, choose with --annotations.

Splits come from lists in DIR with ids or `vidN` (`train_list.txt`, `val_list.txt`, `test_list.txt`; or
`msvd_train.txt`, ...); clips in none of them are left out. Without lists, if all 1,970 clips are known from the mapping
or the captions, the
standard split is used: 1,200, 100 and 670 in the order of the ids. Otherwise a hash of the YouTube id assigns the
  split.
"""

import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from capjax.data.record import RecordCaption
from capjax.metrics.messages import show_value
from data_prep.readers.files import DEFAULT_FRACTIONS, add_fractions, at, lines, shown, split_by_hash
from data_prep.readers.item import InputError, Item, ItemStream, Problem, make_caption, standard_split, without_problems
from data_prep.readers.languages import LANGUAGES
from data_prep.readers.registry import READERS
from data_prep.readers.table import read_rows
from data_prep.readers.tokens import malformed, read_lists
from data_prep.readers.videos import Videos, add_video_arguments, find_annotations

_COLUMNS = ("VideoID", "Start", "End", "Source", "Language", "Description")
# (split, number of clips) of the standard split, in the order of the ids.
_STANDARD = (("train", 1200), ("val", 100), ("test", 670))
_ALL = sum(count for _, count in _STANDARD)


@dataclass(slots=True)
class _ClipCaptions:
    """The captions of a clip and the location of the first. Problems are reported once the clip's file is found."""

    where: str
    captions: list[RecordCaption | Problem] = field(default_factory=list)


def add_arguments(parser):
    add_video_arguments(parser, "the folder with AllVideoDescriptions.txt or video_corpus.csv")
    parser.add_argument(
        "--clean", action="store_true", help="video_corpus.csv: use only captions whose Source is clean"
    )
    add_fractions(parser)


@READERS.register("msvd")
def read(
    input_dir: Path, annotations: Sequence[Path] = (), videos: Path | None = None, lang: str = "en",
    clean: bool = False, fractions: Sequence[float] = DEFAULT_FRACTIONS,
) -> ItemStream:  # fmt: skip
    """Yields the clips, in the order of their first captions.

    Raises:
      InputError: descriptions or the folder of videos are missing, both files exist, or the table lacks a column.
    """
    usual = "AllVideoDescriptions.txt, video_corpus.csv"
    paths = find_annotations(input_dir, annotations, r"AllVideoDescriptions\.txt|video_corpus\.csv", usual)
    if len(paths) > 1:
        listed = ", ".join(path.name for path in paths)
        raise InputError(f"{input_dir}: the same clips in two files ({listed}); choose with --annotations")
    video_files, where = Videos(videos or input_dir), shown(paths[0], input_dir)
    clips: dict[str, _ClipCaptions] = {}
    entries = _table(paths[0], where, clean) if paths[0].suffix.lower() == ".csv" else _text(paths[0], where, lang)
    for location, entry in entries:
        if isinstance(entry, Problem):
            yield entry
        else:
            id, text, code = entry
            clips.setdefault(id, _ClipCaptions(location)).captions.append(make_caption(text, code, location, id))
    numbers = yield from _mapping(input_dir)
    splits = yield from _splits(input_dir, clips, numbers, fractions)
    for id, clip in clips.items():
        at(clip.where)
        yield from _item(id, clip, splits.get(id, ""), numbers.get(id), video_files)


def _text(path: Path, where: str, lang: str) -> Iterator[tuple[str, tuple[str, str, str] | Problem]]:
    """Yields (location, (id, caption, language)) of each line `VIDEO_START_END CAPTION`."""
    for location, line in lines(path, where):
        if isinstance(line, Problem):
            yield location, line
        elif match := re.fullmatch(r"(\S+_\d+_\d+)(?:\s+(.*))?", line, re.ASCII):
            yield location, (match[1], match[2] or "", lang)
        elif not line.startswith("#"):
            yield location, malformed(line, location, "VIDEO_START_END and a caption")


def _table(path: Path, where: str, clean: bool) -> Iterator[tuple[str, tuple[str, str, str] | Problem]]:
    """Yields (location, (id, caption, language)) of each row of the table."""
    for location, row in read_rows(path, where, partial(_columns, path), "VideoID", "Description"):
        if isinstance(row, Problem):
            yield location, row
        elif not clean or row["Source"].strip() == "clean":
            yield location, _row(row, location)


def _columns(path: Path, header: str) -> tuple[list[str], str]:
    columns = [name.strip().strip('"') for name in header.split(",")]
    if missing := [name for name in _COLUMNS if name not in columns]:
        raise InputError(f"{path}:1: the first line should name the columns {', '.join(_COLUMNS)}; no {missing[0]}")
    return columns, ","


def _row(row: Mapping[str, str], where: str) -> tuple[str, str, str] | Problem:
    row = {name: field.strip() for name, field in row.items()}
    id = f"{row['VideoID']}_{row['Start']}_{row['End']}"
    if not row["VideoID"] or not re.fullmatch(r"\d+_\d+", f"{row['Start']}_{row['End']}", re.ASCII):
        message = f"VideoID, Start and End should be an id and whole seconds, not {show_value(id)}"
        return Problem("malformed", message, where, costs="caption")
    if (code := LANGUAGES.get(row["Language"].lower())) is None:
        message = f"{show_value(row['Language'])} is not the English name of a known language"
        return Problem("unknown_language", message, where, id, "caption")
    return id, row["Description"], code


def _mapping(input_dir: Path) -> Generator[Problem, None, dict[str, int]]:
    """Yields Problems; returns {id: N of vidN} of youtube_mapping.txt, empty if the file does not exist."""
    path, numbers = input_dir / "youtube_mapping.txt", {}
    for location, line in lines(path, path.name, "video") if path.is_file() else ():
        if isinstance(line, Problem):
            yield line
        elif match := re.fullmatch(r"(\S+)\s+vid(\d{1,9})\s*", line, re.ASCII):
            numbers[match[1]] = int(match[2])
        else:
            message = f"expected VIDEO_START_END vidN; found {show_value(line)}"
            yield Problem("malformed", message, location, costs="video")
    return numbers


def _lists(input_dir: Path) -> dict[str, Path]:
    """The lists of ids by split.

    Raises:
      InputError: a split has two lists.
    """
    paths: dict[str, Path] = {}
    for path in sorted(input_dir.glob("*.txt")):
        name = re.sub(r"_?(list|ids?|videos)$", "", path.stem)
        if split := standard_split(name.rpartition("_")[2]):
            if split in paths:
                raise InputError(f"{input_dir}: two lists of {split} ({paths[split].name}, {path.name}); keep one")
            paths[split] = path
    return {split: paths[split] for split, _ in _STANDARD if split in paths}


def _splits(
    input_dir: Path, clips: Mapping[str, _ClipCaptions], numbers: Mapping[str, int], fractions: Sequence[float]
) -> Generator[Problem, None, dict[str, str]]:
    """Yields Problems; returns {id: split}. Clips that are not in it are left out."""
    if not numbers and len(clips) == _ALL:
        numbers = {id: number for number, id in enumerate(sorted(clips), 1)}
    if lists := _lists(input_dir):
        ids = {f"vid{number}": id for id, number in numbers.items()}
        listed = yield from read_lists(lists, input_dir, costs="video")
        splits: dict[str, str] = {}
        for name, (split, location) in listed.items():
            stem = re.sub(r"\.(avi|mp4|mkv|webm)$", "", name)
            id = ids.get(stem, stem)
            if splits.setdefault(id, split) != split:
                message = f"{name} is {id}, which is already listed for {splits[id]}"
                yield Problem("duplicate_id", message, location, id, "video")
            elif id not in clips:
                message = f"{name} is listed for {split} but has no caption"
                yield Problem("no_caption", message, location, id, "video", split)
        return splits
    if numbers:
        order = [split for split, count in _STANDARD for _ in range(count)]
        return {id: order[number - 1] for id, number in numbers.items() if 1 <= number <= _ALL}
    # By video and not by clip: clips of one video look alike.
    return {id: split_by_hash(id.rsplit("_", 2)[0], fractions) for id in clips}


def _item(id: str, clip: _ClipCaptions, split: str, number: int | None, videos: Videos) -> ItemStream:
    youtube, start, end = id.rsplit("_", 2)
    names = [id, *([f"vid{number}"] if number else []), youtube]
    media = videos.find(id, names, clip.where, split) if split else videos.folder / id
    if isinstance(media, Problem):
        yield media
        return
    times = (float(start), float(end)) if split and media.stem == youtube else None
    if times and times[0] >= times[1]:
        yield Problem("bad_times", f"the clip {id} ends before it starts", clip.where, id, "video", split)
        return
    captions = yield from without_problems(clip.captions)
    yield Item(id, media, split, tuple(captions), clip=times, where=clip.where, name=id, video=True)
