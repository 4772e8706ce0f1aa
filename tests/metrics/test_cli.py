"""`python -m capjax.metrics` on files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from capjax.metrics import score
from capjax.metrics.activitynet import read_annotations, read_submission
from capjax.metrics.cli import main
from capjax.metrics.dense import score_dense

REFERENCES = {
    1: ["a dog runs on the grass", "the dog is running outside"],
    2: ["two cats sleep on a bed", "cats are sleeping"],
    3: ["a man rides a red bike", "someone on a bicycle"],
}
PREDICTIONS = {1: "a dog is running on grass", 2: "two cats on a bed", 3: "a man rides a bike"}


def write(path, data):
    path.write_text(json.dumps(data))
    return str(path)


def results(captions: dict) -> list[dict]:
    return [{"image_id": id, "caption": text} for id, text in captions.items()]


@pytest.fixture
def annotations(tmp_path):
    """COCO's form."""
    rows = [
        {"id": 10 * id + n, "image_id": id, "caption": text}
        for id, group in REFERENCES.items() for n, text in enumerate(group)
    ]  # fmt: skip
    return write(tmp_path / "captions.json", {"images": [{"id": id} for id in REFERENCES], "annotations": rows})


@pytest.fixture
def predictions(tmp_path):
    return write(tmp_path / "predictions.json", results(PREDICTIONS))


def run(capsys, *arguments) -> dict:
    assert main([*map(str, arguments), "--metrics", "bleu,rouge,cider", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command_gives_what_python_gives(capsys, annotations, predictions):
    report = run(capsys, "--predictions", predictions, "--references", annotations)
    assert report["scores"] == pytest.approx(score(PREDICTIONS, REFERENCES).corpus)
    assert report["signatures"]["CIDEr-D"].startswith("CIDEr-D|items:3|refs:2|tok:ptb-3.4.1|idf:references|capjax:")


def test_it_runs_as_a_module_and_prints_a_table(annotations, predictions):
    done = subprocess.run(
        [sys.executable, "-m", "capjax.metrics", "--predictions", predictions, "--references", annotations,
         "--metrics", "rouge,spice"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, "SPICE was asked for"
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["metric", "score"]
    assert lines[1].split() == ["ROUGE-L", f"{score(PREDICTIONS, REFERENCES).corpus['ROUGE-L']:.4f}"]
    assert lines[2].startswith("spice") and "absent: " in lines[2]
    assert lines[-1].startswith("ROUGE-L|items:3|")
    assert done.stderr.startswith("capjax.metrics: --metrics spice: ") and done.stderr.count("\n") == 1


def test_a_missing_prediction_is_an_error_and_counts_as_nothing_when_asked(capsys, tmp_path, annotations):
    some = write(tmp_path / "some.json", results({1: PREDICTIONS[1], 2: PREDICTIONS[2]}))
    assert main(["--predictions", some, "--references", annotations]) == 2
    message = capsys.readouterr().err
    assert "no prediction for 3" in message and "zero" in message
    report = run(capsys, "--predictions", some, "--references", annotations, "--missing", "zero")
    assert report["counts"]["missing"] == 1
    assert report["scores"] == pytest.approx(score(PREDICTIONS | {3: ""}, REFERENCES).corpus)


def test_an_empty_prediction_is_an_error_and_scored_or_left_out_when_asked(capsys, tmp_path, annotations):
    some = write(tmp_path / "some.json", results(PREDICTIONS | {3: " "}))
    assert main(["--predictions", some, "--references", annotations]) == 2
    assert "some.json: empty captions of 3; --missing zero scores them" in capsys.readouterr().err
    zero, drop = (
        run(capsys, "--predictions", some, "--references", annotations, "--missing", how) for how in ("zero", "drop")
    )
    assert zero["counts"]["empty"] == 1 and zero["counts"]["missing"] == 0
    assert zero["scores"] == pytest.approx(score(PREDICTIONS | {3: ""}, REFERENCES).corpus)
    assert drop["counts"]["items"] == 2


@pytest.mark.parametrize("option", ["--per-item", "--save-idf"])
def test_where_nothing_can_be_written_is_told_before_the_work(capsys, tmp_path, annotations, predictions, option):
    for path, why in ((tmp_path / "nowhere" / "x", "is in a folder that does not exist"), (tmp_path, "is a folder")):
        assert main(["--predictions", predictions, "--references", annotations, option, str(path)]) == 2
        assert f"{option}: {path} {why}" in capsys.readouterr().err


def test_one_image_is_scored_by_the_statistics_of_a_training_set(capsys, tmp_path, annotations):
    one = write(tmp_path / "one.json", results({1: PREDICTIONS[1]}))
    only = write(tmp_path / "only.json", {"1": REFERENCES[1]})
    saved = tmp_path / "idf.json"
    first = run(
        capsys, "--predictions", one, "--references", only, "--idf", annotations, "--save-idf", str(saved)
    )  # fmt: skip
    again = run(capsys, "--predictions", one, "--references", only, "--idf", str(saved))
    assert first["scores"] == again["scores"] and first["scores"]["CIDEr"] > 0
    assert "idf:captions.json(3)" in first["signatures"]["CIDEr"]
    assert main(["--predictions", one, "--references", only, "--metrics", "cider"]) == 0
    assert "warning: CIDEr of one item is 0 by definition" in capsys.readouterr().err


def test_each_items_scores_are_written_as_json_lines(capsys, tmp_path, annotations, predictions):
    run(capsys, "--predictions", predictions, "--references", annotations, "--per-item", str(tmp_path / "items.jsonl"))
    rows = [json.loads(line) for line in (tmp_path / "items.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [1, 2, 3] and rows[2]["prediction"] == PREDICTIONS[3]
    expected = score(PREDICTIONS, REFERENCES).items
    assert [row["ROUGE-L"] for row in rows] == pytest.approx(list(expected["ROUGE-L"]))


def test_a_system_against_itself_differs_by_nothing(capsys, annotations, predictions):
    report = run(
        capsys, "--predictions", predictions, "--references", annotations, "--baseline", predictions,
        "--bootstrap", "200",
    )  # fmt: skip
    for name, compared in report["comparison"].items():
        assert compared["difference"] == 0 and compared["p_value"] == 1, name
        interval = report["intervals"][name]
        assert interval["low"] <= report["scores"][name] <= interval["high"], name


def test_how_alike_several_captions_of_an_item_are(capsys, tmp_path, annotations, predictions):
    samples = write(tmp_path / "samples.json", {id: ["a dog runs", "two cats sleep", "a man"] for id in REFERENCES})
    report = run(capsys, "--predictions", predictions, "--references", annotations, "--samples", samples)
    assert report["diversity"]["mBLEU-4"] < 0.01
    assert report["diversity"]["Self-CIDEr"] > 0.9
    assert main(["--predictions", predictions, "--references", annotations, "--samples", predictions]) == 2
    assert "expected two or more of each" in capsys.readouterr().err


def test_diversity_and_hallucinated_objects_are_told_when_asked(capsys, tmp_path, annotations, predictions):
    instances = {
        "images": [{"id": id, "file_name": f"{id}.jpg"} for id in REFERENCES],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": 3, "name": "bicycle"}],
        "annotations": [{"id": id, "image_id": id, "category_id": id} for id in (1, 2)],
    }
    report = run(
        capsys, "--predictions", predictions, "--references", annotations, "--diversity", "--training", annotations,
        "--objects", write(tmp_path / "instances.json", instances),
    )  # fmt: skip
    assert 0 < report["diversity"]["distinct-1"] <= 1
    assert report["CHAIR"] == {"CHAIRi": 0, "CHAIRs": 0}, "no label tells of the man or the bike, the references do"
    other = write(tmp_path / "other.json", results(PREDICTIONS | {2: "two cats on a bed beside a dog"}))
    report = run(capsys, "--predictions", other, "--references", annotations, "--objects", tmp_path / "instances.json")
    assert report["CHAIR"] == {"CHAIRi": pytest.approx(1 / 6), "CHAIRs": pytest.approx(1 / 3)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "bleurt"], "no metric 'bleurt'"),
        (["--idf", "nowhere.json"], "nowhere.json"),
        (["--lang", "english"], "--lang: 'english' is the name of a language, not its code; write en"),
        (["--lang", "xx"], "--lang: there is no language with the code 'xx'"),
        (["--bootstrap", "5"], "--bootstrap 5: expected 100 resamples or more"),
        (["--seed", "-1"], "--seed -1: expected 0 or more"),
        (["--split", "val"], "the format coco has no splits; leave out --split val"),
        (["--soda-sets", "best"], "--soda-sets is for dense captions only"),
        (["--tious", "0.5"], "--tious is for dense captions only"),
        (["--predictions", "nowhere" * 1000], "File name too long"),
    ],
)
def test_what_does_not_fit_ends_with_a_line_and_status_2(capsys, annotations, predictions, arguments, message):
    status = main(["--predictions", predictions, "--references", annotations, *arguments])
    err = capsys.readouterr().err
    assert status == 2 and message in err and err.count("\n") == 1


@pytest.mark.parametrize("lang", ["eng", "en-US", "EN_gb"])
def test_every_code_of_english_has_the_default_scores(capsys, annotations, predictions, lang):
    files = "--predictions", predictions, "--references", annotations
    assert run(capsys, *files, "--lang", lang) == run(capsys, *files)


def test_metrics_are_chosen_by_the_names_of_the_table(capsys, annotations, predictions):
    files = ["--predictions", predictions, "--references", annotations]
    assert main([*files, "--metrics", "bleu,rouge,cider"]) == 0
    table = capsys.readouterr().out
    names = [line.split()[0] for line in table.split("\n\n")[0].splitlines()[1:]]
    assert names == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr", "CIDEr-D"]
    assert main([*files, "--metrics", ",".join(names)]) == 0
    assert capsys.readouterr().out == table


@pytest.mark.parametrize("metrics", ["spice", "SPICE,rouge", "meteor"])
def test_a_metric_that_was_asked_for_and_is_absent_is_named_with_status_1(capsys, annotations, predictions, metrics):
    assert main(["--predictions", predictions, "--references", annotations, "--lang", "de", "--metrics", metrics]) == 1
    captured = capsys.readouterr()
    assert "absent: " in captured.out and ("ROUGE-L" in captured.out) == ("rouge" in metrics)
    assert "for English only" in captured.err.splitlines()[-1]


def test_messages_name_options_as_they_are_typed(capsys, tmp_path, annotations):
    files = ["--references", annotations, "--predictions"]
    assert main([*files, write(tmp_path / "some.json", results({1: "a dog"}))]) == 2
    assert "with --missing zero, or leave them out with --missing drop" in capsys.readouterr().err
    assert main([*files, write(tmp_path / "more.json", results(PREDICTIONS | {9: "a dog"}))]) == 2
    assert "with --extra ignore" in capsys.readouterr().err


def test_an_error_that_nobody_foresaw_names_the_files(capsys, monkeypatch, annotations, predictions):
    def fail(*args, **options):
        raise KeyError("bug")

    monkeypatch.setattr("capjax.metrics.cli.score", fail)
    assert main(["--predictions", predictions, "--references", annotations]) == 70
    err = capsys.readouterr().err
    message = f"unforeseen KeyError: 'bug', while processing {predictions} and {annotations} ("
    assert err.startswith(f"capjax.metrics: {message}")


def test_a_file_name_that_is_not_utf8_is_scored_and_printed(tmp_path, annotations, predictions):
    odd = os.fsencode(tmp_path) + b"/caf\xe9.json"
    with open(odd, "w") as file:  # noqa: PTH123
        file.write(Path(annotations).read_text())
    for extra in ((), ("--json",)):
        done = subprocess.run(
            [sys.executable, "-m", "capjax.metrics", "--predictions", predictions, "--references", annotations,
             "--metrics", "cider", "--idf", odd, *extra],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "caf" in done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "capjax.metrics", "--predictions", odd + b"x", "--references", annotations],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "caf\\udce9.jsonx: no such file" in done.stderr


def test_dense_captions_are_scored_from_activitynets_files(capsys, tmp_path):
    annotation = {"duration": 20, "timestamps": [[0, 10], [10, 20]], "sentences": ["a man runs", "the dog jumps"]}
    first = write(tmp_path / "val_1.json", {"v": annotation, "w": annotation})
    second = write(tmp_path / "val_2.json", {"v": annotation})
    events = [{"sentence": "a man runs", "timestamp": [0, 9]}, {"sentence": "dogs jump", "timestamp": [10, 20]}]
    some = write(tmp_path / "submission.json", {"results": {"v": events}})
    arguments = ["--predictions", some, "--references", first, second]
    assert main(arguments) == 2
    assert "no predictions for 'w'" in capsys.readouterr().err
    zero, drop = (run(capsys, *arguments, "--missing", how) for how in ("zero", "drop"))
    assert zero["counts"] == {"items": 2, "missing": 1, "extra": 0, "events": 2}
    assert drop["scores"]["Precision@0.5"] == 1 and zero["scores"]["Precision@0.5"] == 0.5
    assert zero["signatures"]["dense"].startswith("dense|videos:2|sets:2|tok:ptb-3.4.1-ascii|")
    items = tmp_path / "items.jsonl"
    assert main([*arguments, "--missing", "zero", "--metrics", "bleu", "--per-item", str(items)]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["tIoU", "0.3", "0.5", "0.7", "0.9", "mean"]
    assert any(line.startswith("SODA_c") and "absent: " in line for line in table)
    rows = [json.loads(line) for line in items.read_text().splitlines()]
    assert [row["id"] for row in rows] == ["v", "w"]
    sets = {}
    for how in ("mean", "best", "merged"):
        report = run(capsys, *arguments, "--missing", "zero", "--soda-sets", how)
        assert f"swapped,{how}" in report["signatures"]["dense"]
        read = read_submission(some), [read_annotations(first), read_annotations(second)]
        expected = score_dense(*read, metrics=["bleu", "rouge", "cider"], missing="zero", soda_sets=how)
        assert report["scores"] == expected.corpus
        sets[how] = report["scores"]["SODA_d"]
    assert (
        len(set(sets.values())) > 1 and run(capsys, *arguments, "--missing", "zero")["scores"]["SODA_d"] == sets["mean"]
    )
    assert main([*arguments]) == 2
    assert "--missing zero counts them as 0, --missing drop leaves them out" in capsys.readouterr().err
    assert main([*arguments, "--idf", first]) == 2
    assert "--idf does not apply to dense captions" in capsys.readouterr().err
