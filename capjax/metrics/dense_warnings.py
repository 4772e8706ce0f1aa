"""What makes figures of dense captions mean less than they seem to: told as warnings, for none of it is an error."""

from collections.abc import Iterable, Sequence

import numpy as np

from capjax.metrics.messages import shorten
from capjax.metrics.videos import AnnotationSets, Predictions, Texts, Video

# A predicted event may end so many seconds after its video: files round their times, and durations too.
_SLACK = 0.5


def find(
    predictions: Predictions, sets: AnnotationSets, videos: Sequence[Video], texts: Texts, max_proposals: int,
    tiou: float, metrics: Iterable[str],
) -> list[str]:  # fmt: skip
    """Warnings.

    Args:
      predictions: all events, before those after the first `max_proposals` of a video were cut.
      tiou: the lowest threshold.
      metrics: names of those that were computed.
    """
    silent = [video.id for video in videos if not len(video.predicted.times)]
    if len(silent) == len(videos):
        return ["no event is predicted in any video: all is 0"]
    warnings = []
    if silent:
        warnings.append(
            f"{len(silent)} of {len(videos)} videos have no predicted event: they score 0 ({shorten(silent)})"
        )
    if cut := sum(max(len(events) - max_proposals, 0) for events in predictions.values()):
        warnings.append(f"{cut} predicted events were left out: only the first {max_proposals} of a video are scored")
    warnings += _times(predictions, sets)
    if twice := sum(len(events) - len(set(map(tuple, events))) for events in predictions.values()):
        warnings.append(f"{twice} predicted events repeat one of their video, time and sentence: each counts again")
    if unfound := sum(int((events.times[:, 1] <= events.times[:, 0]).sum()) for video in videos
                      for _, events, _ in video.annotated):  # fmt: skip
        warnings.append(f"{unfound} annotated events last no time or end before they start: none can be found")
    return warnings + _matches(videos, tiou, "CIDEr" in metrics) + _words(videos, texts)


def _times(predictions: Predictions, sets: AnnotationSets) -> list[str]:
    """Times in something else than seconds of the video."""
    durations: dict[str, float] = {}
    for annotations in sets:
        for id, annotation in annotations.items():
            durations[id] = max(durations.get(id, 0.0), float(annotation[0]))
    last = max(float(event[1]) for events in predictions.values() for event in events)
    if last <= 1 and min(durations.values()) > 2:
        return ["no predicted event ends after 1 s: are times shares of the duration? They are to be seconds"]
    late = [id for id, events in predictions.items() for event in events if event[1] > durations[id] + _SLACK]
    if late:
        first = durations[late[0]]
        return [f"{len(late)} predicted events end after their video does (such as of {late[0]!r}, {first:g} s long): "
                "are times in seconds?"]  # fmt: skip
    return []


def _matches(videos: Sequence[Video], tiou: float, cider: bool) -> list[str]:
    found = [_pairs(video, tiou) for video in videos if len(video.predicted.times)]
    if not any(matched for matched, _ in found):
        return [f"no predicted event has a tIoU of {tiou:g} with an annotated one"]
    lone = sum(pairs == 1 for _, pairs in found)
    if cider and lone * 2 > len(found):
        why = "they have one pair of events there, and every n-gram is in all documents"
        return [f"CIDEr at tIoU {tiou:g} is 0 by definition in {lone} of {len(found)} videos: {why}"]
    return []


def _pairs(video: Video, tiou: float) -> tuple[int, int]:
    """(pairs of events that match, pairs that are scored) at a threshold."""
    matches = np.sum([(matrix >= tiou).sum(1) for _, _, matrix in video.annotated], axis=0)
    return int(matches.sum()), int(np.maximum(matches, 1).sum())


def _words(videos: Sequence[Video], texts: Texts) -> list[str]:
    """Sentences that say nothing, or nothing that annotations say."""
    predicted = np.concatenate([video.predicted.sentences for video in videos]).tolist()
    warnings = []
    if empty := sum(not texts.tokens[number] for number in predicted):
        warnings.append(f"{empty} of {len(predicted)} predicted sentences have no word: they score 0")
    annotated = {number for video in videos for _, events, _ in video.annotated for number in events.sentences.tolist()}
    known = {word for number in annotated for word in texts.tokens[number]}
    if empty < len(predicted) and not any(word in known for number in set(predicted) for word in texts.tokens[number]):
        warnings.append("no word of any predicted sentence stands in an annotated one: are they of the same language?")
    return warnings
