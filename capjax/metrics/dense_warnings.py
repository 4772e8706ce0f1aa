"""Warnings about dense captions: reasons why a score means less than it seems to."""

from collections.abc import Iterable, Sequence

import numpy as np

from capjax.metrics.messages import shorten
from capjax.metrics.videos import AnnotationSets, Predictions, SentenceTable, VideoEvents

# Seconds by which a predicted event may end after its video: files round times and durations.
_SLACK = 0.5


def dense_warnings(
    predictions: Predictions, sets: AnnotationSets, videos: Sequence[VideoEvents], table: SentenceTable,
    max_proposals: int, tiou: float, metrics: Iterable[str],
) -> list[str]:  # fmt: skip
    """Returns the warnings about predictions and annotations.

    Args:
      predictions: all events, including those after the first `max_proposals` of a video.
      tiou: the lowest threshold.
      metrics: names of the metrics that were computed.
    """
    unpredicted = [video.id for video in videos if not len(video.predicted.times)]
    if len(unpredicted) == len(videos):
        return ["no event is predicted in any video: all scores are 0"]
    warnings = []
    if unpredicted:
        warnings.append(
            f"{len(unpredicted)} of {len(videos)} videos have no predicted event: they score 0 ({shorten(unpredicted)})"
        )
    if surplus := sum(max(len(events) - max_proposals, 0) for events in predictions.values()):
        warnings.append(
            f"{surplus} predicted events were left out: only the first {max_proposals} of a video are scored"
        )
    warnings += _time_warnings(predictions, sets)
    if repeated := sum(len(events) - len(set(map(tuple, events))) for events in predictions.values()):
        warnings.append(f"{repeated} predicted events repeat the time and sentence of another one: each counts")
    if inverted := sum(
        int((events.times[:, 1] <= events.times[:, 0]).sum()) for video in videos for _, events, _ in video.annotated
    ):
        warnings.append(f"{inverted} annotated events have no duration or end before they start: none can be found")
    return warnings + _match_warnings(videos, tiou, "CIDEr" in metrics) + _word_warnings(videos, table)


def _time_warnings(predictions: Predictions, sets: AnnotationSets) -> list[str]:
    """Warns of times that are not in seconds of the video."""
    durations: dict[str, float] = {}
    for annotations in sets:
        for id, annotation in annotations.items():
            durations[id] = max(durations.get(id, 0.0), float(annotation[0]))
    last = max(float(event[1]) for events in predictions.values() for event in events)
    if last <= 1 and min(durations.values()) > 2:
        return ["no predicted event ends after 1 s: are times shares of the duration? Seconds are expected"]
    late = [id for id, events in predictions.items() for event in events if event[1] > durations[id] + _SLACK]
    if late:
        return [
            f"{len(late)} predicted events end after their video does (such as in {late[0]!r}, "
            f"{durations[late[0]]:g} s long): are times in seconds?"
        ]
    return []


def _match_warnings(videos: Sequence[VideoEvents], tiou: float, cider: bool) -> list[str]:
    counts = [_count_pairs(video, tiou) for video in videos if len(video.predicted.times)]
    if not any(matching for matching, _ in counts):
        return [f"no predicted event has a tIoU of {tiou:g} with an annotated one"]
    single = sum(scored == 1 for _, scored in counts)
    if cider and single * 2 > len(counts):
        reason = "they have one pair of events at this threshold, and every n-gram is in all documents"
        return [f"CIDEr at tIoU {tiou:g} is 0 by definition in {single} of {len(counts)} videos: {reason}"]
    return []


def _count_pairs(video: VideoEvents, tiou: float) -> tuple[int, int]:
    """Returns the numbers of pairs of events that match at a threshold, and of pairs that are scored."""
    matches = np.sum([(matrix >= tiou).sum(1) for _, _, matrix in video.annotated], axis=0)
    return int(matches.sum()), int(np.maximum(matches, 1).sum())


def _word_warnings(videos: Sequence[VideoEvents], table: SentenceTable) -> list[str]:
    """Warns of sentences without words, and without words in common with the annotations."""
    predicted = np.concatenate([video.predicted.sentences for video in videos]).tolist()
    warnings = []
    if empty := sum(not table.tokens[number] for number in predicted):
        warnings.append(f"{empty} of {len(predicted)} predicted sentences have no words: they score 0")
    annotated = {number for video in videos for _, events, _ in video.annotated for number in events.sentences.tolist()}
    vocabulary = {word for number in annotated for word in table.tokens[number]}
    if empty < len(predicted) and not any(
        word in vocabulary for number in set(predicted) for word in table.tokens[number]
    ):
        warnings.append("no word of any predicted sentence is in an annotated one: are they in the same language?")
    return warnings
