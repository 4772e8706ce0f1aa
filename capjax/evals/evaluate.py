"""A model and a split to predictions and scores."""

import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from capjax.evals.generate import Generator
from capjax.evals.output_formats import NO_EXTERNAL_DATA, to_output_format
from capjax.files import write_text
from capjax.metrics import DEFAULT_FAMILIES, score
from capjax.metrics.names import LOWER_IS_BETTER
from capjax.parallel.hosts import allgather_objects


@dataclass(frozen=True)
class Evaluation:
    """What one pass over a split gave, by language.

    Attributes:
      predictions: {lang: {record id: caption}}; references: {lang: {record id: captions}}.
      scores: {lang: {metric: value}}; signatures: {lang: {metric: how it was computed}}.
      warnings: what to know before a figure is believed.
    """

    predictions: dict[str, dict[str, str]]
    references: dict[str, dict[str, list[str]]]
    scores: dict[str, dict[str, float]]
    signatures: dict[str, dict[str, str]]
    warnings: list[str]

    def write(
        self, directory: Path, *, step: int, split: str, samples: int, form: str = "coco",
        external_data: Mapping[str, object] = NO_EXTERNAL_DATA,
    ):  # fmt: skip
        """Writes `predictions.json` (further languages as `predictions.LANG.json`), `scores.json` and `samples.md` into
        `directory`; `form` and `external_data` as in capjax.evals.output_formats."""
        directory.mkdir(parents=True, exist_ok=True)
        for number, (lang, predictions) in enumerate(self.predictions.items()):
            made = to_output_format(predictions, form, external_data)
            name = "predictions.json" if number == 0 else f"predictions.{lang}.json"
            write_text(directory / name, json.dumps(made, ensure_ascii=False, indent=1) + "\n")
        write_scores(self, directory, step=step, split=split)
        lines = [f"# Captions of {split} at step {step}", ""]
        for lang, predictions in self.predictions.items():
            for id, text in list(predictions.items())[:samples]:
                lines += [f"**{id}** ({lang}): {text}", ""]
                lines += [f"- {reference}" for reference in self.references[lang][id]] + [""]
        write_text(directory / "samples.md", "\n".join(lines))


def write_scores(evaluation, directory: Path, *, step: int, split: str):
    """Writes `scores.json` of an Evaluation or a DenseEvaluation."""
    items = {lang: len(predictions) for lang, predictions in evaluation.predictions.items()}
    report = {"step": step, "split": split, "items": items, "scores": evaluation.scores}
    report |= {"signatures": evaluation.signatures, "warnings": evaluation.warnings}
    write_text(directory / "scores.json", json.dumps(report, indent=1) + "\n")


def means(scores: dict[str, dict[str, float]]) -> dict[str, float]:
    first, *others = scores.values()
    metrics = [metric for metric in first if all(metric in values for values in others)]
    return {metric: sum(values[metric] for values in scores.values()) / len(scores) for metric in metrics}


def value_of(scores: dict[str, dict[str, float]], name: str) -> float:
    """A figure's mean over the languages, larger where it is better: errors are negative, and a figure that is not
    defined (no event was found) is minus infinity."""
    found = means(scores)
    if name not in found:
        return -math.inf
    return -found[name] if name in LOWER_IS_BETTER else found[name]


def read_scores(directory: Path) -> dict[str, float]:
    """Each metric's mean over the languages, from the `scores.json` in a folder; empty if there is none."""
    path = directory / "scores.json"
    return means(json.loads(path.read_text())["scores"]) if path.is_file() else {}


def evaluate(
    generator: Generator, params, batch_stats, batches: Iterable[dict], *, languages, to_device: Callable[[dict], dict],
    metrics: Sequence[str] = DEFAULT_FAMILIES, seed: int = 0, progress: Callable[[int], None] | None = None,
) -> Evaluation:  # fmt: skip
    """Captions every record of `batches` in each of the languages it has references in, and scores the captions.

    Of several processes each has its own rows of the batches, and the same result: that of all rows.

    Args:
      batches: as the pipeline's evaluation iterator gives them, with `ids`, `rows`, `references` and `valid`.
      to_device: host batch -> device batch of the model's inputs.
      metrics: names of capjax.metrics.names.FAMILIES.
      progress: called with the number of records done in each batch.
    """
    import jax

    found = []
    for number, batch in enumerate(batches):
        inputs = to_device(batch)
        for index, lang in enumerate(languages):
            rows = [i for i, valid in enumerate(batch["valid"]) if valid and batch["references"][i].get(lang)]
            if not rows and jax.process_count() == 1:  # another process may have some
                continue
            key = jax.random.fold_in(jax.random.key(seed), number * len(languages) + index)
            texts, _ = generator(params, batch_stats, inputs, lang, key=key)
            for i in rows:
                row, told = int(batch["rows"][i]), batch["references"][i][lang]
                found.append((number, row, lang, batch["ids"][i], texts[row], told))
        if progress is not None:
            progress(int(batch["valid"].sum()))
    predictions = {lang: {} for lang in languages}
    references = {lang: {} for lang in languages}
    for _, _, lang, id, text, told in sorted(itertools.chain(*allgather_objects(found)), key=lambda one: one[:2]):
        predictions[lang][id], references[lang][id] = text, told
    empty = [lang for lang in languages if not predictions[lang]]
    if empty:
        raise ValueError(f"the evaluation split has no captions in {', '.join(empty)}; see config.data.languages")
    scores = {lang: score(predictions[lang], references[lang], lang=lang, metrics=metrics) for lang in languages}
    warnings = [f"{lang}: {warning}" for lang, found in scores.items() for warning in found.warnings]
    warnings += [f"{lang}: {name} is absent: {why}" for lang in scores for name, why in scores[lang].absent.items()]
    return Evaluation(
        predictions, references, {lang: found.corpus for lang, found in scores.items()},
        {lang: found.signatures for lang, found in scores.items()}, warnings,
    )  # fmt: skip
