"""A model and a split to events and their scores."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax

from capjax.evals.evaluate import write_scores
from capjax.evals.generate import Event, Generator
from capjax.evals.windows import Window, merge
from capjax.files import write_text
from capjax.metrics import activitynet
from capjax.metrics.dense import score_dense
from capjax.metrics.score import DEFAULT


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

    def write(self, directory: Path, *, step: int, split: str, samples: int):
        """Writes `predictions.json` (ActivityNet's submission form; further languages as `predictions.LANG.json`),
        `scores.json` and `samples.md`."""
        directory.mkdir(parents=True, exist_ok=True)
        for number, (lang, videos) in enumerate(self.predictions.items()):
            name = "predictions.json" if number == 0 else f"predictions.{lang}.json"
            write_text(directory / name, json.dumps(submission(videos), ensure_ascii=False, indent=1) + "\n")
        write_scores(self, directory, step=step, split=split)
        lines = [f"# Events of {split} at step {step}", ""]
        for lang, videos in self.predictions.items():
            for id, events in list(videos.items())[:samples]:
                lines += [f"**{id}** ({lang})", ""]
                lines += [f"- {event.start:.1f} to {event.end:.1f} s: **{event.text}**" for event in events]
                truth = next(each[id] for each in self.references[lang] if id in each)
                lines += [f"- truth, {start:.1f} to {end:.1f} s: {text}" for start, end, text in truth.events] + [""]
        write_text(directory / "samples.md", "\n".join(lines))


def submission(videos: dict[str, Sequence[Event]]) -> dict:
    """Events of videos in the form that ActivityNet's server takes."""
    return {
        "version": "VERSION 1.0",
        "results": {
            id: [{"sentence": e.text, "timestamp": [round(e.start, 3), round(e.end, 3)]} for e in events]
            for id, events in videos.items()
        },
        "external_data": {"used": False, "details": ""},
    }


def evaluate(
    generator: Generator, params, stats, batches: Iterable[dict], *, languages, to_device: Callable[[dict], dict],
    metrics: Sequence[str] = DEFAULT, seed: int = 0, progress: Callable[[int], None] | None = None,
) -> DenseEvaluation:  # fmt: skip
    """Finds the events of every record of `batches` in each of the languages it has events in, and scores them.

    Records that are parts of one video are put together. Arguments as `capjax.evals.evaluate.evaluate`.
    """
    windows: dict[str, dict[str, list[Window]]] = {lang: {} for lang in languages}
    truth: dict[str, dict[str, list[set]]] = {lang: {} for lang in languages}
    lengths: dict[str, float] = {}
    for number, batch in enumerate(batches):
        inputs = to_device(batch)
        for index, lang in enumerate(languages):
            rows = [i for i, valid in enumerate(batch["valid"]) if valid and batch["references"][i].get(lang)]
            if not rows:
                continue
            key = jax.random.fold_in(jax.random.key(seed), number * len(languages) + index)
            found = generator.events(params, stats, inputs, lang, key=key)
            for i in rows:
                video, start, duration = batch["videos"][i]
                lengths[video] = max(lengths.get(video, 0.0), start + duration)
                events = [e._replace(start=e.start + start, end=e.end + start) for e in found[i]]
                windows[lang].setdefault(video, []).append(Window(start, start + duration, events))
                sets = truth[lang].setdefault(video, [])
                for k, events in enumerate(batch["references"][i][lang]):
                    if k == len(sets):
                        sets.append(set())
                    # Windows that overlap tell of the same events twice.
                    sets[k].update((round(start, 3), round(end, 3), text) for start, end, text in events)
        if progress is not None:
            progress(int(batch["valid"].sum()))
    empty = [lang for lang in languages if not windows[lang]]
    if empty:
        raise ValueError(f"the evaluation split has no events in {', '.join(empty)}; see config.data.languages")
    predictions = {lang: {id: merge(parts) for id, parts in windows[lang].items()} for lang in languages}
    references = {lang: _annotations(truth[lang], lengths) for lang in languages}
    scores = {
        lang: score_dense(_plain(predictions[lang]), references[lang], metrics=metrics, lang=lang) for lang in languages
    }
    warnings = [f"{lang}: {warning}" for lang, found in scores.items() for warning in found.warnings]
    return DenseEvaluation(
        predictions, references, {lang: found.corpus for lang, found in scores.items()},
        {lang: found.signatures for lang, found in scores.items()}, warnings,
    )  # fmt: skip


def _plain(videos: dict[str, list[Event]]) -> dict[str, list[activitynet.Event]]:
    return {id: [activitynet.Event(e.start, e.end, e.text) for e in events] for id, events in videos.items()}


def _annotations(videos: dict[str, list[set]], lengths) -> list[dict[str, activitynet.Annotation]]:
    """The annotation sets of {video: events of each set}."""
    count = max(map(len, videos.values()))
    sets: list[dict[str, activitynet.Annotation]] = [{} for _ in range(count)]
    for id, each in videos.items():
        for k, events in enumerate(each):
            ordered = [activitynet.Event(max(start, 0.0), end, text) for start, end, text in sorted(events)]
            sets[k][id] = activitynet.Annotation(max(lengths[id], max(e.end for e in ordered)), ordered)
    return sets
