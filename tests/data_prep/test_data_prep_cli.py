"""`capjax prepare`."""

import json
import subprocess
import sys

import pytest

from capjax.data.record import RecordSource
from data_prep.cli import main
from data_prep.readers import READERS


def test_a_folder_of_photos_and_a_caption_file(tmp_path, make_jsonl, capsys):
    folder = make_jsonl(20)
    assert main(["jsonl", "--input", str(folder), "--output", str(tmp_path / "out")]) == 0
    output = capsys.readouterr().out
    assert "train         18 photos   captions: 36 in en" in output
    assert "photos/s" in output
    assert len(RecordSource(tmp_path / "out", "train")) == 18


def test_translations_are_joined_and_counted(tmp_path, make_jsonl, capsys):
    folder = make_jsonl(10)
    (tmp_path / "more.txt").write_text("0003.jpg#0\tEin Foto.\nother.jpg#0\tEin anderes.\n")
    arguments = ["jsonl", "--input", str(folder), "--output", str(tmp_path / "out")]
    assert main([*arguments, "--translations", f"{tmp_path / 'more.txt'}:de"]) == 0
    assert "more.txt: 1 of 2 captions are of photos in this dataset" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["splits"]["train"]["captions"] == {"de": 1, "en": 18}
    assert report["translations"] == {"more.txt": {"captions": 2, "joined": 1}}


def test_bad_input_is_an_exit_status_and_a_message(tmp_path, make_jsonl, capsys):
    folder = make_jsonl(10)
    (folder / "0003.jpg").unlink()
    arguments = ["jsonl", "--input", str(folder), "--output", str(tmp_path / "out")]
    assert main(arguments) == 1
    errors = capsys.readouterr().err
    assert "1 of 10 photos are bad (1 missing_photo)" in errors
    assert "captions.jsonl:4" in errors
    assert "Traceback" not in errors
    assert main([*arguments, "--max-bad", "0.1"]) == 0
    assert "1 problems, listed in" in capsys.readouterr().out
    assert main(arguments) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_a_missing_input_is_named(tmp_path, capsys):
    assert main(["coco", "--input", str(tmp_path / "nowhere"), "--output", str(tmp_path / "out")]) == 1
    assert f"{tmp_path / 'nowhere'}: no such folder" in capsys.readouterr().err


def test_an_unknown_name_gets_the_nearest(capsys):
    assert main(["flikr8k"]) == 2
    errors = capsys.readouterr().err
    assert "did you mean 'flickr8k'?" in errors
    assert "vocabulary" in errors
    assert main([]) == 2


def test_the_overview_has_every_name(capsys):
    assert main(["--help"]) == 0
    output = capsys.readouterr().out
    for name in (*READERS.names(), "vocabulary", "features"):
        assert f"\n  {name} " in output


@pytest.mark.parametrize("name", ["coco", "csv", "flickr30k", "flickr8k", "jsonl", "karpathy", "shapes", "vocabulary"])
def test_every_name_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert "--output" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [
        ["--max-bad", "2"],
        ["--workers", "0"],
        ["--short-side", "x"],
        ["--quality", "101"],
        ["--fractions", "0.5,0.1"],
        ["--translations", "x.txt:German"],
        ["--stric"],
        [],
    ],
)
def test_wrong_arguments_are_exit_status_2(tmp_path, wrong, capsys):
    arguments = ["csv", "--input", str(tmp_path)] + (["--output", "x", *wrong] if wrong else [])
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert (wrong or ["--output"])[0].strip("-") in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["csv", "--fractions", "0.5,0.1"], "'0.5,0.1' should be three shares with sum 1"),
        (["csv", "--translations", "x.txt:German"], "should be a BCP-47 code"),
        (["csv", "--quality", "101"], "101 should be from 1 to 100"),
        (["features", "--encoder-options", "[3]"], "'[3]' should be a JSON object"),
        (["features", "--encoder-options", "{"], "'{' should be a JSON object"),
    ],
)
def test_a_wrong_argument_is_explained(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main([*arguments, "--input", "x", "--output", "y"])
    assert message in capsys.readouterr().err


def test_readers_have_arguments_of_their_own(tmp_path, make_photos):
    make_photos(tmp_path, ["a.jpg", "b.jpg"])
    (tmp_path / "captions.csv").write_text("image,caption\na.jpg,Ein Hund.\nb.jpg,Eine Katze.\n")
    arguments = ["csv", "--input", str(tmp_path), "--output", str(tmp_path / "out"), "--lang", "de"]
    assert main([*arguments, "--fractions", "0,1,0", "--short-side", "8"]) == 0
    record = RecordSource(tmp_path / "out", "val")[0]
    assert record.captions[0].lang == "de"


def test_the_real_flickr8k_in_six_languages(tmp_path, shared_data):
    folder = shared_data / "flickr8k"
    translations = [f"--translations={path}" for path in sorted((folder / "translations").iterdir())]
    arguments = ["flickr8k", "--input", str(folder), "--output", str(tmp_path / "out"), "--workers", "1"]
    assert main([*arguments, *translations]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["problems"] == []
    assert report["splits"]["train"]["photos"] == 753
    assert report["splits"]["val"]["captions"] == {"ar": 339, "cs": 107, "de": 107, "en": 565, "fr": 107, "zh": 565}


def test_without_beam_it_says_what_to_install(tmp_path, make_jsonl, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "data_prep.beam", raising=False)
    arguments = ["jsonl", "--input", str(make_jsonl(10)), "--output", str(tmp_path / "out"), "--beam"]
    assert main(arguments) == 1
    assert "--beam needs Apache Beam: pip install 'capjax[beam]'" in capsys.readouterr().err


def test_without_the_extra_it_says_in_one_line_what_to_install():
    # A module that is None in sys.modules cannot be imported.
    code = "import runpy, sys; sys.modules['PIL'] = None; runpy.run_module('data_prep', run_name='__main__')"
    result = subprocess.run([sys.executable, "-c", code, "shapes", "--help"], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == "capjax prepare: PIL is not installed: pip install 'capjax[train]'\n"


def test_photos_that_the_annotations_do_not_name_are_counted(tmp_path, make_jsonl, capsys):
    folder = make_jsonl(5)
    for name in ("more.jpg", "more.JPEG", "0006.png", "notes.txt", "clip.mp4"):
        (folder / name).write_bytes((folder / "0000.jpg").read_bytes())
    assert main(["jsonl", "--input", str(folder), "--output", str(tmp_path / "out")]) == 0
    assert "3 more photos are in these folders, and the annotations do not name them" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/report.json").read_text())["unnamed"] == 3
