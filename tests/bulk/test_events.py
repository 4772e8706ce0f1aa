"""`capjax bulk` with a model that finds events in videos."""

import numpy as np
import pytest

import capjax
from capjax import cli
from tests.bulk.conftest import write_tar
from tests.helpers.captioned import FIXTURES, VIDEOS
from tests.helpers.kill_bulk import rows
from tests.helpers.tiny_job import in_this_process

WORKDIR = FIXTURES / "workdirs/dense_queries"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    import jax

    in_this_process(monkeypatch, tmp_path)
    monkeypatch.setattr(jax, "local_devices", jax.devices)

    def bulk(*args, output):
        status = cli.main(["bulk", "--workdir", str(WORKDIR), "--output", str(output), *map(str, args)])
        return status, capsys.readouterr().err

    return bulk


def test_videos_get_their_events_from_files_and_from_tars(run, tmp_path):
    (tmp_path / "videos").mkdir()
    for path in VIDEOS:
        (tmp_path / "videos" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "videos/broken.mp4").write_bytes(VIDEOS[0].read_bytes()[:200])
    write_tar(tmp_path / "a.tar", [(path.name, path.read_bytes()) for path in VIDEOS])
    status, err = run("--input", tmp_path / "videos", "--shard-size", 2, output=tmp_path / "folder")
    assert status == 0, err
    status, err = run("--input", tmp_path / "a.tar", output=tmp_path / "tar")
    assert status == 0, err
    failed, *good = sorted(rows(tmp_path / "folder"), key=lambda row: "error" not in row)
    assert failed["id"] == "broken.mp4" and failed["captions"] == []
    expected = capjax.load(WORKDIR).events(VIDEOS)
    for row, other, video in zip(good, rows(tmp_path / "tar"), expected, strict=True):
        assert row["video"] == other["video"] and row["duration"] == video.duration
        for captions in (row["captions"], other["captions"]):  # of batches of other sizes
            assert [(each["text"], each["lang"]) for each in captions] == [(each.text, each.lang) for each in video]
            times = [(each["start"], each["end"], each["score"]) for each in captions]
            np.testing.assert_allclose(times, [(each.start, each.end, each.score) for each in video], rtol=1e-4)
    assert sum(len(video) for video in expected), "events of no video would prove nothing"


def test_several_captions_or_languages_are_refused(run, tmp_path):
    for options in (["--n", "2", "--beams", "4"], ["--lang", "en", "--lang", "de"]):
        status, err = run("--input", VIDEOS[0], *options, output=tmp_path / "out")
        assert status == 1 and ("one caption for each" in err or "was not trained on" in err), err
