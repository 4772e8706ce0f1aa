"""Predicted and annotated events of videos, checked, and in the form that the scorers compute from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from capjax.metrics.activitynet import Annotation, Event, check_events
from capjax.metrics.messages import shorten, show_value
from capjax.metrics.temporal import tiou_matrix
from capjax.metrics.tokenize import Tokenizer

Predictions = Mapping[str, Sequence[Event]]
AnnotationSets = Sequence[Mapping[str, Annotation]]


@dataclass
class Texts:
    """Sentences by number, each tokenized once."""

    tokenize: Tokenizer
    tokens: list[list[str]] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def number(self, text: str) -> int:
        if text not in self._numbers:
            self._numbers[text] = len(self.tokens)
            self.tokens.append(self.tokenize(text))
        return self._numbers[text]


@dataclass(frozen=True)
class Events:
    """Events of a video: times float64 [n, 2], sentences int64 [n], order int64 [n] by start, ties as given."""

    times: np.ndarray
    sentences: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, events: Sequence[Event], texts: Texts) -> "Events":
        times = np.array([event[:2] for event in events], np.float64).reshape(-1, 2)
        return cls.ordered(times, np.array([texts.number(event[2]) for event in events], np.int64))

    @classmethod
    def ordered(cls, times: np.ndarray, sentences: np.ndarray) -> "Events":
        return cls(times, sentences, np.argsort(times[:, 0], kind="stable"))


@dataclass(frozen=True)
class Video:
    """A video's predictions; for each annotation set that has it: set number, events, tIoU [predicted, annotated]."""

    id: str
    predicted: Events
    annotated: list[tuple[int, Events, np.ndarray]]

    def merged(self) -> "Video":
        """The same with the events of all annotation sets as one set."""
        times = np.concatenate([events.times for _, events, _ in self.annotated])
        sentences = np.concatenate([events.sentences for _, events, _ in self.annotated])
        tiou = np.concatenate([matrix for _, _, matrix in self.annotated], axis=1)
        return Video(self.id, self.predicted, [(0, Events.ordered(times, sentences), tiou)])


def prepare(predictions: Predictions, sets: AnnotationSets, texts: Texts) -> list[Video]:
    """All annotated videos, in the order of the sets; one that is not predicted has no events."""
    videos = []
    for id in ids_of(sets):
        predicted = Events.of(predictions.get(id, ()), texts)
        annotated = []
        for number, annotations in enumerate(sets):
            if id in annotations:
                events = Events.of(annotations[id][1], texts)
                annotated.append((number, events, tiou_matrix(predicted.times, events.times)))
        videos.append(Video(id, predicted, annotated))
    return videos


def ids_of(sets: AnnotationSets) -> list[str]:
    """Every video of the sets, once."""
    return list(dict.fromkeys(id for annotations in sets for id in annotations))


def choose(
    predictions: Predictions, sets: AnnotationSets, missing: str, extra: str
) -> tuple[dict[str, Sequence[Event]], list[dict[str, Annotation]], dict[str, int]]:
    """Checks everything and leaves out what is to be left out: see `score_dense` for `missing` and `extra`.

    Returns:
      (predictions, sets, counts): `items` is how many videos are scored, `events` how many are predicted in them;
      `missing` and `extra` are videos that were annotated or predicted alone.

    Raises:
      ValueError, TypeError: what is wrong, by set, video and event.
    """
    if missing not in ("error", "zero", "drop"):
        raise ValueError(f"missing={missing!r}: expected error, zero or drop")
    if extra not in ("error", "ignore"):
        raise ValueError(f"extra={extra!r}: expected error or ignore")
    _check_sets(sets)
    if not isinstance(predictions, Mapping):
        raise TypeError(f"predictions are {{video: [(start, end, sentence), ...]}}, not {show_value(predictions)}")
    ids = ids_of(sets)
    annotated = set(ids)
    surplus = [id for id in predictions if id not in annotated]
    absent = [id for id in ids if id not in predictions]
    if predictions and len(surplus) == len(predictions):
        raise ValueError(
            f"no predicted video is annotated: predictions are of {shorten(surplus)}; annotations of {shorten(ids)}. "
            "Write the same ids in both (ActivityNet's begin with v_)"
        )
    if surplus and extra == "error":
        raise ValueError(f"no annotations for the predicted videos {shorten(surplus)}; extra='ignore' leaves them out")
    if absent and missing == "error":
        raise ValueError(
            f"no predictions for {shorten(absent)}; missing='zero' counts them as 0, missing='drop' leaves them out "
            "(which is another, easier test)"
        )
    kept = {id: predictions[id] for id in ids if id in predictions}
    check_events(kept, "predictions", empty_sentences=missing == "zero")
    if missing == "drop":
        sets = [{id: value for id, value in annotations.items() if id in kept} for annotations in sets]
        sets = [annotations for annotations in sets if annotations]
        if not sets:
            raise ValueError("no video is left: none of the annotated ones is predicted")
    counts = {
        "items": len(ids_of(sets)), "missing": len(absent), "extra": len(surplus),
        "events": sum(map(len, kept.values())),
    }  # fmt: skip
    return kept, list(sets), counts


def _check_sets(sets: AnnotationSets):
    expected = "references are a list of annotation sets, [{video: (duration, events)}, ...], none empty"
    if isinstance(sets, (Mapping, str)) or not isinstance(sets, Sequence) or not len(sets):
        raise ValueError(f"{expected}; found {show_value(sets)}")
    for number, annotations in enumerate(sets):
        if not isinstance(annotations, Mapping) or not annotations:
            raise ValueError(f"{expected}; set {number} is {show_value(annotations)}")
        for id, annotation in annotations.items():
            where = f"annotation set {number}: video {id!r}"
            if isinstance(annotation, str) or not isinstance(annotation, Sequence) or len(annotation) != 2:
                raise TypeError(f"{where}: expected (duration, events), found {show_value(annotation)}")
            duration, events = annotation
            if isinstance(duration, (bool, str)) or not hasattr(duration, "__float__"):
                raise TypeError(f"{where}: a duration is a number of seconds, not {show_value(duration)}")
            if not (math.isfinite(duration) and duration > 0):
                raise ValueError(f"{where}: {duration} s is no length of a video")
            if isinstance(events, Sequence) and not len(events):
                raise ValueError(f"{where} has no events; leave it out")
        # Published annotations have events that end before they start: see capjax.metrics.activitynet.
        events = {id: annotation[1] for id, annotation in annotations.items()}
        check_events(events, f"annotation set {number}", inverted=True)
