"""`capjax analyze`: its report, what it says of wrong input, and that it needs no JAX."""

import csv
import json
import re
import subprocess
import sys

import pytest

from capjax import cli
from capjax.analyze.findings import KINDS
from data_prep.synthetic.shapes.draw import draw
from data_prep.synthetic.shapes.grammar import captions
from data_prep.synthetic.shapes.scene import make_scene
from tests.helpers.browser import open_page, serious_findings
from tests.helpers.pictures import encode

COUNT = 30


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Predictions, references, labels and photos of drawn scenes; every fifth prediction has a wrong color."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "photos").mkdir()
    predictions, references, images, annotations = {}, {}, [], []
    for index in range(COUNT):
        scene, name = make_scene(3, index), f"scene-{index}"
        text, *references[name] = captions(scene, "en", 6)
        color = scene.things[0].color
        predictions[name] = text.replace(color, "orange") if index % 5 == 0 else text
        (folder / "photos" / f"{name}.jpg").write_bytes(encode(draw(scene, 64)))
        images.append({"id": name, "width": 100, "height": 100})
        for thing in scene.things:
            x0, y0, x1, y1 = (100 * value for value in thing.box())
            category = ("circle", "square", "triangle", "star", "diamond").index(thing.shape)
            annotations.append({"image_id": name, "category_id": category, "bbox": [x0, y0, x1 - x0, y1 - y0]})
    categories = [{"id": n, "name": name} for n, name in enumerate(("circle", "square", "triangle", "star", "diamond"))]
    instances = {"images": images, "annotations": annotations, "categories": categories}
    write(folder / "predictions.json", predictions)
    write(folder / "references.json", references)
    write(folder / "true.json", {name: texts[0] for name, texts in references.items()})
    write(folder / "instances.json", instances)
    return folder


def write(path, data):
    path.write_text(json.dumps(data))
    return path


@pytest.fixture
def analyze(files, tmp_path, capsys):
    """Runs the command on the files -> (exit status, output, errors)."""

    def run(*options, predictions="predictions.json", references="references.json"):
        paths = [str(files / predictions), "--references", str(files / references)]
        status = cli.main(["analyze", *paths, "--output", str(tmp_path / "out"), *map(str, options)])
        done = capsys.readouterr()
        return status, done.out, done.err

    return run


def test_the_report_has_page_tables_and_summary(analyze, files, tmp_path):
    status, output, _ = analyze(
        "--objects", files / "instances.json", "--media", files / "photos", "--compare", files / "true.json",
        "--training", files / "references.json",
    )  # fmt: skip
    assert status == 0
    assert [line.split("  ")[0] for line in output.splitlines()[:-1]] == list(KINDS)
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["items"] == COUNT
    assert summary["objects_from"] == "labels"
    assert summary["frequencies"]["wrong attribute"]["count"] == COUNT // 5
    assert all(f["count"] == 0 for kind, f in summary["frequencies"].items() if kind != "wrong attribute")
    assert summary["comparison"]["wrong attribute"]["difference"] == pytest.approx(0.2)
    rows = list(csv.DictReader((tmp_path / "out/tables/findings.csv").open()))
    assert len(rows) == COUNT // 5
    assert all(row["said"].startswith("orange ") and json.loads(row["boxes"]) for row in rows)
    assert json.loads((tmp_path / "out/tables/frequencies.json").read_text())[2]["captions"] == COUNT // 5
    page = (tmp_path / "out/index.html").read_text()
    assert "data:image/jpeg;base64," in page
    assert "<mark>" in page


def test_bias_of_two_systems_is_compared(analyze, files, tmp_path):
    """The system always names the gender that goes with an action; the other names that of the picture."""
    genders = {n: ("man", "woman")[n * 7 // 10 % 2] for n in range(80)}
    doings = {n: "cooking" if (genders[n] == "woman") == (n % 10 < 7) else "running" for n in range(80)}
    write(files / "people.json", {str(n): [f"a {genders[n]} is {doings[n]}"] * 2 for n in range(80)})
    usual = {"cooking": "woman", "running": "man"}
    write(files / "stereotypes.json", {str(n): f"a {usual[doings[n]]} is {doings[n]}" for n in range(80)})
    write(files / "right.json", {str(n): f"a {genders[n]} is {doings[n]}" for n in range(80)})
    status, _, errors = analyze(
        "--compare", files / "right.json", predictions="stereotypes.json", references="people.json"
    )
    assert status == 0, errors
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["amplification"]["value"] > 0.15
    assert summary["other_amplification"]["value"] == pytest.approx(0)
    compared = summary["amplification_comparison"]
    assert compared["difference"] == pytest.approx(summary["amplification"]["value"])
    assert compared["p_value"] < 0.01
    leaked = [summary[name]["lic"]["difference"] for name in ("leakage", "other_leakage")]
    assert summary["leakage_comparison"]["difference"] == pytest.approx(leaked[0] - leaked[1])
    rows = list(csv.DictReader((tmp_path / "out/tables/bias_comparison.csv").open()))
    assert [row["measure"] for row in rows] == ["amplification", "leakage (LIC)"]
    page = (tmp_path / "out/index.html").read_text()
    assert "Bias compared with" in page and "right.json" in page


def test_the_page_works_in_a_browser(analyze, files, tmp_path):
    """Nothing is loaded, and every photo shows; tables are sorted, and captions behind cells shown, by the keyboard."""
    analyze("--objects", files / "instances.json", "--media", files / "photos", "--compare", files / "true.json")
    with open_page(tmp_path / "out/index.html") as page:
        assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        heading = page.locator("table.sortable thead button").nth(1)
        heading.focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        table = page.locator("table.sortable").first
        assert table.locator("th[aria-sort=descending]").count() == 1
        assert table.locator("tbody tr").first.locator("td").first.text_content() == "wrong attribute"
        page.locator("button[data-cell]").first.focus()
        page.keyboard.press("Enter")
        assert page.locator(".behind figure").count() > 0
        assert serious_findings(page) == []


def test_captions_are_text_and_never_markup(analyze, files, tmp_path):
    hostile = "</script><script>alert(1)</script><img src=x onerror=1>"
    predictions = json.loads((files / "predictions.json").read_text())
    write(files / "hostile.json", dict.fromkeys(predictions, hostile))
    assert analyze(predictions="hostile.json")[0] == 0
    page = (tmp_path / "out/index.html").read_text()
    assert "<script>alert" not in page and "<img src=x" not in page


def test_an_earlier_report_is_replaced_and_other_files_are_kept(analyze, tmp_path):
    assert analyze()[0] == 0
    (tmp_path / "out/tables/old.csv").write_text("")
    assert analyze()[0] == 0
    assert not (tmp_path / "out/tables/old.csv").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    (tmp_path / "out/summary.json").unlink()
    status, _, errors = analyze()
    assert status == 1
    assert "out exists and is no analysis; name a new folder" in errors
    assert (tmp_path / "out/index.html").exists()


@pytest.mark.parametrize(
    ("name", "data", "options", "message"),
    [
        ("predictions.json", {"other": "a dog"}, (), "no id of the predictions is an id of the references"),
        ("predictions.json", {"scene-0": "a dog"}, (), "no prediction for 'scene-1', .*--missing drop"),
        ("predictions.json", {}, (), "predictions.json: found .*; expected captions as COCO"),
        ("references.json", {"scene-0": []}, (), "no captions of 'scene-0'"),
        ("instances.json", {"scene-0": ["circle"]}, ("--objects",), "instances.json: no labels of 'scene-1', "),
        ("instances.json", {"images": [], "annotations": []}, ("--objects",), "it has no categories"),
        ("instances.json", {"nobody": ["circle"]}, ("--objects",), "images 'nobody'; items 'scene-0'"),
    ],
)
def test_wrong_input_is_named(analyze, files, tmp_path, name, data, options, message):
    changed = write(tmp_path / name, data)
    names = {f"{key}.json": files / f"{key}.json" for key in ("predictions", "references", "instances")} | {
        name: changed
    }
    arguments = [argument for option in options for argument in (option, names["instances.json"])]
    status, _, errors = analyze(*arguments, predictions=names["predictions.json"], references=names["references.json"])
    assert status == 1
    assert re.search(message, errors), errors
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--media", "nowhere"), "--media nowhere: no such folder"),
        (("--training", "nowhere"), "nowhere: no such file"),
        (("--lang", "xx"), "there is no language with the code 'xx'"),
        (("--seed", "-1"), "--seed -1: expected 0 or more"),
    ],
)
def test_wrong_options_are_named(analyze, options, message):
    status, _, errors = analyze(*options)
    assert status == 1
    assert message in errors


def test_a_folder_of_other_photos_is_an_error(analyze, tmp_path):
    (tmp_path / "others").mkdir()
    (tmp_path / "others/x.jpg").write_bytes(b"")
    status, _, errors = analyze("--media", tmp_path / "others")
    assert status == 1
    assert "no file has the name of an item; files 'x.jpg'; items 'scene-0'" in errors


def test_an_unreadable_photo_is_named_and_the_others_are_shown(analyze, files, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in (files / "photos").iterdir():
        (photos / path.name).write_bytes(path.read_bytes())
    (photos / "scene-0.jpg").write_bytes(b"no photo")
    status, _, _ = analyze("--media", photos)
    assert status == 0
    assert list(json.loads((tmp_path / "out/summary.json").read_text())["unreadable_media"]) == ["scene-0"]
    page = (tmp_path / "out/index.html").read_text()
    assert "1 photos or videos could not be read" in page and "data:image/jpeg" in page


def test_languages_are_analyzed_side_by_side(analyze, files, tmp_path):
    def rows(count):
        return [
            {"id": index, "captions": [{"text": text, "lang": lang} for lang in ("en", "de")
                                       for text in captions(make_scene(0, index), lang, count)]}
            for index in range(20)
        ]  # fmt: skip

    write(files / "r2.json", rows(3))
    one = [{"id": row["id"], "lang": c["lang"], "caption": c["text"]} for row in rows(1) for c in row["captions"]]
    write(files / "p-en.json", [row for row in one if row["lang"] == "en"])
    write(files / "p-de.json", [row for row in one if row["lang"] == "de"])
    assert analyze("--lang", "de", predictions="p-de.json", references="r2.json")[0] == 0
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert all(frequency["count"] == 0 for frequency in summary["frequencies"].values())
    assert "in English alone" in summary["notes"][0]


def test_a_dataset_is_training_data_with_photos(analyze, files, tiny, tmp_path):
    """The tiny job's photos are of six plain colors, so that those of val are nearly those of train."""
    write(files / "colors.json", {"a": "a red picture"})
    write(files / "color-references.json", {"a": ["a red picture", "red all over"]})
    status, _, errors = analyze(
        "--training", tiny.data, predictions="colors.json", references="color-references.json"
    )  # fmt: skip
    assert status == 0, errors
    rows = list(csv.DictReader((tmp_path / "out/tables/near_duplicates.csv").open()))
    assert {(row["split"], row["other split"]) for row in rows} == {("train", "val")}
    languages = list(csv.DictReader((tmp_path / "out/tables/languages_training.csv").open()))
    assert {row["language"]: int(row["captions"]) for row in languages} == {"en": 96, "de": 48}


def test_it_runs_without_jax(files, tmp_path):
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('jax', 'flax', 'tensorflow')));"
        "from capjax import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    argv = [
        "analyze",
        files / "predictions.json",
        "--references",
        files / "references.json",
        "--output",
        tmp_path / "out",
    ]
    done = subprocess.run([sys.executable, "-c", program, *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
