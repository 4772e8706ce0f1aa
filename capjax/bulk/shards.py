"""The output of bulk captioning: shards of rows, each of which is there as a whole or not at all."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capjax.bulk.source import MediaItem
from capjax.data.photo import MediaError
from capjax.decode.results import Caption
from capjax.files import is_url, write_bytes
from capjax.predict import LocalizedVideo

FORMATS = ("jsonl", "parquet")
FAILED_FILE = "failed.jsonl"
Row = dict[str, Any]


def caption_row(item: MediaItem, captions: Sequence[Caption], count: int) -> Row:
    """Returns the row of a photo or video.

    Args:
      captions: in each language, with their alternatives.
      count: number of captions in each language.
    """
    if captions[0].error:
        return _failed_row(item, captions[0].error)
    entries = [
        {"text": each.text, "lang": each.lang, "score": each.score, "origin": "generated"}
        for caption in captions
        for each in (caption, *caption.alternatives)[:count]
    ]
    return _row(item, "file_name") | {"captions": entries}


def events_row(item: MediaItem, video: LocalizedVideo) -> Row:
    """Returns the row of a video in which events were found."""
    if video.error:
        return _failed_row(item, video.error)
    entries = [
        {"text": each.text, "lang": each.lang, "score": each.score, "origin": "generated", "start": each.start,
         "end": each.end}
        for each in video
    ]  # fmt: skip
    return _row(item, "video") | {"duration": video.duration, "captions": entries}


def _row(item: MediaItem, key: str) -> Row:
    return {"id": item.id} | ({key: item.file_name} if item.file_name else {})


def _failed_row(item: MediaItem, error: MediaError) -> Row:
    return _row(item, "file_name") | {"captions": [], "error": {"kind": error.kind, "message": str(error)}}


@dataclass(frozen=True)
class Shards:
    """The shards in an output folder.

    Attributes:
      folder: on this machine, or in a bucket.
      count: how many there are once the job is done.
      format: one of FORMATS.
    """

    folder: Path
    count: int
    format: str

    def path(self, number: int) -> Path:
        return self.folder / f"captions-{number:05}-of-{self.count:05}.{self.format}"

    def missing(self) -> list[int]:
        """Returns the numbers of the shards that are not written yet."""
        names = {path.name for path in self.folder.iterdir()}
        return [number for number in range(self.count) if self.path(number).name not in names]

    def write(self, number: int, rows: Sequence[Row]):
        """Writes a shard: other processes see all of it or nothing.

        Raises:
          WriteError: the disk is full, or the folder cannot be written.
        """
        data = _json_lines(rows) if self.format == "jsonl" else _parquet(rows)
        write_bytes(self.path(number), data)

    def failed_rows(self) -> Iterator[Row]:
        """Yields the rows of media that could not be read, from all shards."""
        for number in range(self.count):
            if self.format == "jsonl":
                for line in self.path(number).read_bytes().splitlines():
                    if b'"error": {' in line and "error" in (row := json.loads(line)):
                        yield row
            else:
                import pyarrow.parquet as pq

                table = pq.read_table(io.BytesIO(self.path(number).read_bytes()), columns=["id", "file_name", "error"])
                yield from (row for row in table.to_pylist() if row["error"])

    def finish(self) -> int:
        """Lists the media that could not be read, and removes what killed processes left; returns their number."""
        failed = [
            {name: row[name] for name in ("id", "file_name", "error") if row.get(name)} for row in self.failed_rows()
        ]
        write_bytes(self.folder / FAILED_FILE, _json_lines(failed))
        if not is_url(self.folder):
            for path in self.folder.glob(".captions-*.tmp"):
                path.unlink(missing_ok=True)
        return len(failed)


def _json_lines(rows: Sequence[Mapping]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _parquet(rows: Sequence[Row]) -> bytes:
    import pyarrow as pa  # the extra `parquet`
    import pyarrow.parquet as pq

    text, number = pa.string(), pa.float64()
    caption = pa.struct(
        {"text": text, "lang": text, "score": number, "origin": text, "start": number, "end": number}.items()
    )
    columns = {
        "id": text, "file_name": text, "video": text, "duration": number, "captions": pa.list_(caption),
        "error": pa.struct({"kind": text, "message": text}.items()),
    }  # fmt: skip
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=pa.schema(columns.items())), file)
    return file.getvalue()
