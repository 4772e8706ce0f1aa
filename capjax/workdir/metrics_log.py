"""Reading of `metrics.jsonl`, the metrics of a run by step."""

import json
from pathlib import Path


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
