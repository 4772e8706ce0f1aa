"""Parquet files with a column of image files, as bytes or as the struct {bytes, path} of Hugging Face's datasets."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from capjax.bulk.source import Failing, MediaItem, Medium
from capjax.data.media_file import MAX_FILE_BYTES

# Names of columns that are taken if none is given; the first that exists.
_COLUMNS = ("image", "images", "jpg", "jpeg", "png", "webp", "video", "mp4", "bytes", "image_bytes")
_ID_COLUMNS = ("id", "__key__", "image_id", "key")
# Rows that are decoded at a time.
_ROWS = 64
# Largest size of one column of a row group, as written in the file: memory holds it.
_MAX_GROUP_BYTES = 4 * 2**30


@dataclass(frozen=True)
class ParquetSource:
    """The rows of a Parquet file.

    Attributes:
      column: the column with the bytes of photos or videos.
      id_column: the column with ids; empty: ids are FILE:ROW, from 0.
      rows: the number of rows of each row group.
    """

    name: str
    path: Path
    column: str
    id_column: str
    rows: Sequence[int]
    kind: str = "parquet"

    @classmethod
    def open(cls, name: str, path: Path, *, column: str | None, id_column: str | None) -> "ParquetSource":
        """Opens a file.

        Args:
          column: its column of media; None: a common name, or the only column of bytes.
          id_column: its column of ids; None: a common name, if one exists.

        Raises:
          ValueError: the file is damaged, or has no such columns.
        """
        with _errors_named(name), pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            rows = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        media_columns = [field.name for field in schema if _holds_bytes(field.type)]
        column = column or next(iter([each for each in _COLUMNS if each in media_columns] or media_columns), "")
        if column not in media_columns:
            listed = ", ".join(f"{field.name} ({field.type})" for field in schema)
            raise ValueError(
                f"--input {name}: no column {column or 'of bytes'} with files of photos or videos, as bytes or as a "
                f"struct of bytes and path; name it with --column. The file has {listed}"
            )
        id_columns = [field.name for field in schema if _holds_ids(field.type)]
        if id_column and id_column not in id_columns:
            raise ValueError(f"--input {name}: no column {id_column} of text or whole numbers, for --id-column")
        id_column = id_column or next((each for each in _ID_COLUMNS if each in id_columns), "")
        if not sum(rows):
            raise ValueError(f"--input {name}: the file has no rows")
        return cls(name, path, column, id_column, rows)

    def __len__(self) -> int:
        return sum(self.rows)

    def ids(self) -> Iterable[str]:
        if not self.id_column:
            return (f"{self.path.name}:{row}" for row in range(len(self)))
        return self._id_values()

    def _id_values(self) -> Iterator[str]:
        with _errors_named(self.name), pq.ParquetFile(self.path) as file:
            number = 0
            for batch in file.iter_batches(columns=[self.id_column]):
                for value in batch.column(0).to_pylist():
                    yield self._id(value, number)
                    number += 1

    def _id(self, value: object, number: int) -> str:
        if value is None:
            raise ValueError(f"row {number} has no {self.id_column}; give another column with --id-column")
        return str(value)

    def items(self, ranges: Sequence[range]) -> Iterator[MediaItem]:
        columns = [self.column, self.id_column] if self.id_column else [self.column]
        with _errors_named(self.name), pq.ParquetFile(self.path) as file:
            first = 0
            for group, rows in enumerate(self.rows):
                own = [range(max(each.start, first), min(each.stop, first + rows)) for each in ranges]
                if any(own):
                    self._check_size(file, group)
                    number = first
                    for batch in file.iter_batches(_ROWS, row_groups=[group], columns=columns):
                        if any(max(each.start, number) < min(each.stop, number + len(batch)) for each in own):
                            yield from self._items_of(batch, number, own)
                        number += len(batch)
                first += rows

    def _check_size(self, file: pq.ParquetFile, group: int):
        metadata = file.metadata.row_group(group)
        size = max(
            metadata.column(index).total_uncompressed_size
            for index in range(metadata.num_columns)
            if metadata.column(index).path_in_schema.split(".")[0] == self.column
        )
        if size > _MAX_GROUP_BYTES:
            raise ValueError(
                f"row group {group} has {size / 2**30:.1f} GB of {self.column}; at most {_MAX_GROUP_BYTES // 2**30} "
                "are read. Write the file with smaller row groups"
            )

    def _items_of(self, batch: pa.RecordBatch, first: int, ranges: Sequence[range]) -> Iterator[MediaItem]:
        for index, value in enumerate(batch.column(self.column)):
            number = first + index
            if not any(number in each for each in ranges):
                continue
            if self.id_column:
                id = self._id(batch.column(self.id_column)[index].as_py(), number)
            else:
                id = f"{self.path.name}:{number}"
            yield MediaItem(id, *_medium(value, id))

    def part(self, numbers: range) -> tuple["ParquetSource", range]:
        return self, numbers


def _medium(value: Any, id: str) -> tuple[str, Medium]:
    """The file name and the medium of a value."""
    name = ""
    if pa.types.is_struct(value.type):
        if value.is_valid and "path" in value.type.names:
            name = value["path"].as_py() or ""
        value = value["bytes"] if value.is_valid else value
    if not value.is_valid:
        reason = f"only the path {name}, which is not read" if name else "no bytes"
        return name, Failing("empty_file", f"{id}: the row holds {reason}")
    data = value.as_buffer()
    if data.size > MAX_FILE_BYTES:
        limit = f"at most {MAX_FILE_BYTES // 2**20} MB are read"
        return name, Failing("too_large", f"{id} has {data.size / 2**20:.0f} MB; {limit}")
    return name, data.to_pybytes()


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return "bytes" in kind.names and _holds_bytes(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _holds_ids(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)


@contextmanager
def _errors_named(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        if str(error).startswith("--input"):
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(
            f"--input {name} is cut short or damaged, or cannot be read ({reason:.300}); copy it again, or leave it out"
        ) from error
