"""An error that no code foresees names the file and the item that were being processed, without a traceback."""

import pytest

from data_prep import media
from data_prep.cli import main
from data_prep.readers import jsonl


def run(folder, tmp_path, capsys) -> str:
    assert main(["jsonl", "--input", str(folder), "--output", str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    return errors


@pytest.mark.parametrize(
    "error", [TypeError("no good"), ValueError("no good"), RecursionError("no good"), KeyError("x")]
)
def test_an_error_of_a_reader_names_the_line(tmp_path, make_jsonl, monkeypatch, capsys, error):
    def fails(row, where, source):
        if where.endswith(":7"):
            raise error
        return item(row, where, source)

    item = jsonl._item
    monkeypatch.setattr(jsonl, "_item", fails)
    errors = run(make_jsonl(10), tmp_path, capsys)
    assert f"unforeseen {type(error).__name__}" in errors and "while processing captions.jsonl:7 (in test_" in errors
    assert "(in test_unforeseen_errors.py:" in errors and "please report it" in errors


def test_an_error_of_a_decoder_names_the_photo(tmp_path, make_jsonl, monkeypatch, capsys):
    def fails(data, settings):
        if data == bad:
            raise TypeError("no good")
        return to_jpeg(data, settings)

    folder = make_jsonl(10)
    bad, to_jpeg = (folder / "0006.jpg").read_bytes(), media.photo_to_jpeg
    monkeypatch.setattr(media, "photo_to_jpeg", fails)
    errors = run(folder, tmp_path, capsys)
    assert "unforeseen TypeError: no good, while processing captions.jsonl:7 0006.jpg (" in errors


def test_an_error_elsewhere_is_one_line_too(tmp_path, make_jsonl, monkeypatch, capsys):
    monkeypatch.setattr("data_prep.build.make_shards", lambda *_: 1 / 0)
    assert "unforeseen ZeroDivisionError" in run(make_jsonl(10), tmp_path, capsys)
