"""The page of a run: pictures, captions, scores and loss, and nothing that a caption could break."""

import base64
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree

import pytest

from capjax.data.record import RecordSource
from capjax.evals import page
from capjax.workdir.layout import Workdir
from tests.helpers.tiny_job import COLOURS, Tiny, copy, predictions


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return Tiny(tmp_path_factory)


def test_the_page_shows_pictures_captions_references_scores_and_loss(tiny):
    workdir = tiny.trained()
    text, source = page.make_page(Workdir(workdir)), RecordSource(tiny.data, "val")
    figures = re.findall(r"<figure>.*?</figure>", text)
    assert len(figures) == len(source)
    said = predictions(workdir)
    for i, figure in enumerate(figures):
        record = source[i]
        assert base64.b64decode(re.search(r"base64,([^\"]*)\"", figure)[1]) == record.frames[0]
        assert f"<b>{said[record.id]}</b>" in figure
        for caption in record.captions:
            assert (f"<li>{caption.text}</li>" in figure) == (caption.lang == "en")
    scores = json.loads((workdir / "scores.json").read_text())["scores"]["en"]
    for name, value in scores.items():
        assert f"<td>{name}</td><td>{value:.3f}</td>" in text
    assert "<polyline" in text
    assert "tiny: captions after 40 steps" in text
    assert 'src="http' not in text, "one file, with everything inside"


def test_captions_are_text_and_never_markup(tiny, tmp_path):
    workdir = copy(tiny.trained(), tmp_path / "run")
    path = workdir / "predictions.json"
    rows = json.loads(path.read_text())
    for row in rows:
        row["caption"] = '<script>alert("x")</script> & \'"><img src=x onerror=1>'
    path.write_text(json.dumps(rows))
    config = json.loads((workdir / "config.json").read_text()) | {"name": "<script>name</script>"}
    (workdir / "config.json").write_text(json.dumps(config))
    text = page.make_page(Workdir(workdir))
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; " in text


def test_the_loss_curve_falls_where_the_loss_falls():
    curve = page.loss_curve([{"step": 1, "loss": 4.0}, {"step": 5, "eval/CIDEr": 1.0}, {"step": 10, "loss": 1.0}])
    svg = ElementTree.fromstring(curve)
    points = [tuple(map(float, point.split(","))) for point in svg.find("polyline").get("points").split()]
    (x0, y0), (x1, y1) = points
    assert x0 < x1
    assert y0 < y1, "SVG's y grows downwards"
    assert page.loss_curve([{"step": 1, "loss": 4.0}]) == ""


def test_the_command_writes_the_page_into_a_new_folder(tiny, tmp_path, monkeypatch, capsys):
    output = tmp_path / "new" / "index.html"
    monkeypatch.setattr("sys.argv", ["page", "--workdir", str(tiny.trained()), "--output", str(output)])
    assert page.main() == 0
    assert any(colour in output.read_text() for colour in COLOURS)
    assert output.as_uri() in capsys.readouterr().out


def test_a_run_without_scores_is_told_what_to_do(tiny, tmp_path, monkeypatch, capsys):
    workdir = copy(tiny.trained(), tmp_path / "run")
    (workdir / "scores.json").unlink()
    monkeypatch.setattr("sys.argv", ["page", "--workdir", str(workdir), "--output", str(tmp_path / "index.html")])
    assert page.main() == 1
    assert "no scores.json; evaluate first with `launch.py --mode=eval`" in capsys.readouterr().err
    assert not (tmp_path / "index.html").exists()


@pytest.mark.parametrize(("reference", "ratio"), [(0.5, "50 %"), (0.0, ""), (1e-9, ""), (None, "")])
def test_there_is_no_ratio_to_a_reference_score_of_zero(reference, ratio):
    cells = re.findall(r"<td>(.*?)</td>", page._row("BLEU-4", 0.25, reference))
    assert cells[-1] == ratio
    assert cells[:2] == ["BLEU-4", "0.250"]


def test_photos_of_records_without_frames_are_found_in_their_dataset_or_in_a_folder(tiny, tmp_path):
    source = RecordSource(tiny.data, "val")
    (tmp_path / "deep").mkdir()
    shutil.copy(tiny.photos / source[1].media, tmp_path / "deep")
    (tmp_path / source[2].media).write_text("no photo")
    in_dataset, in_folder = page.PhotoFinder("val", tiny.data), page.PhotoFinder("val", tmp_path)
    for index in range(4):
        record = source[index]
        photo, record.frames = record.frames[0], ()
        assert in_dataset.find(record, index) == photo
        assert in_dataset.find(record, index + 1) is None, "another record"
        assert page.PhotoFinder("val").find(record, index) is None
        assert bool(in_folder.find(record, index)) == (index == 1)
    with pytest.raises(FileNotFoundError, match=r"--photos .*none: no such folder"):
        page.PhotoFinder("val", tmp_path / "none")
