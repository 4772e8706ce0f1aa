"""Files of ActivityNet Captions, annotations and submissions: events of videos with a sentence each.

    annotations  {"v_x": {"duration": 82.7, "timestamps": [[0.8, 19.9], ...], "sentences": ["...", ...]}, ...}
    submission   {"version": "...", "results": {"v_x": [{"sentence": "...", "timestamp": [0.8, 19.9]}, ...]},
                  "external_data": {...}}

All times are in seconds. ActivityNet Captions is published as two annotation sets of the same videos (val_1.json,
val_2.json); either may lack a video.

A few published events end after their video does, have no duration, or end before they start. They are kept as they
are, as by the published scorer: by its tIoU an event whose end is not after its start matches nothing, but still counts
as an event to find.
"""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import starmap
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from capjax.metrics import strict_json
from capjax.metrics.caption_types import CaptionText
from capjax.metrics.json_types import check_type
from capjax.metrics.messages import show_value
from capjax.metrics.writing import replacing

_MAX_SECONDS = 1e9  # differences and squares of smaller times are exact enough, and finite


class TimedSentence(NamedTuple):
    """A sentence about an interval of a video, in seconds."""

    start: float
    end: float
    sentence: str


class Annotation(NamedTuple):
    """The events of a video as one annotator describes them.

    Attributes:
      duration: duration of the whole video, in seconds.
      events: in the order of the file.
    """

    duration: float
    events: Sequence[TimedSentence]


class _AnnotationJson(TypedDict):
    duration: float
    timestamps: list
    sentences: list[CaptionText]


class _EventJson(TypedDict):
    sentence: CaptionText
    timestamp: list


class _SubmissionJson(TypedDict):
    results: dict


def read_annotations(path: Path) -> dict[str, Annotation]:
    """Reads an annotation set, {video: Annotation}, in the format of ActivityNet Captions (also of YouCook2 and ViTT).

    Raises:
      ValueError: the file is malformed; the message names file, video, event number (from 0) and key.
      FileNotFoundError: the file does not exist.
    """
    path = Path(path)
    data: Any = strict_json.parse(path)
    check_type(data, dict, str(path))
    check_type(list(data), list[CaptionText], f"{path}: ids of videos")
    annotations = {}
    for video, value in data.items():
        where = f"{path}: video {show_value(video)}"
        check_type(value, _AnnotationJson, where)
        duration = _number(value["duration"], f"{where}, key 'duration'")
        if duration <= 0:
            raise ValueError(f"{where}, key 'duration': {duration} s is not the duration of a video")
        times, sentences = value["timestamps"], value["sentences"]
        if len(times) != len(sentences):
            raise ValueError(
                f"{where}: expected a sentence for each timestamp, found {len(times)} timestamps and {len(sentences)} "
                "sentences"
            )
        if not times:
            raise ValueError(f"{where}: no events; leave out a video without events")
        events = []
        for number, (time, sentence) in enumerate(zip(times, sentences, strict=True)):
            start, end = _interval(time, f"{where}, event {number}, key 'timestamps'")
            _check_not_empty(sentence, f"{where}, event {number}, key 'sentences'")
            events.append(TimedSentence(start, end, sentence))
        annotations[video] = Annotation(duration, events)
    return annotations


def read_submission(path: Path, *, empty_sentences: bool = False) -> dict[str, list[TimedSentence]]:
    """Reads the events that a submission predicts, {video: events}, in the order of the file.

    `version`, `external_data` and further keys of an event (such as its score) are ignored.

    Args:
      empty_sentences: accept empty sentences instead of raising ValueError.

    Raises:
      ValueError: the file is malformed; the message names file, video, event number (from 0) and key.
      FileNotFoundError: the file does not exist.
    """
    path = Path(path)
    data: Any = strict_json.parse(path)
    check_type(data, _SubmissionJson, str(path))
    check_type(list(data["results"]), list[CaptionText], f"{path}: ids of videos")
    predictions: dict[str, list[TimedSentence]] = {}
    for video, value in data["results"].items():
        where = f"{path}: video {show_value(video)}"
        check_type(value, list, where)
        events = predictions[video] = []
        for number, event in enumerate(value):
            place = f"{where}, event {number}"
            check_type(event, _EventJson, place)
            start, end = _interval(event["timestamp"], f"{place}, key 'timestamp'")
            if end < start:
                raise ValueError(f"{place}, key 'timestamp': ends at {end} s, before it starts at {start} s")
            if not empty_sentences:
                _check_not_empty(event["sentence"], f"{place}, key 'sentence'")
            events.append(TimedSentence(start, end, event["sentence"]))
    return predictions


def write_submission(
    path: Path,
    predictions: Mapping[str, Sequence[TimedSentence]],
    *,
    version: str = "VERSION 1.0",
    external_data: Mapping[str, object] | None = None,
):
    """Writes a submission, atomically; `read_submission` reads it.

    Args:
      version: the challenge's field of this name.
      external_data: data used in training besides ActivityNet Captions; by default {"used": false, "details": ""}.

    Raises:
      ValueError, TypeError: an event could not be read back; the message names video and event. Nothing is written.
    """
    check_events(predictions, "predictions")
    data = {
        "version": version,
        "results": {
            video: [
                {"sentence": e.sentence, "timestamp": [float(e.start), float(e.end)]}
                for e in starmap(TimedSentence, events)
            ]
            for video, events in predictions.items()
        },
        "external_data": {"used": False, "details": ""} if external_data is None else dict(external_data),
    }
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    with replacing(path) as file:
        file.write(text)


def check_events(
    videos: Mapping[str, Sequence[TimedSentence]], name: str, *, empty_sentences: bool = False, inverted: bool = False
):
    """Checks that every event of `videos` is (start, end, sentence) with finite, non-negative times.

    Args:
      name: the name of `videos` in error messages.
      empty_sentences: accept empty sentences.
      inverted: accept events that end before they start.

    Raises:
      ValueError: a bad value; TypeError: a wrong type. Both name video and event number (from 0).
    """
    for video, events in videos.items():
        if isinstance(events, str) or not isinstance(events, Sequence):
            raise TypeError(f"{name}: video {video!r}: expected a list of events, found {show_value(events)}")
        for number, event in enumerate(events):
            where = f"{name}: video {video!r}, event {number}"
            if isinstance(event, str) or not isinstance(event, Sequence) or len(event) != 3:
                raise TypeError(f"{where}: expected (start, end, sentence), found {show_value(event)}")
            start, end = _interval(event[:2], where)
            if end < start and not inverted:
                raise ValueError(f"{where}: ends at {end} s, before it starts at {start} s")
            if not isinstance(event[2], str):
                raise TypeError(f"{where}: expected a sentence as a string, found {show_value(event[2])}")
            if not empty_sentences:
                _check_not_empty(event[2], where)


def _interval(value, where: str) -> tuple[float, float]:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise ValueError(f"{where}: expected [start, end] in seconds, found {show_value(value)}")
    start, end = (_number(time, where) for time in value)
    if start < 0 or end < 0:
        raise ValueError(f"{where}: {show_value(list(value))} has a negative time; a video begins at 0 s")
    return start, end


def _number(value, where: str) -> float:
    # numpy's floats are accepted; True and False are not times.
    if isinstance(value, bool) or not hasattr(value, "__float__") or isinstance(value, str):
        raise ValueError(f"{where}: expected a number of seconds, found {show_value(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not abs(number) < _MAX_SECONDS:
        raise ValueError(f"{where}: {number} is not a time in seconds")
    return number


def _check_not_empty(sentence: str, where: str):
    if not sentence.strip():
        raise ValueError(f"{where}: the sentence is empty")
