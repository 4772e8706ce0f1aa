"""`metrics.jsonl`, the metrics of a run by step."""

import json
from pathlib import Path
from typing import TypedDict

from capjax.files import is_url, write_text
from capjax.metrics.json_types import check_type
from capjax.metrics.writing import write_errors_named


class _Row(TypedDict):
    step: int


class MetricsLog:
    """Writes a `metrics.jsonl`.

    Args:
      path: the file. Rows after step `start` are dropped, since a resumed run repeats these steps.
      start: the step that the run starts from.
    """

    def __init__(self, path: Path, *, start: int):
        self._path = path
        self._text = "".join(json.dumps(row) + "\n" for row in read_metrics(path) if row["step"] <= start)
        write_text(path, self._text)
        # Unbuffered: after a full disk nothing is left that close() would try to write again.
        self._file = None if is_url(path) else path.open("ab", buffering=0)

    def append(self, row: dict):
        """Adds a row. In a bucket, where files do not grow, the whole file is written again."""
        line = json.dumps(row) + "\n"
        if self._file is None:
            self._text += line
            write_text(self._path, self._text)
            return
        data = line.encode()
        with write_errors_named(self._path):
            while data:  # on a disk that is nearly full a part of it is written
                data = data[self._file.write(data) :]

    def close(self):
        if self._file is not None:
            self._file.close()


def read_metrics(path: Path) -> list[dict]:
    """Returns the rows of a `metrics.jsonl`, without the incomplete last line that a killed run may have left.

    Raises:
      ValueError: a line is damaged.
    """
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line.decode()))
            check_type(rows[-1], _Row, "the row")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}:{number} is damaged ({error}); remove the line to continue") from error
    return rows
