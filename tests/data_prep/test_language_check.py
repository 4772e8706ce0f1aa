"""Captions in other languages than they claim are reported."""

import json

import pytest

from capjax.data.record import RecordCaption
from data_prep.cli import main
from data_prep.language_check import check_languages
from data_prep.readers import READERS, Item

GERMAN = [f"Eine {animal} schläft auf einem {thing} in der Sonne." for animal in ("Katze", "Maus", "Ente")
          for thing in ("Stuhl", "Tisch", "Dach", "Boot")]  # fmt: skip
ENGLISH = [f"A {animal} is sleeping on a {thing} in the sun." for animal in ("cat", "mouse", "duck")
           for thing in ("chair", "table", "roof", "boat")]  # fmt: skip


def items(folder, captions):
    return [Item(str(k), folder / f"{k}.jpg", "train", (RecordCaption(text, lang),), where=f"captions.csv:{k + 2}")
            for k, (text, lang) in enumerate(captions)]  # fmt: skip


def test_german_captions_that_say_english_are_reported(tmp_path):
    captions = [(text, "en") for pair in zip(ENGLISH, GERMAN, strict=True) for text in pair]
    (problem,) = check_languages({"train": items(tmp_path, captions)})
    assert (problem.kind, problem.costs, problem.where) == ("other_language", "nothing", "captions.csv:3")
    assert "50% of the captions with the language en seem to be in another one (50% de" in problem.message
    assert GERMAN[0] in problem.message and "--lang" in problem.message


def test_a_few_in_a_hundred_may_be_in_another_language(tmp_path):
    captions = [(text, "en") for text in ENGLISH * 10] + [(GERMAN[0], "en")]
    assert check_languages({"train": items(tmp_path, captions)}) == []


@pytest.mark.parametrize(
    "captions",
    [[(text, "en-GB") for text in ENGLISH], [(text, "de-AT") for text in GERMAN], [(text, "tlh") for text in GERMAN],
     [("photo 3", "en"), ("a photo", "de")] * 20, [(text, "en") for text in GERMAN[:4]],
     [("一个小女孩在玩马。", "zh-Hans"), ("一个小女孩在玩马。", "yue")] * 20],
)  # fmt: skip
def test_claims_that_hold_or_cannot_be_checked_are_not_reported(tmp_path, captions):
    assert check_languages({"train": items(tmp_path, captions)}) == []


@pytest.mark.parametrize("name", ["shapes", "moving"])
def test_generated_captions_are_not_checked(name):
    assert check_languages({"train": list(READERS.make(name, count=20, size=32))}) == []


def test_the_report_and_the_summary_warn(tmp_path, make_photos, capsys):
    make_photos(tmp_path, [f"{k}.jpg" for k in range(len(GERMAN))])
    rows = "".join(f"{k}.jpg,{text}\n" for k, text in enumerate(GERMAN))
    (tmp_path / "captions.csv").write_text("image,caption\n" + rows)
    assert main(["csv", "--input", str(tmp_path), "--output", str(tmp_path / "out"), "--strict"]) == 0
    assert "100% of the captions with the language en" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["kinds"] == {"other_language": 1}
    arguments = ["csv", "--input", str(tmp_path), "--output", str(tmp_path / "out"), "--overwrite", "--lang", "de"]
    assert main(arguments) == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["problems"] == []


def test_real_captions_are_in_the_languages_that_they_claim(shared_data):
    from data_prep.readers.translations import Source, Translations

    folder = shared_data / "flickr8k"
    translations = Translations(Source(path) for path in sorted((folder / "translations").iterdir()))
    joined = [item for item in translations.join(READERS.make("flickr8k", folder)) if isinstance(item, Item)]
    assert check_languages({"train": joined}) == []
