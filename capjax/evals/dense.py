"""A model and a split to events and their scores."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from capjax.evals.evaluate import write_scores
from capjax.evals.generate import Event, Generator
from capjax.evals.output_formats import NO_EXTERNAL_DATA
from capjax.evals.windows import Window, merge
from capjax.files import write_text
from capjax.metrics import activitynet
from capjax.metrics.dense import score_dense
from capjax.metrics.names import DEFAULT_FAMILIES
from capjax.parallel.hosts import allgather_objects

# Seconds: times are stored as float32, from the start of a window that may lie hours into a video.
_SAME = 0.01


@dataclass(frozen=True)
class DenseEvaluation:
    """What one pass over a split gave, by language.

    Attributes:
      predictions: {lang: {video: events}}, seconds of the video.
      references: {lang: annotation sets, each {video: Annotation}}.
      scores: {lang: {figure: value}}; signatures: {lang: {"dense": how they were computed}}.
      warnings: what to know before a figure is believed.
    """

    predictions: dict[str, dict[str, list[Event]]]
    references: dict[str, list[dict[str, activitynet.Annotation]]]
    scores: dict[str, dict[str, float]]
    signatures: dict[str, dict[str, str]]
    warnings: list[str]

    def write(
        self, directory: Path, *, step: int, split: str, samples: int, form: str = "",
        external_data: Mapping[str, object] = NO_EXTERNAL_DATA,
    ):  # fmt: skip
        """Writes `predictions.json` (ActivityNet's submission form, whatever `form` is for captions; further languages
        as `predictions.LANG.json`), `scores.json` and `samples.md`."""
        del form
        directory.mkdir(parents=True, exist_ok=True)
        for number, (lang, videos) in enumerate(self.predictions.items()):
            name = "predictions.json" if number == 0 else f"predictions.{lang}.json"
            activitynet.write_submission(directory / name, plain(videos), external_data=external_data)
        write_scores(self, directory, step=step, split=split)
        lines = [f"# Events of {split} at step {step}", ""]
        for lang, videos in self.predictions.items():
            for id, events in list(videos.items())[:samples]:
                lines += [f"**{id}** ({lang})", ""]
                lines += [f"- {event.start:.1f} to {event.end:.1f} s: **{event.text}**" for event in events]
                truth = next(each[id] for each in self.references[lang] if id in each)
                lines += [f"- truth, {start:.1f} to {end:.1f} s: {text}" for start, end, text in truth.events] + [""]
        write_text(directory / "samples.md", "\n".join(lines))


def evaluate(
    generator: Generator, params, batch_stats, batches: Iterable[dict], *, languages, to_device: Callable[[dict], dict],
    metrics: Sequence[str] = DEFAULT_FAMILIES, seed: int = 0, progress: Callable[[int], None] | None = None,
) -> DenseEvaluation:  # fmt: skip
    """Finds the events of every record of `batches` in each of the languages it has events in, and scores them.

    Records that are parts of one video are put together. Arguments as `capjax.evals.evaluate.evaluate`.
    """
    seen = []
    for number, batch in enumerate(batches):
        inputs = to_device(batch)
        for index, lang in enumerate(languages):
            rows = [i for i, valid in enumerate(batch["valid"]) if valid and batch["references"][i].get(lang)]
            if not rows and jax.process_count() == 1:  # another process may have some
                continue
            key = jax.random.fold_in(jax.random.key(seed), number * len(languages) + index)
            found = generator.events(params, batch_stats, inputs, lang, key=key)
            for i in rows:
                row, told = int(batch["rows"][i]), batch["references"][i][lang]
                seen.append((number, row, lang, *batch["videos"][i], found[row], list(told.items())))
        if progress is not None:
            progress(int(batch["valid"].sum()))
    windows: dict[str, dict[str, list[Window]]] = {lang: {} for lang in languages}
    truth: dict[str, dict[int, dict[str, list]]] = {lang: {} for lang in languages}  # by annotation set and video
    lengths: dict[str, float] = {}
    for _, _, lang, video, start, duration, found, told in sorted(
        itertools.chain(*allgather_objects(seen)), key=lambda one: one[:2]
    ):
        lengths[video] = max(lengths.get(video, 0.0), start + duration)
        events = [Event(e[0] + start, e[1] + start, *e[2:]) for e in found]
        windows[lang].setdefault(video, []).append(Window(start, start + duration, events))
        for number, events in told:
            _add(truth[lang].setdefault(number, {}).setdefault(video, []), events)
    empty = [lang for lang in languages if not windows[lang]]
    if empty:
        raise ValueError(f"the evaluation split has no events in {', '.join(empty)}; see config.data.languages")
    # Scores are of what is written.
    predictions = {
        lang: {id: [_rounded(event) for event in merge(parts)] for id, parts in windows[lang].items()}
        for lang in languages
    }
    references = {
        lang: [{id: _annotation(events, lengths[id]) for id, events in sets[number].items()} for number in sorted(sets)]
        for lang, sets in truth.items()
    }
    scores = {
        lang: score_dense(plain(predictions[lang]), references[lang], metrics=metrics, lang=lang) for lang in languages
    }
    warnings = [f"{lang}: {warning}" for lang, found in scores.items() for warning in found.warnings]
    warnings += [f"{lang}: {name} is absent: {why}" for lang in scores for name, why in scores[lang].absent.items()]
    return DenseEvaluation(
        predictions, references, {lang: found.corpus for lang, found in scores.items()},
        {lang: found.signatures for lang, found in scores.items()}, warnings,
    )  # fmt: skip


def plain(videos: dict[str, list[Event]]) -> dict[str, list[activitynet.Event]]:
    """Events as the scorers take them."""
    return {id: [activitynet.Event(e.start, e.end, e.text) for e in events] for id, events in videos.items()}


def _rounded(event: Event) -> Event:
    """To the millisecond; no event begins before its video."""
    return event._replace(start=round(max(event.start, 0.0), 3), end=round(event.end, 3))


def _add(known: list[activitynet.Event], events: Iterable[Sequence]):
    """Adds events of an annotation set that are not known. Windows that overlap tell of the same events twice, but for
    the last digits of their times."""
    new = [activitynet.Event(*event) for event in events]
    known += [
        event
        for event in new
        if not any(event.sentence == e.sentence and np.allclose(event[:2], e[:2], rtol=0, atol=_SAME) for e in known)
    ]


def _annotation(events: list[activitynet.Event], duration: float) -> activitynet.Annotation:
    ordered = sorted(event._replace(start=max(event.start, 0.0)) for event in events)
    return activitynet.Annotation(max(duration, max(event.end for event in ordered)), ordered)
