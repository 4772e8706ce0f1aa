"""The command `capjax`: what it prints, and its exit status."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from capjax import cli
from capjax import config as config_lib
from tests.helpers.tiny_job import predictions


@pytest.fixture
def caption(tiny, monkeypatch, capsys):
    """Runs `capjax caption` -> (exit status, lines of output, errors)."""
    monkeypatch.setenv("CAPJAX_CACHE", str(tiny.path / "cache"))

    def run(*args, workdir=None):
        status = cli.main(["caption", "--workdir", str(workdir or tiny.trained()), *map(str, args)])
        done = capsys.readouterr()
        return status, done.out.splitlines(), done.err

    return run


@pytest.fixture
def some(tiny):
    """{photo: the caption that evaluation gave it}."""
    wanted = predictions(tiny.trained())
    return {str(tiny.photos / name): wanted[name] for name in sorted(wanted)[:3]}


def test_one_photo_gives_its_caption_alone(caption, some):
    path, text = next(iter(some.items()))
    assert caption(path) == (0, [text], "")


def test_several_photos_give_lines_with_their_paths(caption, some):
    status, lines, errors = caption(*some)
    assert (status, errors) == (0, "")
    assert lines == [f"{path}\t{text}" for path, text in some.items()]


def test_json_is_one_object_a_line(caption, some):
    status, lines, _ = caption(*some, "--json", "--lang", "de")
    rows = [json.loads(line) for line in lines]
    assert status == 0
    assert [row["path"] for row in rows] == list(some)
    for row in rows:
        assert set(row) == {"path", "caption", "lang", "score"}
        assert row["lang"] == "de"
        assert row["caption"].startswith("ein ")
        assert row["score"] < 0
    assert "\\u" not in "".join(lines), "umlauts are written as they are"


def test_a_photo_that_cannot_be_read_is_named_and_the_others_are_captioned(caption, some, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(Path(next(iter(some))).read_bytes()[:400])
    good = list(some)
    status, lines, errors = caption(good[0], tmp_path / "broken.jpg", good[1], tmp_path / "missing.png", good[2])
    assert status == 1
    assert lines == [f"{path}\t{text}" for path, text in some.items()]
    broken, missing = errors.splitlines()
    assert broken.startswith(f"capjax caption: {tmp_path / 'broken.jpg'}: ")
    assert missing == f"capjax caption: {tmp_path / 'missing.png'} does not exist"


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_a_file_name_that_is_not_utf8_or_too_long_costs_its_own_caption_only(caption, some, tmp_path, option):
    first, second, _ = some
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")
    Path(odd).write_bytes(Path(first).read_bytes())
    long = f"{tmp_path}/{'x' * 300}.jpg"
    status, lines, errors = caption(odd, first, long, f"{long}.mp4", second, *option)
    assert status == 1 and len(lines) == 2
    assert some[first] in lines[0] and some[second] in lines[1]
    messages = errors.splitlines()
    assert messages[0].endswith("caf\\udce9.jpg': the name is not UTF-8; rename the file or folder")
    assert [message.rpartition(": ")[2] for message in messages[1:]] == ["File name too long"] * 2
    assert caption(tmp_path, *option)[:2] == (1, []), "the folder has no other photo"


def test_nothing_but_unreadable_photos_prints_no_caption(caption, tmp_path):
    (tmp_path / "a.jpg").write_text("no photo")
    status, lines, errors = caption(tmp_path / "a.jpg", "--json")
    assert (status, lines) == (1, [])
    assert errors.count("a.jpg") == 1


def test_a_folder_gives_its_photos_in_order(caption, some, tmp_path):
    for number, path in enumerate(some):
        target = tmp_path / ("deep" if number else "") / f"{number}.JPG"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(Path(path).read_bytes())
    (tmp_path / "notes.txt").write_text("not asked for")
    status, lines, _ = caption(tmp_path, "--batch", 2)
    assert status == 0
    assert [line.split("\t")[0] for line in lines] == [str(tmp_path / n) for n in ("0.JPG", "deep/1.JPG", "deep/2.JPG")]
    assert [line.split("\t")[1] for line in lines] == list(some.values())


def test_a_folder_is_searched_by_content_and_tells_what_it_skips(caption, some, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "linked").mkdir()
    data = [Path(path).read_bytes() for path in some]
    (tmp_path / "folder" / "0.jfif").write_bytes(data[0])
    (tmp_path / "folder" / "1").write_bytes(data[1])
    (tmp_path / "linked" / "2.jpg").write_bytes(data[2])
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "linked")
    for name in ("notes.txt", "more.txt", "table.csv"):
        (tmp_path / "folder" / name).write_text("not asked for")
    status, lines, errors = caption(tmp_path / "folder")
    assert status == 0
    assert [line.split("\t")[1] for line in lines] == list(some.values())
    expected = "2 neither photo nor video (.txt), 1 neither photo nor video (.csv)"
    assert errors == f"capjax caption: skipped files in the folder {tmp_path / 'folder'}: {expected}\n"


def test_a_folder_that_cannot_be_read_is_named_and_fails(caption, some, tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.jpg").write_bytes(Path(next(iter(some))).read_bytes())
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    status, lines, errors = caption(tmp_path)
    assert (status, len(lines)) == (1, 1)
    assert errors == f"capjax caption: skipped {tmp_path / 'closed'}: Permission denied\n"


def test_a_name_with_control_characters_stays_on_one_line(caption, some, tmp_path):
    for name, path in zip(("a\nb.jpg", "c\x1b[31m\t.jpg", "é.jpg"), some, strict=True):
        (tmp_path / name).write_bytes(Path(path).read_bytes())
    (tmp_path / "e\nf.jpg").write_bytes(b"no photo")
    status, lines, errors = caption(tmp_path)
    names = [r"a\nb.jpg", r"c\x1b[31m\t.jpg", "é.jpg"]
    assert [line.split("\t") for line in lines] == [
        [f"{tmp_path}/{name}", text] for name, text in zip(names, some.values(), strict=True)
    ]
    assert (status, errors.count("\n")) == (1, 1)
    assert json.loads(caption(tmp_path / "a\nb.jpg", "--json")[1][0])["path"] == f"{tmp_path}/a\nb.jpg"


def test_a_folder_without_photos_is_said_so(caption, tmp_path):
    status, lines, errors = caption(tmp_path)
    assert (status, lines) == (1, [])
    assert f"no images or videos in the folder {tmp_path}" in errors


def test_standard_input_is_a_photo(caption, some, monkeypatch):
    path, text = next(iter(some.items()))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(path).read_bytes())))
    assert caption("-")[:2] == (0, [text])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"not a photo")))
    status, _, errors = caption("-")
    assert status == 1
    assert errors.startswith("capjax caption: standard input: not an image")


def test_beams_are_chosen(caption, some):
    status, lines, _ = caption(*some, "--beams", 1, "--json")
    assert status == 0
    greedy = [json.loads(line) for line in lines]
    _, lines, _ = caption(*some, "--beams", 3, "--json")
    for one, three in zip(greedy, map(json.loads, lines), strict=True):
        assert three["score"] >= one["score"] - 1e-5 or three["caption"] != one["caption"]
    status, lines, errors = caption(*some, "--beams", 0)
    assert (status, lines) == (1, [])
    assert "beams = 0" in errors


def test_an_unknown_language_names_those_known(caption, some):
    status, lines, errors = caption(*some, "--lang", "fr")
    assert (status, lines) == (1, [])
    assert errors == "capjax caption: --lang fr: this model writes en, de\n"


def test_the_config_of_a_workdir_is_parsed_once(caption, some, monkeypatch):
    parsed, from_json = [], config_lib.from_json
    monkeypatch.setattr(config_lib, "from_json", lambda *args: parsed.append(args) or from_json(*args))
    assert caption(*some)[0] == 0
    assert len(parsed) == 1


def test_a_missing_workdir_is_said_so(caption, some, tmp_path):
    status, _, errors = caption(*some, workdir=tmp_path / "none")
    assert status == 1
    assert errors.startswith(f"capjax caption: {tmp_path / 'none'}: no trained model here")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("argv", [[], ["caption"], ["caption", "a.jpg"], ["capton", "a.jpg", "--workdir", "x"]])
def test_wrong_arguments_exit_with_2(argv):
    try:
        status = cli.main(argv)
    except SystemExit as stop:  # argparse's
        status = stop.code
    assert status == 2


def test_a_reader_that_has_seen_enough_gets_no_traceback(tiny, some):
    command = [sys.executable, "-m", "capjax.cli", "caption", *some, "--workdir", tiny.trained(), "--batch", "1"]
    process = subprocess.Popen(command, env=tiny.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    errors = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait() == 1
    assert errors == ""
