"""Your own photos, with captions in a table: CSV as spreadsheets write it.

    image,caption,lang,split
    cats/1.jpg,"A cat, asleep on a chair.",en,train
    cats/1.jpg,Eine Katze schläft auf einem Stuhl.,de,train

One caption per row. The first line names the columns: `image` (or `file_name`, `path`, ...) and `caption` (or `text`,
`sentence`, ...) are required, `lang` (default: --lang) and `split` are optional (without a split, a hash of the photo's
name assigns one). The separator may also be `;`, a tab or `|`; fields that contain the separator are in double quotes.
The file is UTF-8 or Windows-1252. Photos are in --images, by default in the folder of the table. The id of an item is
the name in `image`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath

from capjax.data.media_formats import KINDS_BY_SUFFIX
from capjax.metrics.messages import show_value
from data_prep.readers.files import DEFAULT_FRACTIONS, add_fractions, at, find, lines, shown, split_by_hash
from data_prep.readers.item import (
    InputError,
    Item,
    ItemStream,
    Problem,
    make_caption,
    parse_split,
    two_splits,
    without_problems,
)
from data_prep.readers.keys import IgnoredKeys, resolve_keys
from data_prep.readers.media_folder import MediaFolder
from data_prep.readers.registry import READERS, add_input
from data_prep.readers.rows import Row, split_line, split_rows
from data_prep.readers.tokens import Photo, malformed

_FIELDS = ("image", "file", "caption", "lang", "split")
_SEPARATORS = (",", ";", "\t", "|")
# A first line with which a table names its separator to spreadsheets.
_SEPARATOR_HINT = re.compile(r"\s*sep=.\s*")


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
    media = MediaFolder(images or folder)
    photos: dict[str, Photo] = {}
    splits: dict[str, str] = {}
    ignored = IgnoredKeys()
    for location, row in parse_table(path, folder, ignored):
        if isinstance(row, Problem):
            yield row
            continue
        name = row["image"].strip()
        if not name:
            yield Problem("caption_without_photo", "the row names no photo", location, costs="caption")
            continue
        photo = photos.setdefault(name, Photo(location))
        split = row.get("split", "").strip()
        if split and splits.setdefault(name, split) != split:
            yield two_splits(name, photo.where, splits[name], split, location, name)
        caption = make_caption(row["caption"], row.get("lang", "").strip() or lang, location, name)
        photo.captions += yield from without_problems([caption])
    yield from ignored.problems(("image", "caption", "lang", "split"))
    for name, photo in photos.items():
        file = media.path(name, at(photo.where), name)
        declared = splits.get(name)
        assigned = parse_split(declared, photo.where, name, "photo") if declared else split_by_hash(name, fractions)
        if isinstance(file, Problem):
            yield file
        elif isinstance(assigned, Problem):
            yield assigned
        else:
            yield Item(name, file, assigned, tuple(photo.captions), where=photo.where, name=name, hashed=not declared)


def locate(input_dir: Path, captions: Path | None, names: Sequence[str]) -> tuple[Path, Path]:
    """The caption file and the folder of its media. `--input` may be the file itself."""
    if captions is not None:
        return captions, input_dir
    if input_dir.is_file():
        return input_dir, input_dir.parent
    return find(input_dir, names, "the caption file"), input_dir


def parse_table(
    path: Path, input_dir: Path, ignored: IgnoredKeys | None = None
) -> Iterator[tuple[str, dict[str, str] | Problem]]:
    """Yields (location, {column: field}) of each row; the columns have the names `image`, `caption`, `lang`, `split`.

    Args:
      ignored: to which the columns that are not read are added.

    Raises:
      InputError: the first line does not name the columns `image` and `caption`.
    """
    where = shown(path, input_dir)

    def parse_header(header: str) -> tuple[list[str], str]:
        columns, separator, ignored_columns = _columns(path, header)
        if ignored is not None:
            ignored.add(ignored_columns, f"{where}:1")
        return columns, separator

    return read_rows(path, where, parse_header, "image", "caption")


def parse_pairs(path: Path, input_dir: Path) -> Iterator[tuple[str, tuple[str, str] | Problem]]:
    """Yields (location, (photo's name, caption)) of each row."""
    for location, row in parse_table(path, input_dir):
        yield location, row if isinstance(row, Problem) else (row["image"].strip(), row["caption"])


def _columns(path: Path, header: str) -> tuple[list[str], str, list[str]]:
    """The columns of a header under their standard names, the separator, and the columns that are not read."""
    for separator in _SEPARATORS:
        names = split_line(header, separator).fields
        keys = resolve_keys(names, _FIELDS)
        file, caption = keys.get("image", keys.get("file")), keys.get("caption")
        if file is not None and caption is not None:
            if twice := next((key for key in keys.values() if names.count(key) > 1), None):
                raise InputError(f"{path}:1: the column {twice.strip()!r} is named twice; rename or remove one of them")
            standard = {key: field for field, key in keys.items() if field != "file"} | {file: "image"}
            while not names[-1].strip():  # of empty columns, which spreadsheets write
                names.pop()
            return [standard.get(name, name) for name in names], separator, [x for x in names if x not in standard]
    raise InputError(f"{path}:1: the first line should name the columns image and caption; found {show_value(header)}")


def read_rows(
    path: Path, where: str, parse_header: Callable[[str], tuple[list[str], str]], key_column: str, caption_column: str
) -> Iterator[tuple[str, dict[str, str] | Problem]]:
    """Yields (location, {column: field}) of each row of a table; rows without any text are left out.

    Args:
      parse_header: first line -> (columns, separator); it raises InputError if a column is missing.
      key_column: the column of names of media.
      caption_column: the column that may contain separators and quotes that are not escaped, if it is the last one.
    """
    table = lines(path, where, windows=True)
    header = ""
    for location, text in table:
        if isinstance(text, Problem):
            yield location, text
        elif not _SEPARATOR_HINT.fullmatch(text):
            header = text
            break
    columns, separator = parse_header(header)
    key, caption_is_last = columns.index(key_column), columns[-1] == caption_column

    def is_row(line: Row, row: Row) -> bool:
        return len(line.fields) == len(columns) and _is_name(line.fields[key].strip(), row.fields[key : key + 1])

    for location, row in split_rows(table, separator, is_row, key):
        if isinstance(row, Problem):
            yield location, row
        elif not any(map(str.strip, row.fields)):
            pass  # spreadsheets write rows of separators alone
        elif (fields := _fitted(row, len(columns), caption_is_last)) is None:
            yield location, malformed(row.text, location, f"{len(columns)} fields ({', '.join(columns)})")
        else:
            yield location, dict(zip(columns, fields, strict=True))


def _is_name(text: str, names: Sequence[str]) -> bool:
    """Whether a text has the form of a name of media.

    Args:
      names: one name of the same table, or none.
    """
    suffix, example = (PurePath(each).suffix.lower() for each in (text, "".join(names).strip()))
    if example or not names:
        return suffix in KINDS_BY_SUFFIX or (suffix != "" and suffix == example)
    return re.fullmatch(r"\S*\d\S*", text) is not None


def _fitted(row: Row, count: int, caption_is_last: bool) -> list[str] | None:
    """The fields of a row of `count` columns. A caption in the last column may contain separators that are not quoted;
    further fields without text are dropped."""
    fields = row.fields
    while len(fields) > count and not fields[-1].strip():
        fields = fields[:-1]
    if len(fields) > count and caption_is_last:
        end = row.starts[len(fields)] - 1 if len(fields) < len(row.fields) else len(row.text)
        fields = [*fields[: count - 1], row.text[row.starts[count - 1] : end]]
    return fields if len(fields) == count else None
