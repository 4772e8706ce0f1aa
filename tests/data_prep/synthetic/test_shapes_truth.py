"""The share of exactly true captions."""

import json
import sys

import pytest

from data_prep.synthetic.shapes.__main__ import main, truth
from data_prep.synthetic.shapes.grammar import captions
from data_prep.synthetic.shapes.scene import make_scene


def rows(indices, text=lambda scene: captions(scene, "en", 1)[0]):
    return [{"image_id": f"shapes-{i:07}", "caption": text(make_scene(0, i))} for i in indices]


def test_true_captions_count_and_false_ones_do_not():
    counts = truth(rows(range(30)) + rows(range(30, 40), lambda scene: "A pink elephant."), "en", 0)
    assert sum(right for right, _ in counts.values()) == 30
    assert sum(total for _, total in counts.values()) == 40


def test_another_seed_is_another_truth():
    assert sum(right for right, _ in truth(rows(range(30)), "en", 1).values()) < 5


def test_the_command_tells_the_share(tmp_path, monkeypatch, capsys):
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps(rows(range(8)) + rows([8, 9], lambda scene: "nothing")))
    monkeypatch.setattr(sys, "argv", ["x", str(path)])
    assert main() == 0
    assert "exactly true: 8 of 10 captions, 80 %" in capsys.readouterr().out


@pytest.mark.parametrize("text", ['[{"image_id": "cat.jpg", "caption": "a"}]', "{", "[]", '{"a": 1}'])
def test_other_files_are_refused_by_name(text, tmp_path, monkeypatch, capsys):
    path = tmp_path / "predictions.json"
    path.write_text(text)
    monkeypatch.setattr(sys, "argv", ["x", str(path)])
    assert main() == 1
    assert "predictions.json" in capsys.readouterr().err
