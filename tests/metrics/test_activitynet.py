"""Files of ActivityNet Captions: what is written is read again, and every fault is named."""

import json

import pytest

from capjax.metrics.activitynet import Event, read_annotations, read_submission, write_submission

EVENTS = {"v_1": [Event(0.5, 10.0, "A man runs."), Event(3.0, 3.0, "Él salta.")], "v_2": []}
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
    found = read_annotations(write(tmp_path / "a.json", {"v": ANNOTATION}))
    assert found["v"].duration == 20
    assert found["v"].events == [(0, 5.5, "A man runs."), (4, 19, "He stops.")]


def test_the_published_annotations_are_read(shared_data):
    assert len(read_annotations(shared_data / "activitynet" / "train.json")) == 10_009


def test_what_cannot_be_read_back_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="video 'v', event 0: ends at 1.0 s, before it starts at 2.0 s"):
        write_submission(tmp_path / "s.json", {"v": [Event(2.0, 1.0, "a")]})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"duration": 0}, "'duration': 0.0 s is no length"),
        ({"duration": "long"}, "'duration': expected a number of seconds, found 'long'"),
        ({"duration": True}, "expected a number of seconds, found True"),
        ({"timestamps": [[0, 1]]}, "1 timestamps, but 2 sentences"),
        ({"timestamps": [[0, 1], [2]]}, r"event 1, key 'timestamps': expected \[start, end\]"),
        ({"timestamps": [[0, 1], [-2, 3]]}, "event 1.*negative time"),
        ({"timestamps": 3}, "'timestamps': expected a list, found 3"),
        ({"sentences": ["a", " "]}, "event 1, key 'sentences': the sentence is empty"),
        ({"sentences": ["a", None]}, "event 1.*expected a sentence, found None"),
        ({"timestamps": [], "sentences": []}, "no events; leave the video out"),
    ],
)
def test_a_fault_in_annotations_is_named_with_its_place(tmp_path, change, message):
    with pytest.raises(ValueError, match=r"a.json: video 'v'.*" + message):
        read_annotations(write(tmp_path / "a.json", {"v": ANNOTATION | change}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "expected a JSON object by video"),
        ({"v": []}, "under the key 'results'; its keys are"),
        ({"results": 3}, "key 'results' holds 3"),
        ({"results": {"v": 3}}, "video 'v': expected a list of events"),
        ({"results": {"v": [3]}}, "event 0: expected an object with sentence and timestamp"),
        ({"results": {"v": [{"sentence": "a"}]}}, "event 0: no 'timestamp'; its keys are"),
        ({"results": {"v": [{"sentence": "a", "timestamp": [3, 1]}]}}, "ends at 1.0 s, before it starts at 3.0 s"),
        ({"results": {"v": [{"sentence": "", "timestamp": [1, 3]}]}}, "key 'sentence': the sentence is empty"),
    ],
)
def test_a_fault_in_a_submission_is_named_with_its_place(tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        read_submission(write(tmp_path / "s.json", data))
