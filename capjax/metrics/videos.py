"""Predicted and annotated events of videos, validated and as arrays, for the scorers of dense captions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from capjax.metrics.activitynet import Annotation, TimedSentence, check_events
from capjax.metrics.messages import option, shorten, show_value
from capjax.metrics.temporal import tiou_matrix
from capjax.metrics.tokenize import Tokenizer

Predictions = Mapping[str, Sequence[TimedSentence]]
AnnotationSets = Sequence[Mapping[str, Annotation]]


@dataclass
class SentenceTable:
    """Numbers sentences; each distinct one is tokenized once.

    Attributes:
      tokenize: text -> words.
      tokens: words of each sentence, by its number.
    """

    tokenize: Tokenizer
    tokens: list[list[str]] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def number(self, text: str) -> int:
        """Returns the number of a sentence."""
        if text not in self._numbers:
            self._numbers[text] = len(self.tokens)
            self.tokens.append(self.tokenize(text))
        return self._numbers[text]


@dataclass(frozen=True)
class EventArrays:
    """The events of a video as arrays.

    Attributes:
      times: float64 [n, 2], starts and ends in seconds.
      sentences: int64 [n], numbers of sentences.
      order: int64 [n], the events by their start; ties in the order given.
    """

    times: np.ndarray
    sentences: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, events: Sequence[TimedSentence], table: SentenceTable) -> "EventArrays":
        """Converts events, whose sentences are numbered in `table`."""
        times = np.array([event[:2] for event in events], np.float64).reshape(-1, 2)
        return cls.ordered(times, np.array([table.number(event[2]) for event in events], np.int64))

    @classmethod
    def ordered(cls, times: np.ndarray, sentences: np.ndarray) -> "EventArrays":
        """Orders events by their start."""
        return cls(times, sentences, np.argsort(times[:, 0], kind="stable"))


@dataclass(frozen=True)
class VideoEvents:
    """The predicted and annotated events of a video.

    Attributes:
      id: the video.
      predicted: the predicted events.
      annotated: for each annotation set that has the video: (number of the set, events, tIoU [predicted, annotated]).
    """

    id: str
    predicted: EventArrays
    annotated: list[tuple[int, EventArrays, np.ndarray]]

    def merged(self) -> "VideoEvents":
        """Returns the video with the events of all annotation sets as one set."""
        times = np.concatenate([events.times for _, events, _ in self.annotated])
        sentences = np.concatenate([events.sentences for _, events, _ in self.annotated])
        tiou = np.concatenate([matrix for _, _, matrix in self.annotated], axis=1)
        return VideoEvents(self.id, self.predicted, [(0, EventArrays.ordered(times, sentences), tiou)])


def to_arrays(predictions: Predictions, sets: AnnotationSets, table: SentenceTable) -> list[VideoEvents]:
    """Converts all annotated videos, in the order of the sets; a video without predictions has no predicted events."""
    videos = []
    for id in video_ids(sets):
        predicted = EventArrays.of(predictions.get(id, ()), table)
        annotated = []
        for number, annotations in enumerate(sets):
            if id in annotations:
                events = EventArrays.of(annotations[id][1], table)
                annotated.append((number, events, tiou_matrix(predicted.times, events.times)))
        videos.append(VideoEvents(id, predicted, annotated))
    return videos


def video_ids(sets: AnnotationSets) -> list[str]:
    """Returns the ids of the videos of all sets, each once."""
    return list(dict.fromkeys(id for annotations in sets for id in annotations))


def select_videos(
    predictions: Predictions, sets: AnnotationSets, missing: str, extra: str
) -> tuple[dict[str, Sequence[TimedSentence]], AnnotationSets, dict[str, int]]:
    """Validates predictions and annotations and leaves out videos as `missing` and `extra` of `score_dense` say.

    Returns:
      (predictions, sets, counts): `items` is the number of videos scored, `events` the number of events predicted in
      them; `missing` and `extra` are the numbers of videos that were only annotated or only predicted.

    Raises:
      ValueError, TypeError: the message names set, video and event.
    """
    if missing not in ("error", "zero", "drop"):
        raise ValueError(f"missing={missing!r}: expected error, zero or drop")
    if extra not in ("error", "ignore"):
        raise ValueError(f"extra={extra!r}: expected error or ignore")
    _check_sets(sets)
    if not isinstance(predictions, Mapping):
        raise TypeError(
            f"predictions: expected {{video: [(start, end, sentence), ...]}}, found {show_value(predictions)}"
        )
    ids = video_ids(sets)
    annotated = set(ids)
    only_predicted = [id for id in predictions if id not in annotated]
    only_annotated = [id for id in ids if id not in predictions]
    if predictions and len(only_predicted) == len(predictions):
        raise ValueError(
            f"no predicted video is annotated: predictions are of {shorten(only_predicted)}; annotations of "
            f"{shorten(ids)}. Write the same ids in both (ActivityNet's begin with v_)"
        )
    if only_predicted and extra == "error":
        raise ValueError(
            f"no annotations for the predicted videos {shorten(only_predicted)}; {option('extra', 'ignore')} leaves "
            "them out"
        )
    if only_annotated and missing == "error":
        raise ValueError(
            f"no predictions for {shorten(only_annotated)}; {option('missing', 'zero')} counts them as 0, "
            f"{option('missing', 'drop')} leaves them out (which is another, easier test)"
        )
    kept = {id: predictions[id] for id in ids if id in predictions}
    check_events(kept, "predictions", empty_sentences=missing == "zero")
    if missing == "drop":
        sets = [{id: value for id, value in annotations.items() if id in kept} for annotations in sets]
        sets = [annotations for annotations in sets if annotations]
        if not sets:
            raise ValueError("no video is left: none of the annotated videos is predicted")
    counts = {
        "items": len(video_ids(sets)), "missing": len(only_annotated), "extra": len(only_predicted),
        "events": sum(map(len, kept.values())),
    }  # fmt: skip
    return kept, sets, counts


def _check_sets(sets: AnnotationSets):
    expected = "expected references as a list of annotation sets, [{video: (duration, events)}, ...], none empty"
    if isinstance(sets, (Mapping, str)) or not isinstance(sets, Sequence) or not len(sets):
        raise ValueError(f"{expected}; found {show_value(sets)}")
    for number, annotations in enumerate(sets):
        if not isinstance(annotations, Mapping) or not annotations:
            raise ValueError(f"{expected}; set {number} is {show_value(annotations)}")
        for id, annotation in annotations.items():
            place = f"annotation set {number}: video {id!r}"
            if isinstance(annotation, str) or not isinstance(annotation, Sequence) or len(annotation) != 2:
                raise TypeError(f"{place}: expected (duration, events), found {show_value(annotation)}")
            duration, events = annotation
            if isinstance(duration, (bool, str)) or not hasattr(duration, "__float__"):
                raise TypeError(f"{place}: expected a duration in seconds, found {show_value(duration)}")
            if not (math.isfinite(duration) and duration > 0):
                raise ValueError(f"{place}: {duration} s is not the duration of a video")
            if isinstance(events, Sequence) and not len(events):
                raise ValueError(f"{place} has no events; leave it out")
        # Published annotations have events that end before they start: see capjax.metrics.activitynet.
        check_events(
            {id: annotation[1] for id, annotation in annotations.items()}, f"annotation set {number}", inverted=True
        )
