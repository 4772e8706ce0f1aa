"""The command `capjax caption` with a model that finds events in videos."""

import functools
import json
import re
import shutil

import pytest

from capjax import cli, predict
from capjax.commands.caption import clock
from tests.helpers.tiny_videos import DENSE


@pytest.fixture(scope="module")
def load():
    """`capjax.predict.load`, with models and their compiled programs cached by path."""
    cached = functools.cache(predict.load)
    return lambda workdir, **options: cached(getattr(workdir, "path", workdir), **options)


@pytest.fixture
def caption(tiny_videos, load, monkeypatch, capsys):
    """Runs `capjax caption` -> (exit status, lines of output, errors)."""
    monkeypatch.setenv("CAPJAX_CACHE", str(tiny_videos.path / "cache"))
    monkeypatch.setattr(predict, "load", load)

    def run(*args, workdir=None):
        workdir = workdir or tiny_videos.model("queries_whole", DENSE)
        status = cli.main(["caption", "--workdir", str(workdir), *map(str, args)])
        done = capsys.readouterr()
        return status, done.out.splitlines(), done.err

    return run


@pytest.fixture
def videos(tiny_videos):
    return sorted((tiny_videos.path / "videos").iterdir())[:3]


@pytest.fixture
def wanted(tiny_videos, load, videos):
    return load(tiny_videos.model("queries_whole", DENSE)).events(videos)


def test_each_event_is_a_line_with_its_start_and_end(caption, videos, wanted):
    status, lines, errors = caption(videos[0], "--dense")
    assert (status, errors) == (0, "")
    assert lines == [f"{clock(e.start)} - {clock(e.end)}  {e.text}" for e in wanted[0]]
    assert len(lines) > 1
    assert all(re.match(r"0:\d\d\.\d - 0:\d\d\.\d  \w", line) for line in lines)


def test_a_model_of_events_tells_events_also_when_it_is_not_asked_to(caption, videos):
    assert caption(videos[0]) == caption(videos[0], "--dense")


def test_of_several_videos_the_path_comes_first(caption, videos, wanted):
    _, lines, _ = caption(*videos, "--batch", 2)
    assert [line.split("\t")[0] for line in lines] == [
        str(path) for path, events in zip(videos, wanted, strict=True) for _ in events
    ]


def test_json_is_one_object_a_video(caption, videos, wanted):
    status, lines, _ = caption(*videos, "--json", "--lang", "en")
    rows = [json.loads(line) for line in lines]
    assert status == 0
    assert [row["path"] for row in rows] == list(map(str, videos))
    for row, events in zip(rows, wanted, strict=True):
        assert set(row) == {"path", "lang", "duration", "events"}
        assert row["lang"] == "en"
        for row_event, event in zip(row["events"], events, strict=True):
            assert set(row_event) == {"start", "end", "caption", "score"}
            assert row_event["caption"] == event.text
            assert 0 <= row_event["start"] < row_event["end"] <= row["duration"]
            assert row_event["start"] == pytest.approx(event.start, abs=1e-3)
            assert 0 < row_event["score"] < 1


def test_a_video_that_cannot_be_read_is_named_and_the_others_are_told(caption, videos, tmp_path):
    (tmp_path / "broken.mp4").write_text("no video")
    (tmp_path / "photo.jpg").write_text("no video")
    bad = [tmp_path / "broken.mp4", tmp_path / "photo.jpg", tmp_path / "missing.mp4"]
    status, lines, errors = caption(videos[0], *bad, videos[1])
    assert status == 1
    assert {line.split("\t")[0] for line in lines} == {str(videos[0]), str(videos[1])}
    assert [error.removeprefix("capjax caption: ").split(" ", 1)[0] for error in errors.splitlines()] == list(
        map(str, bad)
    )
    assert all(error.startswith("capjax caption: ") for error in errors.splitlines())


def test_a_folder_gives_its_videos_in_order(caption, videos, tmp_path):
    for path in videos:
        shutil.copy(path, tmp_path)
    (tmp_path / "cover.jpg").write_text("not asked for")
    status, lines, _ = caption(tmp_path, "--json")
    assert status == 0
    assert [json.loads(line)["path"] for line in lines] == [str(tmp_path / path.name) for path in videos]


def test_windows_are_chosen(caption, videos):
    status, lines, errors = caption(videos[0], "--window", 3, "--overlap", 1)
    assert (status, errors) == (0, "")
    assert lines
    status, lines, errors = caption(videos[0], "--window", 3, "--overlap", 3)
    assert (status, lines) == (1, [])
    assert errors == "capjax caption: windows of 3 s with an overlap of 3 s: the overlap should be smaller\n"


@pytest.mark.parametrize("option", [["--dense"], ["--window", "3"], ["--overlap", "1"]])
def test_a_model_that_finds_no_events_says_so_before_any_work(caption, tiny_videos, videos, option, tmp_path):
    workdir = tmp_path / "run"  # not even its weights are looked at
    workdir.mkdir()
    shutil.copy(tiny_videos.model("caption", ("decode.min_len=4", "data.task=caption")) / "config.json", workdir)
    status, lines, errors = caption(videos[0], *option, workdir=workdir)
    assert (status, lines) == (1, [])
    assert errors == (
        f"capjax caption: {option[0]} is for models that find events; the one in {workdir} was trained with data.task "
        "= caption\n"
    )


def test_standard_input_is_no_video(caption):
    status, lines, errors = caption("-")
    assert (status, lines) == (1, [])
    assert errors == "capjax caption: standard input is for photos; events are found in video files\n"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00.0"), (3.24, "0:03.2"), (59.96, "1:00.0"), (723.2, "12:03.2"), (3723.2, "1:02:03.2")],
)  # fmt: skip
def test_times_are_shown_as_players_show_them(seconds, shown):
    assert clock(seconds) == shown
