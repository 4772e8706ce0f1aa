"""Your own photos, with captions in a table: CSV as spreadsheets write it.

    image,caption,lang,split
    cats/1.jpg,"A cat, asleep on a chair.",en,train
    cats/1.jpg,Eine Katze schläft auf einem Stuhl.,de,train

One caption per row. The first line names the columns: `image` and `caption` are required, `lang` (default: --lang) and
`split` are optional (without a split, a hash of the photo's name assigns one). The separator may also be `;`, a tab or
`|`; fields that contain the separator are in double quotes. Photos are in --images, by default in the folder of the
table. The id of an item is the name in `image`.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from data_prep.readers.files import DEFAULT_FRACTIONS, Photos, add_fractions, find, lines, shown, split_by_hash
from data_prep.readers.item import InputError, Item, ItemStream, Problem, make_caption, parse_split, without_problems
from data_prep.readers.registry import READERS, add_input
from data_prep.readers.tokens import Photo, malformed

_IMAGE = ("image", "file", "filename", "file_name", "image_name", "path")
_CAPTION = ("caption", "text", "sentence", "comment")
_NAMES = {**dict.fromkeys(_IMAGE, "image"), **dict.fromkeys(_CAPTION, "caption"), "language": "lang"}

# Lines of a quoted field. A limit, so that an unclosed quote does not consume the rest of the file.
_MAX_FIELD_LINES = 50


def add_arguments(parser):
    add_input(parser, "the folder with the photos and a captions.csv, or the table itself")
    parser.add_argument("--captions", type=Path, metavar="FILE", help="the table, if it is elsewhere")
    parser.add_argument("--lang", default="en", help="language of captions without one (default: en)")
    add_fractions(parser)


@READERS.register("csv")
def read(
    input_dir: Path, images: Path | None = None, captions: Path | None = None, lang: str = "en",
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
) -> ItemStream:  # fmt: skip
    """Yields the photos, in the order of their first rows.

    Raises:
      InputError: there is no table, or its first line does not name the columns `image` and `caption`.
    """
    path, folder = locate(input_dir, captions, ["captions.csv", "captions.tsv", "captions.txt", "*.csv", "*.tsv"])
    photos = Photos(images or folder)
    gathered: dict[str, Photo] = {}
    splits: dict[str, str | None] = {}
    for location, row in parse_table(path, folder):
        if isinstance(row, Problem):
            yield row
            continue
        name = row["image"].strip()
        if not name:
            yield Problem("caption_without_photo", "the row names no photo", location, costs="caption")
            continue
        photo = gathered.setdefault(name, Photo(location))
        split = row.get("split", "").strip()
        if split and splits.setdefault(name, split) != split:
            message = f"{name} is in split {splits[name]!r} ({photo.where}) and here in {split!r}; the first is used"
            yield Problem("malformed", message, location, name, costs="caption")
            continue
        caption = make_caption(row["caption"], row.get("lang", "").strip() or lang, location, name)
        photo.captions += yield from without_problems([caption])
    for name, photo in gathered.items():
        media = photos.path(name, photo.where, name)
        declared = splits.get(name)
        assigned = parse_split(declared, photo.where, name, "photo") if declared else split_by_hash(name, fractions)
        if isinstance(media, Problem):
            yield media
        elif isinstance(assigned, Problem):
            yield assigned
        else:
            yield Item(name, media, assigned, tuple(photo.captions), where=photo.where, name=name)


def locate(input_dir: Path, captions: Path | None, names: Sequence[str]) -> tuple[Path, Path]:
    """The caption file and the folder of its media. `--input` may be the file itself."""
    if captions is not None:
        return captions, input_dir
    if input_dir.is_file():
        return input_dir, input_dir.parent
    return find(input_dir, names, "the caption file"), input_dir


def parse_table(path: Path, input_dir: Path) -> Iterator[tuple[str, dict[str, str] | Problem]]:
    """Yields (location, {column: field}) of each row, with standard names of the columns.

    Raises:
      InputError: the first line does not name the columns `image` and `caption`.
    """
    return read_rows(path, shown(path, input_dir), partial(_columns, path), "caption")


def parse_pairs(path: Path, input_dir: Path) -> Iterator[tuple[str, tuple[str, str] | Problem]]:
    """Yields (location, (photo's name, caption)) of each row."""
    for location, row in parse_table(path, input_dir):
        yield location, row if isinstance(row, Problem) else (row["image"].strip(), row["caption"])


def _columns(path: Path, header: str) -> tuple[list[str], str]:
    for separator in (",", ";", "\t", "|"):
        names = [name.strip().strip('"').lower() for name in header.split(separator)]
        columns = [_NAMES.get(name, name) for name in names]
        if columns.count("image") == 1 and columns.count("caption") == 1:
            return columns, separator
    raise InputError(f"{path}:1: the first line should name the columns image and caption; found {header!r:.80}")


def read_rows(
    path: Path, where: str, parse_header: Callable[[str], tuple[list[str], str]], caption_column: str
) -> Iterator[tuple[str, dict[str, str] | Problem]]:
    """Yields (location, {column: field}) of each row of a table.

    Args:
      parse_header: first line -> (columns, separator); it raises InputError if a column is missing.
      caption_column: the column that may contain separators and quotes that are not escaped, if it is the last one.
    """
    table = _records(path, where)
    _, header = next(table, ("", ""))
    columns, separator = parse_header(header if isinstance(header, str) else "")
    for location, text in table:
        if isinstance(text, Problem):
            yield location, text
        elif (fields := _split_row(text, separator, len(columns), columns[-1] == caption_column)) is None:
            yield location, malformed(text, location, f"{len(columns)} fields ({', '.join(columns)})")
        else:
            yield location, dict(zip(columns, fields, strict=True))


def _records(path: Path, where: str) -> Iterator[tuple[str, str | Problem]]:
    """Yields rows; lines that a quoted field spans are joined. A row is complete when its number of quotes is even."""
    waiting: list[tuple[str, str]] = []
    for location, line in lines(path, where):
        if isinstance(line, Problem):
            yield location, line
            continue
        waiting.append((location, line))
        complete = sum(text.count('"') for _, text in waiting) % 2 == 0
        if complete:
            yield waiting[0][0], "\n".join(text for _, text in waiting)
            waiting = []
        elif len(waiting) == _MAX_FIELD_LINES:
            yield from waiting
            waiting = []
    yield from waiting


def _split_row(text: str, separator: str, count: int, caption_is_last: bool) -> list[str] | None:
    """The fields of a row. A caption in the last column may contain separators and quotes that are not escaped."""
    try:
        (fields,) = csv.reader(text.splitlines(keepends=True), delimiter=separator, strict=True)
        if len(fields) == count:
            return fields
    except (csv.Error, ValueError):
        fields = []
    if caption_is_last:
        fields = text.split(separator, count - 1)
        return fields if len(fields) == count else None
    return None
