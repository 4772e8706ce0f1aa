"""metrics.jsonl is read without the incomplete line of a killed run; a damaged line is named."""

import json

import pytest

from capjax.workdir.metrics_log import read_metrics


def test_an_incomplete_last_line_is_not_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"step": 1}) + '\n{"ste')
    assert read_metrics(path) == [{"step": 1}]


@pytest.mark.parametrize("line", ['{"ste', "\0\0\0"])
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n{line}\n{{"step": 3}}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl:2 is damaged"):
        read_metrics(path)
