"""Captions are read from every kind of file people have, and whatever is wrong in one is named with its place."""

import json
import logging
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capjax.metrics.files import file_format, read_prediction_sets, read_predictions, read_references
from capjax.metrics.id_matching import match_ids

COCO = {
    "images": [{"id": 1, "file_name": "000000000001.jpg"}, {"id": 2, "file_name": "000000000002.jpg"}],
    "annotations": [
        {"id": 10, "image_id": 1, "caption": "a cat"},
        {"id": 11, "image_id": 2, "caption": "a dog"},
        {"id": 12, "image_id": 1, "caption": "one cat"},
    ],
}
KARPATHY = {
    "dataset": "coco",
    "images": [
        {"cocoid": 1, "filename": "COCO_a_1.jpg", "split": "test", "sentences": [{"raw": "a cat"}, {"raw": "one cat"}]},
        {"cocoid": 2, "filename": "COCO_a_2.jpg", "split": "restval", "sentences": [{"raw": "a dog"}]},
    ],
}
ROWS = [
    {"image": "cats/1.jpg", "captions": ["A cat.", {"text": "Eine Katze.", "lang": "de"}], "split": "train"},
    {"id": "two", "image": "2.jpg", "caption": "A dog.", "lang": "EN", "split": "dev"},
]
DENSE = {"v_1": {"duration": 9.5, "timestamps": [[0, 3]], "sentences": ["A man runs."]}}
SUBMISSION = {"version": "VERSION 1.0", "results": {"v_1": [{"sentence": "a man", "timestamp": [0, 3]}]}}
RESULTS = [{"image_id": 1, "caption": "a cat"}, {"image_id": 2, "caption": ""}]


@pytest.fixture
def write(tmp_path):
    def write(content, name="captions.json"):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        elif path.suffix == ".jsonl":
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content), encoding="utf-8")
        else:
            path.write_text(json.dumps(content, indent=1), encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (COCO, "coco"),
        (KARPATHY, "karpathy"),
        (ROWS, "jsonl"),
        (ROWS[0], "jsonl"),
        ({"1": "a cat"}, "mapping"),
        ({"1": ["a cat"]}, "mapping"),
        (RESULTS, "coco_results"),
        (DENSE, "activitynet"),
        (SUBMISSION, "activitynet_submission"),
    ],
)
def test_every_kind_is_recognized_in_a_file_and_as_data(write, content, kind):
    assert file_format(content) == kind
    assert file_format(write(content)) == kind == file_format(str(write(content)))


def test_json_lines_are_recognized_by_name_and_by_form(write):
    lines = "".join(json.dumps(row) + "\r\n\r\n" for row in ROWS)
    for name in ("a.jsonl", "a.json", "a.txt"):
        path = write(lines, name)
        assert file_format(path) == "jsonl"
        assert read_references(path, lang="en") == {"cats/1.jpg": ["A cat."], "two": ["A dog."]}


def test_references_of_coco_are_gathered_by_image(write):
    assert read_references(write(COCO)) == {1: ["a cat", "one cat"], 2: ["a dog"]}


def test_references_of_karpathy_are_chosen_by_split(write):
    path = write(KARPATHY)
    assert read_references(path) == {1: ["a cat", "one cat"], 2: ["a dog"]}
    assert read_references(path, split="test") == {1: ["a cat", "one cat"]}
    with pytest.raises(ValueError, match=r"no item is in the split 'val'; the file has test \(1\), restval \(1\)"):
        read_references(path, split="val")


@pytest.mark.parametrize(("missing", "id"), [("cocoid", "COCO_a_1.jpg"), (("cocoid", "filename"), 7)])
def test_karpathy_without_coco_ids_goes_by_file_name_then_number(write, missing, id):
    row = {k: v for k, v in KARPATHY["images"][0].items() if k not in missing} | {"imgid": 7}
    assert list(read_references(write({"images": [row]}))) == [id]


def test_a_mapping_may_hold_texts_lists_and_objects(write):
    mapping = {"1": "a cat", "2": ["a dog", "one dog"], "3": [{"caption": "a cow"}]}
    assert read_references(write(mapping)) == {"1": ["a cat"], "2": ["a dog", "one dog"], "3": ["a cow"]}


def test_lang_chooses_captions_and_must_be_said_where_there_are_several(write):
    path = write([*ROWS[:1], {"image": "2.jpg", "caption": "Ein Hund.", "lang": "de"}], "a.jsonl")
    assert read_references(path, lang="de") == {"cats/1.jpg": ["A cat.", "Eine Katze."], "2.jpg": ["Ein Hund."]}
    rows = [{"id": 1, "captions": [{"text": "x", "lang": "pt_BR"}, {"text": "y", "lang": "en"}]}]
    assert read_references(write(rows, "b.jsonl"), lang="pt-br") == {1: ["x"]}
    with pytest.raises(ValueError, match="several languages .en, pt-BR.; choose one with lang"):
        read_references(write(rows, "b.jsonl"))
    with pytest.raises(ValueError, match="no caption is in 'fr'; the file has en, pt-BR"):
        read_references(write(rows, "b.jsonl"), lang="fr")


def test_captions_of_a_language_are_found_by_any_of_its_codes(write):
    rows = [{"id": 1, "captions": [{"text": "x", "lang": "eng"}, {"text": "y", "language": "en_GB"}, {"text": "z"}]},
            {"id": 2, "caption": "w", "language": "deu"}, {"id": 3, "caption": "v", "lang": "pt-BR"}]  # fmt: skip
    path = write(rows, "a.jsonl")
    assert read_references(path, lang="en") == read_references(path, lang="en-US") == {1: ["x", "y", "z"]}
    assert read_references(path, lang="de") == {1: ["z"], 2: ["w"]}
    assert read_references(path, lang="pt")[3] == ["v"]
    assert read_references(write(rows[:1], "b.jsonl")) == {1: ["x", "y", "z"]}, "all codes of English are one language"
    with pytest.raises(ValueError, match="lang: 'german' is the name of a language, not its code; write de"):
        read_references(path, lang="german")


def test_splits_of_json_lines_go_by_any_common_name(write):
    path = write(ROWS, "a.jsonl")
    assert list(read_references(path, split="val")) == ["two"] == list(read_references(path, split="validation"))


def test_what_the_command_writes_is_read_as_predictions(write):
    rows = [{"path": "photos/ä 1.jpg", "caption": "a\u2028cat", "lang": "en", "score": -1.5}]
    path = write(rows, "out.jsonl")
    assert read_predictions(path) == {"photos/ä 1.jpg": "a\u2028cat"}


def test_predictions_of_each_kind(write):
    assert read_predictions(write(RESULTS)) == {1: "a cat", 2: ""}
    assert read_predictions(write({"a": "x", "b": ["y"]})) == {"a": "x", "b": "y"}
    assert read_predictions(write([{"id": 3, "captions": ["z"]}], "a.jsonl")) == {3: "z"}


def test_an_image_id_is_the_items_though_the_caption_has_an_id_too(write):
    assert read_predictions(write([{"id": 7, "image_id": 3, "caption": "z"}], "a.jsonl")) == {3: "z"}


def test_sets_of_predictions_are_gathered_from_lists_and_from_repeated_ids(write):
    assert read_prediction_sets(write([*RESULTS, {"image_id": 1, "caption": "c"}])) == {1: ["a cat", "c"], 2: [""]}
    assert read_prediction_sets(write({"a": ["x", "y"], "b": "z"})) == {"a": ["x", "y"], "b": ["z"]}


def test_a_byte_order_mark_changes_nothing(write):
    plain = json.dumps({"1": "größer"}, ensure_ascii=False).encode()
    assert read_predictions(write(b"\xef\xbb\xbf" + plain)) == {"1": "größer"}


def test_a_file_of_windows_is_read_and_a_warning_names_its_encoding(write, caplog):
    text = json.dumps({"1": "größer \u2013 \u201cja\u201d", "café": "x"}, ensure_ascii=False)
    path = write(text.encode("cp1252"))
    with caplog.at_level(logging.WARNING, "capjax.metrics"):
        assert read_predictions(path) == json.loads(text)
    assert f"{path}:1: not UTF-8: byte 0xf6; the file is read as Windows-1252" in caplog.text


def test_utf8_in_which_a_byte_is_damaged_is_not_taken_for_another_encoding(write):
    text = json.dumps({"1": "größer", "2": "größer"}, ensure_ascii=False).encode()
    with pytest.raises(ValueError, match=":1: not UTF-8: byte 0xff at offset 9"):
        read_predictions(write(text.replace(b"\xc3\xb6", b"\xff\xb6", 1)))


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\x1c", "\u000b", "\u000c", "\u00a0"])
def test_no_character_of_a_caption_ends_a_line(write, separator):
    text = f"a{separator}cat {separator}"
    rows = [{"id": n, "caption": text} for n in range(3)]
    assert read_predictions(write(rows, "a.jsonl")) == dict.fromkeys(range(3), text)
    assert read_references(write({"images": [], "annotations": [{"image_id": 1, "caption": text}]})) == {1: [text]}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n\r\n"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_lines_may_end_as_on_any_system_and_blank_ones_are_no_lines(write, end, name):
    rows = [{"id": n, "caption": 'a 12" pizza'} for n in range(3)]
    marked = "".join("\ufeff" * (row["id"] == 2) + json.dumps(row) + end for row in rows)  # joined files
    assert read_predictions(write(marked, name)) == dict.fromkeys(range(3), 'a 12" pizza')


@pytest.mark.parametrize("images", [[{"id": 1}, {"id": "2"}], []])
def test_an_id_is_the_same_as_text_and_as_a_number(write, images):
    captions = [(1, "a"), ("2", "b"), ("1", "c"), (2, "d")]
    annotations = [{"image_id": id, "caption": text} for id, text in captions]
    expected = {1: ["a", "c"], "2": ["b", "d"]}
    assert read_references(write({"images": images, "annotations": annotations})) == expected
    assert read_references(write(annotations)) == expected
    sentences = [{"video_id": id, "caption": text} for id, text in captions]
    assert read_references(write({"sentences": sentences, "videos": [{"video_id": "1", "split": "test"}]})) == expected


def rows_with(**changed):
    return [{"id": 1, "caption": "x"}, {"id": 2, "caption": "y"} | changed]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        (" \n", "the file is empty"),
        ("[]", r"found \[\]"),
        ("{}", "found {}"),
        ("3", "3; expected captions"),
        ('["a cat"]', "the first of the list is 'a cat'; expected image_id and caption"),
        ('{\n "1": "a c', "line 2, column 7: not JSON: .*truncated"),
        ('{"1": "a",\n "2": ', "line 2.*truncated"),
        ('{"1": "a",\n "2" "b"}', r"line 2, column 6: not JSON: Expecting ':'"),
        ('{"1": "a"} {"2": "b"}', "line 1: more follows"),
        ('{"1": "a", "1": "b"}', "the key '1' is repeated"),
        ('{"1": NaN}', "line 1: NaN is not JSON"),
        ('{"NaN": "NaN \\\\",\n "1": "a", "2":\n -Infinity}', "line 3: -Infinity is not JSON"),
        ('[{"image_id": -Infinity, "caption": "x"}]', "-Infinity is not JSON"),
        ("[" * 200_000, "nested too deep"),
        ('{"a":' * 200_000, "nested too deep"),
        ('{"1": ' + "[" * 500 + "]" * 500 + "}", r"'1'.*expected text, found \[\[\[\[\.\.\.\]\]\]\]"),
        ('{"1": ' + "9" * 5000 + "}", "4300"),
        (b'{"1": "gr\xfc\x81e"}', r":1: not UTF-8: byte 0xfc at offset 9"),
        ('{"1": "a"}'.encode("utf-16"), "UTF-16"),
        (b"\x1f\x8b\x08\x00", "compressed"),
        ('{"1": 5}', "'1'.*expected text, found 5"),
        ('{"1": null}', "expected text, found None"),
        ('{"1": true}', "expected text, found True"),
        ('{"info": {"year": 2016}}', "'info'.*expected text, found {'year': 2016}"),
        ('{"1": [{"text": null}]}', "expected text, found None"),
        ('{"1": []}', "no captions of '1'"),
        ('{"1": ["a", 2]}', r"'1': captions\[1\]: a caption of '1': expected text, found 2"),
        ('{"1": ["a", " "]}', r"captions\[1\] an empty caption of '1'"),
        ('{"": "a"}', "id: expected text or a whole number, found ''"),
        (r'{"1": "\ud83d"}', "surrogate"),
        (r'{"\udc80": "a"}', r"id: expected text without halves of surrogate pairs, .*found '.udc80'"),
        ({"1": "a" * 20_001}, "expected text of at most 20,000 characters, found 'a"),
        ({"1" * 30_000: 5}, "id: expected text of at most 20,000 characters"),
        (["x" * 10**6], "expected image_id and caption"),
        ({"sentences": [{"video_id": 1, "caption": "a"}], "videos": [[None]]}, r"videos\[0\]: expected an object"),
        (
            {"sentences": [{"video_id": 1, "caption": "a"}], "videos": [{"video_id": [1]}]},
            r"videos\[0\]: video_id: expected text or a whole number, found \[1\]",
        ),
        ([{"image_id": 1e999, "caption": "x"}], "Infinity is not JSON"),
        ('[{"image_id": 1e999, "caption": "x"}]', "expected text or a whole number, found inf"),
        ({"images": [], "annotations": [{"image_id": 1}]}, r"annotations\[0\]: expected caption, found 'image_id'"),
        ({"annotations": [{"caption": "x"}]}, r"annotations\[0\]: expected image_id, found 'caption'"),
        ({"annotations": [{"image_id": 1.0, "caption": "x"}]}, "id: expected text or a whole number, found 1.0"),
        ({"annotations": [{"image_id": True, "caption": "x"}]}, "found True"),
        ({"annotations": [7]}, r"annotations\[0\]: expected an object, found 7"),
        ({"annotations": []}, "the file has no captions"),
        (COCO | {"images": COCO["images"][:1]}, r"annotations\[1\]: image_id 2 is not the id of an image"),
        (COCO | {"images": COCO["images"] * 2}, r"images\[2\]: the id 1 is repeated, first at .*images\[0\]"),
        (COCO | {"annotations": COCO["annotations"][:1] * 2}, r"annotations\[1\]: the id 10 is repeated"),
        (COCO | {"images": 3}, "images: expected a list, found 3"),
        ({"images": COCO["images"]}, "images without captions"),
        ({"images": [*KARPATHY["images"], KARPATHY["images"][0]]}, r"images\[2\]: the id 1 is repeated"),
        ({"images": [KARPATHY["images"][0], {"cocoid": 3}]}, r"images\[1\]: expected sentences, found 'cocoid'"),
        ({"images": [{"sentences": [{"raw": "a"}]}]}, r"images\[0\]: expected cocoid or filename or imgid"),
        ({"images": [{"cocoid": 1, "sentences": ["a"]}]}, r"sentences\[0\]: expected an object, found 'a'"),
        ({"images": [{"cocoid": 1, "sentences": [{"raw": ""}]}]}, r"images\[0\]: an empty caption of 1"),
        (DENSE, "events of videos"),
        (SUBMISSION, "events of videos"),
    ],
)
def test_a_bad_file_of_references_is_named_with_the_place(write, content, message):
    path = write(content)
    with pytest.raises(ValueError, match=f"(?s).*{message}") as error:
        read_references(path)
    assert str(path) in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"id": 1, "caption": "x"}\n{"id": 2, "caption": "y"', ":2: column .*not JSON"),
        ('{"id": 1, "caption": "x"}\n[1]', r":2: expected an object, found \[1\]"),
        ('{"id": 1, "caption": "x"}\n{"id": 1, "id": 2}', ":2: the key 'id' is repeated"),
        ('{"id": 1, "caption": "x"}\n{"id": 2, "caption": Infinity}', ":2: Infinity"),
        ('{"id": 1, "caption": "x"}\n' + "[" * 100_000, ":2: .*nested too deep"),
        (b'{"id": 1, "caption": "x"}\n{"id": "\xff\x81"}', r":2: not UTF-8: byte 0xff at offset 34"),
        (rows_with(id=1), ":2: the id 1 is repeated, first at .*:1"),
        (rows_with(id="1"), ":2: the id '1' is repeated"),
        (rows_with(id=None), ":2: id: expected text or a whole number, found None"),
        (rows_with(id=1.5), ":2: .*found 1.5"),
        (rows_with(id=[1]), r":2: .*found \[1\]"),
        (rows_with(caption=None), ":2: a caption of 2: expected text, found None"),
        (rows_with(captions=["z"]), ":2: expected caption or captions, found 'id', 'caption', 'captions'"),
        (rows_with(lang=4), ":2: lang: expected text, found 4"),
        (rows_with(lang=float("nan")), ":2: NaN is not JSON"),
        (rows_with(lang="english"), ":2: lang: 'english' is the name of a language, not its code; write en"),
        (rows_with(language="xx"), ":2: lang: there is no language with the code 'xx'"),
        ([{"id": 1, "captoins": ["x"]}], ":1: expected caption or captions, found 'id', 'captoins'"),
        ([{"id": 1, "captions": "x"}], ":1: captions: expected a list, found 'x'"),
        ([{"id": 1, "captions": []}], ":1: no captions of 1"),
        ([{"caption": "x"}], ":1: expected image_id or id or image or path, found 'caption'"),
    ],
)
@pytest.mark.parametrize("read", [read_references, read_predictions])
def test_a_bad_line_is_named_by_file_and_number(write, read, content, message):
    with pytest.raises(ValueError, match=f"captions.jsonl.*{message}"):
        read(write(content, "captions.jsonl"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (COCO, "is for references; expected predictions"),
        (KARPATHY, "is for references; expected predictions"),
        (DENSE, "events of videos"),
        ([*RESULTS, RESULTS[0]], r"\[2\]: the id 1 is repeated, first at .*\[0\]; keep one prediction"),
        ({"a": ["x", "y"]}, "2 captions for 'a'; expected one"),
    ],
)
def test_what_is_no_file_of_predictions_is_an_error(write, content, message):
    with pytest.raises(ValueError, match=message):
        read_predictions(write(content))


def test_a_split_is_not_asked_of_a_file_that_names_none(write):
    with pytest.raises(ValueError, match="format coco has no splits"):
        read_references(write(COCO), split="val")
    with pytest.raises(ValueError, match=":1: split: expected text, found None"):
        read_references(write(rows_with(), "a.jsonl"), split="val")


def test_a_folder_and_a_missing_file_are_said_so(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(IsADirectoryError, match="is a folder; name a file, such as x.json"):
        read_references(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere.json: no such file"):
        read_references(tmp_path / "nowhere.json")


KEYS = ["images", "annotations", "image_id", "id", "caption", "captions", "sentences", "raw", "results", "lang"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=400, deadline=None)
@given(data=json_values, lines=st.booleans())
def test_any_json_is_either_read_as_text_or_refused_with_a_message(tmp_path_factory, data, lines):
    path = tmp_path_factory.getbasetemp() / ("any.jsonl" if lines else "any.json")
    path.write_text(json.dumps(data))
    for read in (read_references, read_predictions, read_prediction_sets):
        try:
            captions_by_id = read(path)
        except ValueError as error:
            assert str(path) in str(error)
        else:
            assert captions_by_id
            for id, captions in captions_by_id.items():
                assert type(id) in (int, str)
                assert all(type(text) is str for text in ([captions] if read is read_predictions else captions))


@settings(max_examples=300, deadline=None)
@given(damage=st.binary(max_size=3), start=st.integers(0, 400), end=st.integers(0, 6))
def test_a_damaged_file_is_either_read_or_refused(tmp_path_factory, damage, start, end):
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    whole = json.dumps(COCO).encode()
    path.write_bytes(whole[:start] + damage + whole[start + end :])
    try:
        assert read_references(path)
    except ValueError as error:
        assert str(path) in str(error)


def coco_of(items: int) -> str:
    annotations = [
        {"id": i * 5 + k, "image_id": i, "caption": f"caption {k} of {i}, ten words or so in all"}
        for i in range(items)
        for k in range(5)
    ]
    return json.dumps({"images": [{"id": i} for i in range(items)], "annotations": annotations})


@pytest.mark.parametrize("items", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_items_take_time_and_memory_in_proportion(write, items):
    path = write(coco_of(items))
    start = time.process_time()
    references = read_references(path)
    match_ids({str(i): "a" for i in references}, references)
    assert time.process_time() - start < items / 5_000  # 3 s for 100,000 where it was written
    assert len(references) == items
    tracemalloc.start()
    read_references(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * path.stat().st_size
