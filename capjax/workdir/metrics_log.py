"""`metrics.jsonl`, the metrics of a run by step."""

import json
from pathlib import Path

from capjax.files import is_url, write_text


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
        self._file = None if is_url(path) else path.open("a")

    def append(self, row: dict):
        """Adds a row. In a bucket, where files do not grow, the whole file is written again."""
        line = json.dumps(row) + "\n"
        if self._file is None:
            self._text += line
            write_text(self._path, self._text)
        else:
            self._file.write(line)
            self._file.flush()

    def close(self):
        if self._file is not None:
            self._file.close()


def read_metrics(path: Path) -> list[dict]:
    """Returns the rows of a `metrics.jsonl`, without the incomplete last line that a killed run may have left.

    Raises:
      ValueError: a line is damaged.
    """
    lines = path.read_text().split("\n")[:-1] if path.is_file() else []
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path}:{number} is damaged ({error}); remove the line to continue") from error
    return rows
