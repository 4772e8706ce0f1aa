"""Predictions are matched with references by their ids, even if two files write them differently."""

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capjax.metrics.id_matching import match_ids


def test_aligned_items_have_the_ids_and_order_of_the_references():
    predictions, references, counts = match_ids({"2": "b", "1": " "}, {1: ["x"], 2: ["y", "z"]})
    assert list(predictions.items()) == [(1, " "), (2, "b")] and references == {1: ["x"], 2: ["y", "z"]}
    assert counts == {"items": 2, "missing": 0, "extra": 0, "empty": 1, "matched_by": "id"}


@pytest.mark.parametrize(
    ("predicted", "referred", "rule"),
    [
        ("COCO_val2014_000000391895.jpg", 391895, "COCO's image number"),
        ("val2017/000000391895.jpg", "391895", "COCO's image number"),
        (391895, "COCO_train2014_000000391895.jpg", "COCO's image number"),
        ("/data/photos/a b.jpg", "a b.jpg", "file name"),
        ("C:\\photos\\a.jpg", "x/a.jpg", "file name"),
        ("1000268201_693b08cb0e", "1000268201_693b08cb0e.jpg", "file name without suffix"),
        ("IMG_1.JPG", "img_1.jpg", "file name without suffix, in lower case"),
        ("Cafe\u0301.jpg", "Caf\u00e9.jpg", "id"),
        ("photos/Cafe\u0301.jpg", "Caf\u00e9.jpg", "file name"),
    ],
)
def test_ids_written_differently_are_matched_by_documented_rules(predicted, referred, rule):
    predictions, _, counts = match_ids({predicted: "a"}, {referred: ["b"]})
    assert predictions == {referred: "a"} and counts["matched_by"] == rule


def test_ids_that_become_one_are_an_error():
    with pytest.raises(ValueError, match="'a/1.jpg' and 'b/1.jpg' are the same by"):
        match_ids({"a/1.jpg": "x", "b/1.jpg": "y"}, {1: ["z"]})
    with pytest.raises(ValueError, match="references: 12 and '12' are the same by id"):
        match_ids({12: "x"}, {12: ["a"], "12": ["b"]})


def test_ids_are_not_matched_loosely_where_some_are_the_same():
    with pytest.raises(ValueError, match="no references for 'x/b.jpg'"):
        match_ids({"a.jpg": "x", "x/b.jpg": "y"}, {"a.jpg": ["z"], "b.jpg": ["z"]})


def test_missing_predictions_are_an_error_that_names_five_and_tells_what_to_do():
    references = {i: ["x"] for i in range(9)}
    with pytest.raises(ValueError, match="no prediction for 1, 2, 3, 4, 5 and 3 more; .*missing='zero'"):
        match_ids({0: "x"}, references)


def test_missing_predictions_are_counted_as_empty_or_left_out_when_asked():
    references = {1: ["x"], 2: ["y"]}
    predictions, kept, counts = match_ids({2: "b"}, references, missing="zero")
    assert predictions == {1: "", 2: "b"} and kept == references and counts["missing"] == 1 and counts["empty"] == 0
    predictions, kept, counts = match_ids({2: "b"}, references, missing="drop")
    assert predictions == {2: "b"} and kept == {2: ["y"]} and counts["missing"] == 1 and counts["items"] == 1


def test_sets_of_predictions_are_aligned_too():
    predictions, _, counts = match_ids({1: ["a", ""], 2: [""]}, {"1": ["x"], "2": ["x"], "3": ["x"]}, missing="zero")
    assert predictions == {"1": ["a", ""], "2": [""], "3": [""]} and counts["empty"] == 1


def test_extra_predictions_are_an_error_unless_ignored():
    for missing in ("error", "zero", "drop"):
        with pytest.raises(ValueError, match="no references for 'q'; .*extra='ignore'"):
            match_ids({"a": "x", "q": "y"}, {"a": ["x"]}, missing=missing)
    predictions, _, counts = match_ids({"a": "x", "q": "y"}, {"a": ["x"]}, extra="ignore")
    assert predictions == {"a": "x"} and counts["extra"] == 1


def test_ids_with_nothing_in_common_are_shown_from_both_sides():
    with pytest.raises(ValueError, match="predictions of 'a'; references of 1, 2"):
        match_ids({"a": "x"}, {1: ["x"], 2: ["x"]})


def test_ids_of_any_length_are_matched_at_once():
    start = time.process_time()
    with pytest.raises(ValueError, match="no id of the predictions"):
        match_ids({"0" * 300_000 + "x": "a"}, {1: ["a"]})
    assert time.process_time() - start < 2


@pytest.mark.parametrize(("options", "message"), [({"missing": "0"}, "missing='0'"), ({"extra": "x"}, "extra='x'")])
def test_unknown_options_are_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        match_ids({1: "x"}, {1: ["x"]}, **options)


ids = st.one_of(st.integers(), st.text(min_size=1, max_size=6))


@settings(deadline=None)
@given(st.dictionaries(ids, st.text(max_size=4), min_size=1, max_size=8))
def test_every_prediction_goes_to_its_own_references_or_none_does(predictions):
    references = {id: [f"of {id!r}"] for id in predictions}
    try:
        aligned, kept, _ = match_ids({id: f"of {id!r}" for id in predictions}, references)
    except ValueError as error:
        distinct = {unicodedata.normalize("NFC", str(id)) for id in predictions}
        assert len(distinct) < len(predictions), error  # noqa: PT017
    else:
        assert kept == references and all(aligned[id] == kept[id][0] for id in kept)
