"""Events of videos, and the files of ActivityNet Captions that hold them: annotations and submissions.

    annotations  {"v_x": {"duration": 82.7, "timestamps": [[0.8, 19.9], ...], "sentences": ["...", ...]}, ...}
    submission   {"version": "...", "results": {"v_x": [{"sentence": "...", "timestamp": [0.8, 19.9]}, ...]},
                  "external_data": {...}}

All times are in seconds. ActivityNet Captions is published as two annotation sets of the same videos (val_1.json,
val_2.json), of which a video may be missing in one.

The published annotations have a few events that end after their video does, that last no time, or whose start lies
after their end. They are read and left as they are: the published scorer does so too, and by its tIoU an event whose
end is not after its start matches nothing (but still counts as an event to find).
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from capjax.metrics import strict_json
from capjax.metrics.messages import show_value
from capjax.metrics.writing import replacing


class Event(NamedTuple):
    """A stretch of a video, in seconds, and what happens there."""

    start: float
    end: float
    sentence: str


class Annotation(NamedTuple):
    """What one annotator saw in a video.

    Attributes:
      duration: of the whole video, in seconds.
      events: in the order of the file.
    """

    duration: float
    events: Sequence[Event]


def read_annotations(path: Path) -> dict[str, Annotation]:
    """One annotation set of ActivityNet Captions' form (YouCook2 and ViTT are given in it too).

    Raises:
      ValueError: what is wrong, with file, video, event number (from 0) and key.
      FileNotFoundError: there is no such file.
    """
    path = Path(path)
    data = _load(path)
    annotations = {}
    for video, value in data.items():
        where = f"{path}: video {video!r}"
        if not isinstance(value, dict):
            raise ValueError(f"{where}: expected duration, timestamps and sentences, found {show_value(value)}")
        if missing := [key for key in ("duration", "timestamps", "sentences") if key not in value]:
            raise ValueError(f"{where}: no {' and no '.join(map(repr, missing))}; its keys are {list(value)}")
        duration = _number(value["duration"], f"{where}, key 'duration'")
        if duration <= 0:
            raise ValueError(f"{where}, key 'duration': {duration} s is no length of a video")
        times, sentences = value["timestamps"], value["sentences"]
        for key, found in (("timestamps", times), ("sentences", sentences)):
            if not isinstance(found, list):
                raise ValueError(f"{where}, key {key!r}: expected a list, found {show_value(found)}")
        if len(times) != len(sentences):
            raise ValueError(f"{where}: {len(times)} timestamps, but {len(sentences)} sentences")
        if not times:
            raise ValueError(f"{where}: no events; leave the video out if nothing happens in it")
        events = []
        for number, (time, sentence) in enumerate(zip(times, sentences, strict=True)):
            start, end = _interval(time, f"{where}, event {number}, key 'timestamps'")
            events.append(Event(start, end, _sentence(sentence, f"{where}, event {number}, key 'sentences'")))
        annotations[video] = Annotation(duration, events)
    return annotations


def read_submission(path: Path, *, empty_sentences: bool = False) -> dict[str, list[Event]]:
    """The events that a submission predicts for each video, in the order of the file.

    `version`, `external_data` and further keys of an event (such as its score) are not looked at.

    Args:
      empty_sentences: take events with no word said of them, rather than raise.

    Raises:
      ValueError: what is wrong, with file, video, event number (from 0) and key.
      FileNotFoundError: there is no such file.
    """
    path = Path(path)
    data = _load(path)
    if not isinstance(data.get("results"), dict):
        found = (
            f"key 'results' holds {show_value(data['results'])}"
            if "results" in data
            else f"its keys are {list(data)[:5]}"
        )
        raise ValueError(f"{path}: a submission has its events by video under the key 'results'; {found}")
    predictions = {}
    for video, value in data["results"].items():
        where = f"{path}: video {video!r}"
        if not isinstance(value, list):
            raise ValueError(f"{where}: expected a list of events, found {show_value(value)}")
        events = predictions[video] = []
        for number, event in enumerate(value):
            at = f"{where}, event {number}"
            if not isinstance(event, dict):
                raise ValueError(f"{at}: expected an object with sentence and timestamp, found {show_value(event)}")
            if missing := [key for key in ("sentence", "timestamp") if key not in event]:
                raise ValueError(f"{at}: no {' and no '.join(map(repr, missing))}; its keys are {list(event)}")
            start, end = _interval(event["timestamp"], f"{at}, key 'timestamp'")
            if end < start:
                raise ValueError(f"{at}, key 'timestamp': ends at {end} s, before it starts at {start} s")
            sentence = _sentence(event["sentence"], f"{at}, key 'sentence'", empty_sentences)
            events.append(Event(start, end, sentence))
    return predictions


def write_submission(
    path: Path,
    predictions: Mapping[str, Sequence[Event]],
    *,
    version: str = "VERSION 1.0",
    external_data: Mapping[str, object] | None = None,
):
    """Writes what `read_submission` reads: aside, then renamed over `path`.

    Args:
      version: the challenge's field of this name.
      external_data: what else than ActivityNet Captions was learnt from; by default {"used": false, "details": ""}.

    Raises:
      ValueError, TypeError: an event that could not be read back, with its video and number. Nothing is written.
    """
    check_events(predictions, "predictions")
    data = {
        "version": version,
        "results": {
            video: [{"sentence": e.sentence, "timestamp": [float(e.start), float(e.end)]} for e in map(_event, events)]
            for video, events in predictions.items()
        },
        "external_data": {"used": False, "details": ""} if external_data is None else dict(external_data),
    }
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    with replacing(path) as file:
        file.write(text)


def check_events(
    videos: Mapping[str, Sequence[Event]], name: str, *, empty_sentences: bool = False, inverted: bool = False
):
    """Raises unless every event of `videos` is (start, end, sentence) with finite times, not negative.

    Args:
      name: what the videos are called in the message.
      empty_sentences, inverted: let pass events without a word, or that end before they start.

    Raises:
      ValueError: a value; TypeError: a type. Both name video and event number (from 0).
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
                raise TypeError(f"{where}: a sentence is a string, not {show_value(event[2])}")
            _sentence(event[2], where, empty_sentences)


def _event(event: Sequence) -> Event:
    return Event(*event)


def _load(path: Path) -> dict:
    data = strict_json.parse(path)
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected a JSON object by video, found {show_value(data)}")
    return data


def _interval(value, where: str) -> tuple[float, float]:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise ValueError(f"{where}: expected [start, end] in seconds, found {show_value(value)}")
    start, end = (_number(time, where) for time in value)
    if start < 0 or end < 0:
        raise ValueError(f"{where}: {show_value(list(value))} has a negative time; the video begins at 0 s")
    return start, end


def _number(value, where: str) -> float:
    # numpy's floats are numbers too; True and False are no times.
    if isinstance(value, bool) or not hasattr(value, "__float__") or isinstance(value, str):
        raise ValueError(f"{where}: expected a number of seconds, found {show_value(value)}")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{where}: {number} is no time")
    return number


def _sentence(value, where: str, empty: bool = False) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where}: expected a sentence, found {show_value(value)}")
    if not empty and not value.strip():
        raise ValueError(f"{where}: the sentence is empty")
    return value
