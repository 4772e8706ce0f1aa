"""One's own photos: JSON lines, tables, and captions in further languages."""

import json

import pytest

from capjax.data.record import Label, RecordCaption
from data_prep.readers import READERS, InputError, Item
from data_prep.readers.item import language
from data_prep.readers.translations import Source, Translations
from tests.helpers.reader_results import found, sort_out


def jsonl(folder, *rows, **options):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return found("jsonl", folder, **options)


def test_the_least_that_a_line_needs(tmp_path):
    (item,), problems = jsonl(tmp_path, {"image": "a.jpg", "caption": "A dog."})
    assert not problems
    assert item.captions == (RecordCaption("A dog.", "en"),)
    assert (item.id, item.media, item.where) == ("a.jpg", tmp_path / "a.jpg", "captions.jsonl:1")
    assert item.split in ("train", "val", "test")


def test_all_that_a_line_may_say(tmp_path):
    row = {
        "image": "dogs/a.jpg", "id": 7, "split": "validation", "lang": "de", "width": 3,
        "captions": ["Ein Hund.", {"text": "A dog.", "lang": "EN"}],
        "labels": [{"name": "dog", "box": [0, 0.25, 0.5, 1]}, {"name": "grass"}],
    }  # fmt: skip
    (item,), problems = jsonl(tmp_path, row)
    assert not problems
    assert (item.id, item.split, item.name) == ("7", "val", "dogs/a.jpg")
    assert item.captions == (RecordCaption("Ein Hund.", "de"), RecordCaption("A dog.", "en"))
    assert item.labels == (Label("dog", (0.0, 0.25, 0.5, 1.0)), Label("grass", None))


@pytest.mark.parametrize(
    ("row", "kind", "message"),
    [
        ("{", "malformed", "not JSON"),
        ("[" * 100_000, "malformed", "not JSON"),
        ("[1]", "malformed", "expected an object, found [1]"),
        ({"caption": "x"}, "malformed", "name should be text, not None"),
        ({"image": "", "caption": "x"}, "malformed", "name should be text"),
        ({"image": "a\0.jpg", "caption": "x"}, "malformed", "name should be text"),
        ({"image": "a.jpg", "captoins": ["x"]}, "malformed", "did you mean 'captions'"),
        ({"image": "a.jpg", "captions": "x"}, "malformed", "captions: expected a list"),
        ({"image": "a.jpg", "captions": [], "id": []}, "malformed", "id: expected"),
        ({"image": "a.jpg", "caption": "x", "split": "tset"}, "unknown_split", "'tset'; known: dev"),
        ({"image": "a.jpg", "caption": "x", "split": 3}, "unknown_split", "3"),
        ({"image": "a.jpg", "caption": "x", "labels": [{"name": "x", "box": [0, 0, 2, 2]}]}, "malformed", "fractions"),
        ({"image": "a.jpg", "caption": "x", "labels": {"name": "x"}}, "malformed", "labels"),
        ({"image": "a.jpg", "caption": "x", "labels": [{"name": "\ud800"}]}, "malformed", "labels"),
        ({"image": "/a.jpg", "caption": "x"}, "unsafe_path", "out of the folder"),
        ({"image": "\ud800.jpg", "caption": "x"}, "encoding", "UTF-8"),
    ],
)
def test_a_bad_line_costs_its_photo_alone(tmp_path, row, kind, message):
    items, (problem,) = jsonl(tmp_path, {"image": "1.jpg", "caption": "x"}, row, {"image": "2.jpg", "caption": "x"})
    assert [item.id for item in items] == ["1.jpg", "2.jpg"]
    assert (problem.kind, problem.where, problem.costs) == (kind, "captions.jsonl:2", "photo")
    assert message in problem.message


def test_a_bad_caption_costs_itself_alone(tmp_path):
    row = {"image": "a.jpg", "captions": ["fine", "", 3, {"text": "x", "lang": "German"}, {"words": "x"}, "\udc80"]}
    (item,), problems = jsonl(tmp_path, row)
    assert item.captions == (RecordCaption("fine"),)
    assert [problem.kind for problem in problems] == [
        "empty_caption", "malformed", "malformed", "malformed", "encoding",
    ]  # fmt: skip
    assert {problem.costs for problem in problems} == {"caption"}


def test_the_file_may_be_given_itself_or_lie_elsewhere(tmp_path, make_photos):
    make_photos(tmp_path / "photos", ["a.jpg"])
    file = tmp_path / "mine.jsonl"
    file.write_text('{"image": "a.jpg", "caption": "x"}\n')
    assert found("jsonl", file)[0][0].media == tmp_path / "a.jpg"
    by_images = found("jsonl", file, images=tmp_path / "photos")[0]
    by_captions = found("jsonl", tmp_path / "photos", captions=file)[0]
    assert by_images[0].media == by_captions[0].media == tmp_path / "photos" / "a.jpg"


def test_several_files_must_be_chosen_from(tmp_path):
    (tmp_path / "a.jsonl").write_text("")
    (tmp_path / "b.jsonl").write_text("")
    with pytest.raises(InputError, match=r"a\.jsonl, b\.jsonl"):
        found("jsonl", tmp_path)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_tables_as_spreadsheets_write_them(tmp_path, separator):
    rows = [
        ["Split", "Filename", "Caption", "Lang"],
        ["train", "a.jpg", f'"A dog{separator} asleep."', "en"],
        ["train", "a.jpg", "Ein Hund.", "de"],
        ["test", "b.jpg", "A cat.", ""],
    ]
    (tmp_path / "captions.csv").write_text("\r\n".join(separator.join(row) for row in rows), newline="")
    items, problems = found("csv", tmp_path, lang="en-GB")
    assert not problems
    assert [(item.id, item.split, item.captions) for item in items] == [
        (
            "a.jpg",
            "train",
            (RecordCaption(f"A dog{separator} asleep.".replace("\t", ""), "en"), RecordCaption("Ein Hund.", "de")),
        ),
        ("b.jpg", "test", (RecordCaption("A cat.", "en-GB"),)),
    ]


def test_bad_rows_are_listed_by_line(tmp_path):
    table = "image,caption,split\na.jpg,x,train\na.jpg,y,val\nb.jpg,x\n,x,train\nc.jpg,x,tset\nd.jpg,,train\n"
    (tmp_path / "captions.csv").write_text(table)
    items, problems = found("csv", tmp_path)
    assert {(problem.kind, problem.where, problem.costs) for problem in problems} == {
        ("two_splits", "captions.csv:3", "nothing"),
        ("malformed", "captions.csv:4", "caption"),
        ("caption_without_photo", "captions.csv:5", "caption"),
        ("unknown_split", "captions.csv:6", "photo"),
        ("empty_caption", "captions.csv:7", "caption"),
    }
    assert [(item.id, item.split, len(item.captions)) for item in items] == [
        ("a.jpg", "train", 2), ("d.jpg", "train", 0),
    ]  # fmt: skip


@pytest.mark.parametrize("header", ["", "a.jpg,A dog.", "image", "caption,words"])
def test_a_table_without_header_is_refused(tmp_path, header):
    (tmp_path / "captions.csv").write_text(header + "\n")
    with pytest.raises(InputError, match=r"captions\.csv:1: .*image and caption"):
        found("csv", tmp_path)


@pytest.mark.parametrize(
    ("written", "code"),
    [("en", "en"), ("EN", "en"), ("pt-br", "pt-BR"), ("pt_BR", "pt-BR"), ("zh-hans-cn", "zh-Hans-CN"), ("yue", "yue"),
     ("eng", "en"), ("deu", "de"), ("ger", "de"), ("eng-US", "en-US"), ("iw", "he"), ("zxx", "zxx")],
)  # fmt: skip
def test_languages_are_bcp_47(written, code):
    assert language(written) == code


@pytest.mark.parametrize("written", ["", "e", "English", "deutsch", "en-", "12", "e n", "xx", "us"])
def test_other_words_are_no_languages(written):
    with pytest.raises(ValueError, match="BCP-47"):
        language(written)


LINES = {
    "zhc.txt": "a.jpg#zhc#0 一个小女孩。\na.jpg#zhc#1 马。\n",
    "multi30k.de.txt": "a.jpg#de#0\tEin Hund.\n",
    "Flickr8k.arabic.full.txt": "a.jpg#0\tكلب\nother.jpg#0\tقطة\n",
}


def joined(tmp_path, names=("a.jpg", "b.jpg"), **files):
    sources = []
    for name, (text, lang) in files.items():
        path = tmp_path / name.replace("_", ".")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        sources.append(Source(path, lang))
    translations = Translations(sources)
    items = [Item(f"id {name}", tmp_path / name, "train", (RecordCaption("A dog."),), name=name) for name in names]
    return *sort_out(translations.join(iter(items))), translations.counts


def test_translations_join_by_name(tmp_path):
    for name, text in LINES.items():
        (tmp_path / name).write_text(text)
    translations = Translations(Source.parse(str(tmp_path / name)) for name in LINES)
    items = [Item(name, tmp_path / name, "train", (RecordCaption("A dog."),), name=name) for name in ("a.jpg", "b.jpg")]
    (a, b), problems = sort_out(translations.join(iter(items)))
    assert not problems
    assert [(c.lang, c.text) for c in a.captions] == [
        ("en", "A dog."), ("zh", "一个小女孩。"), ("zh", "马。"), ("de", "Ein Hund."), ("ar", "كلب"),
    ]  # fmt: skip
    assert b == items[1]
    assert translations.counts["Flickr8k.arabic.full.txt"] == {"captions": 2, "joined": 1}


def test_a_given_language_wins(tmp_path):
    (item,), _, _ = joined(tmp_path, ["a.jpg"], multi30k_de_txt=("a.jpg#de#0\tGrüezi.\n", "de-CH"))
    assert item.captions[1] == RecordCaption("Grüezi.", "de-CH")


def test_a_file_of_unknown_language_asks_for_it(tmp_path):
    with pytest.raises(InputError, match=r"more\.txt:LANG"):
        joined(tmp_path, more_txt=("a.jpg#0\tHund\n", ""))


def test_a_file_for_other_photos_alone_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"multi30k\.de\.txt: none of its captions \(for 'x.jpg'"):
        joined(tmp_path, multi30k_de_txt=("x.jpg#de#0\tHund\n", ""))


def test_bad_translation_lines_are_listed(tmp_path):
    text = b"a.jpg#de#0\tHund\na.jpg Hund\na.jpg#de#1\na.jpg#de#2\t \na.jpg#de#3\tb\xf6se\n"
    (a, _), problems, _ = joined(tmp_path, multi30k_de_txt=(text, ""))
    assert [(problem.kind, problem.where) for problem in problems] == [
        ("malformed", "multi30k.de.txt:2"), ("empty_caption", "multi30k.de.txt:3"),
        ("empty_caption", "multi30k.de.txt:4"), ("encoding", "multi30k.de.txt:5"),
    ]  # fmt: skip
    assert len(a.captions) == 2


def test_a_source_is_a_file_and_perhaps_a_language(tmp_path):
    odd = tmp_path / "a:de"
    odd.write_text("")
    assert Source.parse("x/y.txt") == Source(type(tmp_path)("x/y.txt"))
    assert Source.parse("x/y.txt:PT-br").lang == "pt-BR"
    assert Source.parse(str(odd)) == Source(odd)
    with pytest.raises(ValueError, match="BCP-47"):
        Source.parse("y.txt:German")


def test_the_real_translations(shared_data):
    folder = shared_data / "flickr8k"
    translations = Translations(Source(path) for path in sorted((folder / "translations").iterdir()))
    items, problems = sort_out(translations.join(READERS.make("flickr8k", folder)))
    assert not problems
    assert all(count["captions"] == count["joined"] for count in translations.counts.values())
    languages = [{caption.lang for caption in item.captions} for item in items]
    assert set.union(*languages) == {"en", "zh", "ar", "de", "fr", "cs"}
    assert all({"en", "zh", "ar"} <= own for own in languages)


def test_captions_may_have_an_origin(tmp_path):
    captions = ["A dog.", {"text": "A cat.", "origin": "generated", "score": -1.5}, {"text": "x", "origin": "robot"}]
    (item,), (problem,) = jsonl(tmp_path, {"image": "a.jpg", "captions": captions})
    assert item.captions == (RecordCaption("A dog.", "en"), RecordCaption("A cat.", "en", origin="generated"))
    assert "origin should be one of human, machine-translated, generated, not 'robot'" in problem.message


def test_the_shards_of_bulk_captioning_are_read_together_if_none_is_missing(tmp_path):
    shards = tmp_path / "captions"
    shards.mkdir()
    for number in range(3):
        row = {"id": str(number), "file_name": f"{number}.jpg", "captions": [{"text": f"dog {number}"}]}
        (shards / f"captions-{number:05}-of-00003.jsonl").write_text(json.dumps(row) + "\n")
    (shards / "failed.jsonl").write_text("{}\n")
    items, problems = found("jsonl", tmp_path, captions=shards)
    assert not problems
    assert [(item.id, item.media, item.captions[0].text) for item in items] == [
        (str(number), tmp_path / f"{number}.jpg", f"dog {number}") for number in range(3)
    ]
    (shards / "captions-00001-of-00003.jsonl").unlink()
    with pytest.raises(InputError, match="not all shards of capjax bulk are in this folder; found 2"):
        found("jsonl", tmp_path, captions=shards)
