"""Files of ActivityNet Captions: what is written is read again, and every fault is named."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capjax.metrics.activitynet import TimedSentence, check_events, read_annotations, read_submission, write_submission

EVENTS = {"v_1": [TimedSentence(0.5, 10.0, "A man runs."), TimedSentence(3.0, 3.0, "Él salta.")], "v_2": []}
ANNOTATION = {"duration": 20.0, "timestamps": [[0.0, 5.5], [4, 19]], "sentences": ["A man runs.", "He stops."]}


def write(path, data):
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_a_submission_is_read_as_it_was_written(tmp_path):
    write_submission(tmp_path / "s.json", EVENTS, external_data={"used": True, "details": "features"})
    assert read_submission(tmp_path / "s.json") == EVENTS
    data = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert data["version"] == "VERSION 1.0"
    assert data["external_data"] == {"used": True, "details": "features"}
    assert data["results"]["v_1"][0] == {"sentence": "A man runs.", "timestamp": [0.5, 10.0]}
    assert list(tmp_path.iterdir()) == [tmp_path / "s.json"]


def test_annotations_are_events_with_the_videos_duration(tmp_path):
    annotations = read_annotations(write(tmp_path / "a.json", {"v": ANNOTATION}))
    assert annotations["v"].duration == 20
    assert annotations["v"].events == [(0, 5.5, "A man runs."), (4, 19, "He stops.")]


def test_the_published_annotations_are_read(shared_data):
    assert len(read_annotations(shared_data / "activitynet" / "train.json")) == 10_009


def test_what_cannot_be_read_back_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="video 'v', event 0: ends at 1.0 s, before it starts at 2.0 s"):
        write_submission(tmp_path / "s.json", {"v": [TimedSentence(2.0, 1.0, "a")]})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"duration": 0}, "'duration': 0.0 s is not the duration"),
        ({"duration": "long"}, "duration: expected a number, found 'long'"),
        ({"duration": -82.7}, "'duration': -82.7 s is not the duration"),
        ({"duration": None}, "duration: expected a number, found None"),
        ({"duration": True}, "duration: expected a number, found True"),
        ({"timestamps": [[0, 1]]}, "found 1 timestamps and 2 sentences"),
        ({"timestamps": [[0, 1], [2]]}, r"event 1, key 'timestamps': expected \[start, end\]"),
        ({"timestamps": [[0, 1], [-2, 3]]}, "event 1.*negative time"),
        ({"timestamps": 3}, "timestamps: expected a list, found 3"),
        ({"timestamps": [[0, 1], None]}, r"event 1.*expected \[start, end\] in seconds, found None"),
        ({"timestamps": [[0, 1], "12"]}, r"event 1.*expected \[start, end\] in seconds, found '12'"),
        ({"timestamps": [[0, 1], [0, 1, 2]]}, r"event 1.*expected \[start, end\]"),
        ({"sentences": "ab"}, "sentences: expected a list, found 'ab'"),
        ({"sentences": ["a", " "]}, "event 1, key 'sentences': the sentence is empty"),
        ({"sentences": ["a", None]}, r"sentences\[1\]: expected text, found None"),
        ({"timestamps": [], "sentences": []}, "no events; leave out"),
    ],
)
def test_a_fault_in_annotations_is_named_with_its_place(tmp_path, change, message):
    with pytest.raises(ValueError, match=r"a.json: video 'v'.*" + message):
        read_annotations(write(tmp_path / "a.json", {"v": ANNOTATION | change}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], r"expected an object, found \[\]"),
        ({"v": []}, "expected results, found 'v'"),
        ({"results": 3}, "results: expected an object, found 3"),
        ({"results": {"v": 3}}, "video 'v': expected a list, found 3"),
        ({"results": {"v": [3]}}, "event 0: expected an object, found 3"),
        ({"results": {"v": [{"sentence": "a"}]}}, "event 0: expected timestamp, found 'sentence'"),
        ({"results": {"v": [{"sentence": "a", "timestamp": [3, 1]}]}}, "ends at 1.0 s, before it starts at 3.0 s"),
        ({"results": {"v": [{"timestamp": [1, 3]}]}}, "event 0: expected sentence, found 'timestamp'"),
        ({"results": {"v": [{}]}}, "event 0: expected sentence and timestamp, found nothing"),
        ({"results": {"v": [{"sentence": "a", "timestamp": [-3, 1]}]}}, "key 'timestamp': .*negative time"),
        ({"results": {"v": [{"sentence": "a", "timestamp": [0, "1"]}]}}, "expected a number of seconds, found '1'"),
        ({"results": {"v": [{"sentence": ["a"], "timestamp": [0, 1]}]}}, "event 0: sentence: expected text, found"),
        ({"results": {"v": [{"sentence": "", "timestamp": [1, 3]}]}}, "key 'sentence': the sentence is empty"),
    ],
)
def test_a_fault_in_a_submission_is_named_with_its_place(tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        read_submission(write(tmp_path / "s.json", data))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"results": {"v": [{"sentence": "a", "timestamp": [0, NaN]}]}}', "NaN is not JSON"),
        ('{"results": {"v": [{"sentence": "a", "timestamp": [0, Infinity]}]}}', "Infinity is not JSON"),
        ('{"results": {"v": [{"sentence": "a", "timestamp": [0, 1e999]}]}}', "video 'v', event 0.*inf is not a time"),
        ('{"results": {"v": [], "v": []}}', "the key 'v' is repeated"),
        ('{"results": {"v": [{"sentence": "a', "truncated"),
        ("", "the file is empty"),
        ("v_1: a man runs", "not JSON"),
    ],
)
def test_a_file_that_is_damaged_is_named(tmp_path, text, message):
    path = tmp_path / "s.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"s.json: .*{message}"):
        read_submission(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    for read in (read_annotations, read_submission):
        with pytest.raises(FileNotFoundError, match="nowhere.json"):
            read(tmp_path / "nowhere.json")


def test_events_without_a_word_are_read_when_asked(tmp_path):
    path = write(tmp_path / "s.json", {"results": {"v": [{"sentence": "", "timestamp": [1, 3]}]}})
    assert read_submission(path, empty_sentences=True) == {"v": [TimedSentence(1, 3, "")]}


def test_further_keys_of_events_are_not_looked_at(tmp_path):
    event = {"sentence": "a", "timestamp": [1, 3], "proposal_score": 0.3, "sentence_score": -4.0}
    assert read_submission(write(tmp_path / "s.json", {"results": {"v": [event]}})) == {"v": [TimedSentence(1, 3, "a")]}


def test_reversed_and_empty_events_of_annotations_are_read_as_they_are(tmp_path):
    annotations = read_annotations(write(tmp_path / "a.json", {"v": ANNOTATION | {"timestamps": [[9, 3], [4, 4]]}}))
    assert [event[:2] for event in annotations["v"].events] == [(9, 3), (4, 4)]


times = st.tuples(st.floats(0, 1e4), st.floats(0, 1e4)).map(sorted)
sentences = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
submissions = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.builds(lambda t, s: TimedSentence(*t, s), times, sentences)),
)


@settings(max_examples=100, deadline=None)
@given(submissions)
def test_any_submission_is_read_as_it_was_written(tmp_path_factory, events):
    path = tmp_path_factory.mktemp("submissions") / "s.json"
    write_submission(path, events)
    assert read_submission(path) == events


def test_numbers_of_numpy_and_plain_lists_are_written(tmp_path):
    event = [np.float32(0.5), np.float64(2.0), "a man"]
    write_submission(tmp_path / "s.json", {"v": [event]})
    assert read_submission(tmp_path / "s.json") == {"v": [TimedSentence(0.5, 2.0, "a man")]}


def test_a_file_that_was_there_stays_whole_where_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "s.json"
    write_submission(path, EVENTS)

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        write_submission(path, {})
    assert read_submission(path) == EVENTS
    assert list(tmp_path.iterdir()) == [path]


def test_a_submission_of_nothing_is_one(tmp_path):
    write_submission(tmp_path / "s.json", {})
    assert read_submission(tmp_path / "s.json") == {}


@pytest.mark.parametrize("event", [(0.0, float("nan"), "a"), (0.0, 1.0, ""), (0.0, 1.0, None), (0.0, 1.0), "event"])
def test_no_event_that_cannot_be_read_back_is_written(tmp_path, event):
    with pytest.raises((ValueError, TypeError), match="predictions: video 'v', event 0"):
        write_submission(tmp_path / "s.json", {"v": [event]})
    assert list(tmp_path.iterdir()) == []


def test_events_are_checked_under_the_name_they_are_given():
    with pytest.raises(ValueError, match="ours: video 'v', event 1: ends at 1.0 s, before it starts at 2.0 s"):
        check_events({"v": [(0, 1, "a"), (2, 1, "b")]}, "ours")
    check_events({"v": [(2, 1, "b")]}, "ours", inverted=True)
