"""Evaluation of dense captioning: from a model and a split to events and their scores."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from capjax.data.batch import Batch
from capjax.decode.generator import CaptionGenerator
from capjax.decode.merge_windows import WindowEvents, merge_windows
from capjax.decode.results import Event
from capjax.evals.evaluate import Evaluation, decode_split
from capjax.metrics import activitynet
from capjax.metrics.dense import score_dense
from capjax.metrics.names import DEFAULT_FAMILIES

# Tolerance in seconds within which two times are equal: times are stored as float32, from the start of a window that
# may lie hours into a video.
_TOLERANCE = 0.01


@dataclass(frozen=True)
class DenseEvaluation(Evaluation):
    """Events found in a split and their scores, by language.

    Attributes:
      predictions: {lang: {video: events}}, with seconds of the video.
      references: {lang: annotation sets, each {video: Annotation}}.
      scores: {lang: {metric: value}}.
      signatures: {lang: {"dense": how they were computed}}.
      warnings: reservations about the scores.
    """

    predictions: dict[str, dict[str, list[Event]]]
    references: dict[str, list[dict[str, activitynet.Annotation]]]

    _kind = "Events"

    def _write_predictions(self, path: Path, lang: str, output_format: str, external_data: Mapping[str, object]):
        """Always writes an ActivityNet submission: `output_format` is for captions."""
        activitynet.write_submission(path, to_activitynet(self.predictions[lang]), external_data=external_data)

    def _sample(self, lang: str, id: str) -> Iterator[str]:
        yield from (f"**{id}** ({lang})", "")
        for event in self.predictions[lang][id]:
            yield f"- {event.start:.1f} to {event.end:.1f} s: **{event.text}**"
        annotation = next(annotations[id] for annotations in self.references[lang] if id in annotations)
        for start, end, text in annotation.events:
            yield f"- truth, {start:.1f} to {end:.1f} s: {text}"


def evaluate(
    generator: CaptionGenerator, params, batch_stats, batches: Iterable[Batch], *, languages: Sequence[str],
    to_device: Callable[[Batch], Mapping[str, Any]], metrics: Sequence[str] = DEFAULT_FAMILIES, seed: int = 0,
) -> DenseEvaluation:  # fmt: skip
    """Finds the events of every record of `batches` in each of the languages it has events in, and scores them.

    The events of records that are windows of one video are merged. Arguments as `capjax.evals.evaluate.evaluate`.

    Raises:
      ValueError: no record has events in one of the languages.
    """

    def to_row(batch, i, lang, events):
        predictions = [(event.start, event.end, event.text, event.score) for event in events]
        return (batch["videos"][i], list(batch["references"][i][lang].items())), predictions

    windows: dict[str, dict[str, list[WindowEvents]]] = {lang: {} for lang in languages}
    annotated: dict[str, dict[int, dict[str, list]]] = {lang: {} for lang in languages}  # by annotation set and video
    durations: dict[str, float] = {}
    for row in decode_split(
        generator, "events", (params, batch_stats), batches, to_row, languages=languages, to_device=to_device,
        seed=seed,
    ):  # fmt: skip
        (video, start, duration), annotation_sets = row.record
        durations[video] = max(durations.get(video, 0.0), start + duration)
        events = [Event(first + start, last + start, text, score, row.lang) for first, last, text, score in row.result]
        windows[row.lang].setdefault(video, []).append(WindowEvents(start, start + duration, events))
        for number, annotations in annotation_sets:
            _add(annotated[row.lang].setdefault(number, {}).setdefault(video, []), annotations)
    if empty := [lang for lang in languages if not windows[lang]]:
        raise ValueError(f"the evaluation split has no events in {', '.join(empty)}; see config.data.languages")
    # Rounded before they are scored, so that scores are those of the written files.
    predictions = {
        lang: {video: [_rounded(event) for event in merge_windows(parts)] for video, parts in windows[lang].items()}
        for lang in languages
    }
    references = {
        lang: [
            {video: _annotation(events, durations[video]) for video, events in sets[number].items()}
            for number in sorted(sets)
        ]
        for lang, sets in annotated.items()
    }
    results = {
        lang: score_dense(to_activitynet(predictions[lang]), references[lang], metrics=metrics, lang=lang)
        for lang in languages
    }
    return DenseEvaluation.of(predictions, references, results)


def to_activitynet(videos: dict[str, list[Event]]) -> dict[str, list[activitynet.TimedSentence]]:
    """Converts the events of videos to the scorers' class."""
    return {id: [activitynet.TimedSentence(e.start, e.end, e.text) for e in events] for id, events in videos.items()}


def _rounded(event: Event) -> Event:
    """Rounds to the millisecond; no event begins before its video."""
    return replace(event, start=round(max(event.start, 0.0), 3), end=round(event.end, 3))


def _add(events: list[activitynet.TimedSentence], new: Iterable[Sequence]):
    """Adds the events of a window to those of a video's annotation set. Overlapping windows repeat events, whose times
    differ in the last digits."""
    before = list(events)
    for event in (activitynet.TimedSentence(*each) for each in new):
        if not any(
            event.sentence == other.sentence and np.allclose(event[:2], other[:2], rtol=0, atol=_TOLERANCE)
            for other in before
        ):
            events.append(event)


def _annotation(events: list[activitynet.TimedSentence], duration: float) -> activitynet.Annotation:
    ordered = sorted(event._replace(start=max(event.start, 0.0)) for event in events)
    return activitynet.Annotation(max(duration, max(event.end for event in ordered)), ordered)
