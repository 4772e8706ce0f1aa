"""The page of a run: pictures, captions, scores and loss, and nothing that a caption could break."""

import base64
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree

import pytest

from capjax.data.dataset_folder import fingerprint
from capjax.data.record import RecordSource
from capjax.evals import page
from capjax.files import write_with_digest
from capjax.workdir.layout import Workdir
from tests.helpers.tiny_job import COLORS, copy, predictions


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
    assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt; &amp; " in text


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
    assert any(color in output.read_text() for color in COLORS)
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
    name, shown, _, shown_ratio = page._row("BLEU-4", 0.25, reference)
    assert (name, shown, shown_ratio) == ("BLEU-4", "0.250", ratio)


def test_photos_of_records_without_frames_are_found_in_their_dataset_or_in_a_folder(tiny, tmp_path):
    source = RecordSource(tiny.data, "val")
    (tmp_path / "deep").mkdir()
    shutil.copy(tiny.photos / source[1].media, tmp_path / "deep")
    (tmp_path / source[2].media).write_text("no photo")
    in_dataset, in_folder, nowhere = (page.PhotoFinder(source, folder) for folder in (tiny.data, tmp_path, None))
    for index in range(4):
        record = source[index]
        photo, record.frames = record.frames[0], ()
        assert in_dataset.find(record, index) == photo
        assert in_dataset.find(record, index + 1) is None, "another record"
        assert nowhere.find(record, index) is None
        assert bool(in_folder.find(record, index)) == (index == 1)
    with pytest.raises(FileNotFoundError, match=r"--photos .*none: no such folder"):
        page.PhotoFinder(source, tmp_path / "none")


def without_frames(monkeypatch, dataset):
    """Lets the records of a dataset have no frames, as those of a dataset of features."""
    read = RecordSource.__getitem__

    def getitem(source, index):
        record = read(source, index)
        if source.dataset_dir == dataset:
            record.frames = ()
        return record

    monkeypatch.setattr(RecordSource, "__getitem__", getitem)


def test_the_photos_of_features_come_from_the_dataset_they_were_extracted_from(tiny, tmp_path, monkeypatch):
    """Without being named; the page says so when they are not found."""
    pictures, features = copy(tiny.data, tmp_path / "pictures"), copy(tiny.data, tmp_path / "features")
    report = json.loads((features / "report.json").read_text())
    report["extracted_from"] = {"path": "../pictures", "fingerprint": fingerprint(pictures)}
    write_with_digest(features / "report.json", json.dumps(report).encode())
    workdir = copy(tiny.trained(), tmp_path / "run")
    scores = json.loads((workdir / "scores.json").read_text()) | {"split": f"{features}@val"}
    (workdir / "scores.json").write_text(json.dumps(scores))
    expected = re.findall(r"<figure>.*?</figure>", page.make_page(Workdir(tiny.trained())))
    without_frames(monkeypatch, features)
    assert re.findall(r"<figure>.*?</figure>", page.make_page(Workdir(workdir))) == expected
    pictures.rename(tmp_path / "elsewhere")
    text = page.make_page(Workdir(workdir))
    assert "<figure>" not in text
    assert f"No photos: {pictures}, from which {features} was extracted, is not there any more. Give " in text
    again = page.make_page(Workdir(workdir), photos=tmp_path / "elsewhere")
    assert re.findall(r"<figure>.*?</figure>", again) == expected


def test_damaged_scores_are_named(tiny, tmp_path):
    workdir = copy(tiny.trained(), tmp_path / "run")
    (workdir / "scores.json").write_text('{"scores": ')
    with pytest.raises(ValueError, match="scores.json is cut short or damaged .*; evaluate again"):
        page.make_page(Workdir(workdir))
