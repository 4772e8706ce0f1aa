"""predictions.json for each benchmark's server, and back."""

import json

import pytest

from capjax.evals.output_formats import FORMATS, to_output_format
from capjax.metrics import files
from capjax.metrics.cli import main as score_files

PREDICTIONS = {"video7010": "a man sings", "42": "ein Vogel fliegt", "007": "再见"}
USED = {"used": True, "details": "pretrained weights"}


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_scorer_reads_every_format_back(tmp_path, output_format):
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps(to_output_format(PREDICTIONS, output_format, USED)))
    assert {str(id): text for id, text in files.read_predictions(path).items()} == PREDICTIONS


def test_the_formats_are_those_that_servers_take():
    assert to_output_format(PREDICTIONS, "coco", USED)[:2] == [
        {"image_id": "video7010", "caption": "a man sings"}, {"image_id": 42, "caption": "ein Vogel fliegt"},
    ]  # fmt: skip
    assert to_output_format(PREDICTIONS, "msrvtt", USED) == {
        "version": "VERSION 1.0",
        "result": [{"video_id": id, "caption": text} for id, text in PREDICTIONS.items()],
        "external_data": USED,
    }
    assert to_output_format(PREDICTIONS, "plain", USED) == PREDICTIONS


@pytest.fixture
def msrvtt(tmp_path):
    """An annotation file of MSR-VTT's form."""
    data = {
        "info": {"version": "1.0"},
        "videos": [{"video_id": "video0", "split": "train"}, {"video_id": "video1", "split": "test"}],
        "sentences": [
            {"video_id": "video1", "sen_id": 0, "caption": "a man sings"},
            {"video_id": "video0", "sen_id": 1, "caption": "a dog runs"},
            {"video_id": "video1", "sen_id": 2, "caption": "someone sings a song"},
        ],
    }  # fmt: skip
    (tmp_path / "videodatainfo.json").write_text(json.dumps(data))
    return tmp_path / "videodatainfo.json"


def test_annotations_of_msrvtt_are_references(msrvtt, tmp_path, capsys):
    assert files.read_references(msrvtt) == {
        "video1": ["a man sings", "someone sings a song"], "video0": ["a dog runs"],
    }  # fmt: skip
    assert list(files.read_references(msrvtt, split="test")) == ["video1"]
    result = tmp_path / "predictions.json"
    result.write_text(json.dumps(to_output_format({"video1": "a man sings"}, "msrvtt", USED)))
    arguments = ["--predictions", str(result), "--references", str(msrvtt), "--split", "test", "--metrics", "bleu"]
    assert score_files([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["BLEU-1"] == pytest.approx(1)


def test_a_bad_row_is_named(msrvtt, tmp_path):
    data = json.loads(msrvtt.read_text())
    del data["sentences"][1]["caption"]
    msrvtt.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"sentences\[1\]: expected caption, found 'video_id', 'sen_id'"):
        files.read_references(msrvtt)
    with pytest.raises(ValueError, match="msrvtt is for references; expected predictions"):
        files.read_predictions(msrvtt)
    (tmp_path / "r.json").write_text(json.dumps({"result": [{"video_id": "v", "caption": 3}]}))
    with pytest.raises(ValueError, match=r"result\[0\]: a caption of 'v': expected text, found 3"):
        files.read_predictions(tmp_path / "r.json")
