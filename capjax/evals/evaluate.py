"""Evaluation of captions: from a model and a split to predictions and scores."""

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import jax

from capjax.data.batch import Batch
from capjax.decode.attribute_shares import AttributeShares
from capjax.decode.generator import CaptionGenerator
from capjax.evals.output_formats import NO_EXTERNAL_DATA, to_output_format
from capjax.files import make_folder, read_json, write_text
from capjax.metrics import DEFAULT_FAMILIES, score
from capjax.metrics.names import LOWER_IS_BETTER
from capjax.models.pure_model import Arrays
from capjax.parallel.hosts import allgather_objects


@dataclass(frozen=True)
class Evaluation:
    """Predictions for a split and their scores, by language.

    Attributes:
      predictions: {lang: {record id: caption}}.
      references: {lang: {record id: captions}}.
      scores: {lang: {metric: value}}.
      signatures: {lang: {metric: how it was computed}}.
      warnings: reservations about the scores.
    """

    predictions: dict[str, dict[str, Any]]
    references: dict[str, Any]
    scores: dict[str, dict[str, float]]
    signatures: dict[str, dict[str, str]]
    warnings: list[str]

    @classmethod
    def of(cls, predictions, references, results: Mapping[str, Any]):
        """The evaluation of predictions whose scores, by language, are `results` of capjax.metrics."""
        warnings = [f"{lang}: {warning}" for lang, result in results.items() for warning in result.warnings]
        warnings += [
            f"{lang}: {name} is absent: {reason}"
            for lang, result in results.items()
            for name, reason in result.absent.items()
        ]
        scores = {lang: result.corpus for lang, result in results.items()}
        signatures = {lang: result.signatures for lang, result in results.items()}
        return cls(predictions, references, scores, signatures, warnings)

    def write(
        self, directory: Path, *, step: int, split: str, samples: int, output_format: str = "coco",
        external_data: Mapping[str, object] = NO_EXTERNAL_DATA,
    ):  # fmt: skip
        """Writes `predictions.json` (further languages as `predictions.LANG.json`), `scores.json` and `samples.md`.

        Args:
          directory: created if missing.
          step: training step of the checkpoint.
          split: the split's name, DATASET@SPLIT.
          samples: number of records in `samples.md`.
          output_format: of the captions, see capjax.evals.output_formats.
          external_data: see capjax.evals.output_formats.
        """
        make_folder(directory)
        for number, lang in enumerate(self.predictions):
            path = directory / ("predictions.json" if number == 0 else f"predictions.{lang}.json")
            self._write_predictions(path, lang, output_format, external_data)
        items = {lang: len(predictions) for lang, predictions in self.predictions.items()}
        report = {"step": step, "split": split, "items": items, "scores": self.scores}
        report |= {"signatures": self.signatures, "warnings": self.warnings}
        write_text(directory / "scores.json", json.dumps(report, indent=1) + "\n")
        lines = [f"# {self._kind} of {split} at step {step}", ""]
        for lang, predictions in self.predictions.items():
            for id in itertools.islice(predictions, samples):
                lines += [*self._sample(lang, id), ""]
        write_text(directory / "samples.md", "\n".join(lines))

    _kind = "Captions"

    def _write_predictions(self, path: Path, lang: str, output_format: str, external_data: Mapping[str, object]):
        rows = to_output_format(self.predictions[lang], output_format, external_data)
        write_text(path, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")

    def _sample(self, lang: str, id: str) -> Iterator[str]:
        """Lines of `samples.md` for one record."""
        yield from (f"**{id}** ({lang}): {self.predictions[lang][id]}", "")
        yield from (f"- {reference}" for reference in self.references[lang][id])


def means(scores: dict[str, dict[str, float]]) -> dict[str, float]:
    """Returns the mean over the languages of each metric that all languages have."""
    first, *remaining = scores.values()
    metrics = [metric for metric in first if all(metric in values for values in remaining)]
    return {metric: sum(values[metric] for values in scores.values()) / len(scores) for metric in metrics}


def value_of(scores: dict[str, dict[str, float]], name: str) -> float:
    """Returns a metric's mean over the languages, such that larger is better: errors are negated, and a metric that is
    not defined (no event was found) is minus infinity."""
    values = means(scores)
    if name not in values:
        return -math.inf
    return -values[name] if name in LOWER_IS_BETTER else values[name]


def read_scores(directory: Path) -> dict[str, float]:
    """Returns each metric's mean over the languages from the `scores.json` in a folder; empty if there is none."""
    path = directory / "scores.json"
    return means(read_json(path, "evaluate again with --mode=eval", ScoresJson)["scores"]) if path.is_file() else {}


class ScoresJson(TypedDict):
    """The parts of scores.json that are read again."""

    step: int
    split: str
    items: dict[str, int]
    scores: dict[str, dict[str, float]]
    signatures: dict[str, dict[str, str]]
    warnings: list[str]


class DecodedRow(NamedTuple):
    """The result for one record of a split in one language. `row` is the record's row of batch number `batch`."""

    batch: int
    row: int
    lang: str
    record: Any
    result: Any


def decode_split(
    generator: CaptionGenerator, method: str, weights: tuple[Arrays, Arrays], batches: Iterable[Batch],
    to_row: Callable, *, languages: Sequence[str], to_device: Callable[[Batch], Mapping[str, Any]], seed: int,
) -> list[DecodedRow]:  # fmt: skip
    """Decodes every record in each language that it has references in; the encoder runs once per batch.

    Args:
      generator: decodes the batches.
      method: name of the generator's method, `captions` or `events`.
      weights: parameters and batch statistics.
      batches: see `evaluate`.
      to_row: from a batch, an index into its lists, a language and a result to (record, result), both JSON values.
      languages: the languages to write.
      to_device: see `evaluate`.
      seed: seed of sampling.

    Returns:
      The rows of all processes, in the order of the split and of the languages.
    """
    rows = []
    for number, batch in enumerate(batches):
        inputs = to_device(batch)
        if len(languages) > 1:
            inputs = generator.encode(*weights, inputs)
        for index, lang in enumerate(languages):
            annotated = [i for i, valid in enumerate(batch["valid"]) if valid and batch["references"][i].get(lang)]
            if not annotated and jax.process_count() == 1:  # rows of other processes may have references
                continue
            key = jax.random.fold_in(jax.random.key(seed), number * len(languages) + index)
            results = getattr(generator, method)(*weights, inputs, lang, key=key)
            for i in annotated:
                row = int(batch["rows"][i])
                rows.append((number, row, lang, *to_row(batch, i, lang, results[row])))
    return sorted((DecodedRow(*row) for row in itertools.chain(*allgather_objects(rows))), key=lambda row: row[:2])


def evaluate(
    generator: CaptionGenerator, params, batch_stats, batches: Iterable[Batch], *, languages: Sequence[str],
    to_device: Callable[[Batch], Mapping[str, Any]], metrics: Sequence[str] = DEFAULT_FAMILIES, seed: int = 0,
    attribute_shares: AttributeShares | None = None,
) -> Evaluation:  # fmt: skip
    """Captions every record of `batches` in each of the languages it has references in, and scores the captions.

    Each of several processes decodes its own rows of the batches; all return the evaluation of all rows.

    Args:
      generator: decodes the batches.
      params: parameters of the model.
      batch_stats: batch statistics of the model.
      batches: from the pipeline's evaluation iterator, with `ids`, `rows`, `references` and `valid`.
      languages: the languages to write.
      to_device: from a batch on the host to the model's inputs on the device.
      metrics: names of capjax.metrics.names.FAMILIES.
      seed: seed of sampling.
      attribute_shares: constraint on the captions of each language, chosen among the generator's hypotheses.

    Raises:
      ValueError: no record has references in one of the languages.
    """

    def to_row(batch, i, lang, caption):
        candidates = [(own.text, own.score) for own in (caption, *caption.alternatives)]
        return (batch["ids"][i], batch["references"][i][lang]), candidates

    candidates: dict[str, dict[str, list[tuple[str, float]]]] = {lang: {} for lang in languages}
    references: dict[str, dict[str, list[str]]] = {lang: {} for lang in languages}
    for row in decode_split(
        generator, "captions", (params, batch_stats), batches, to_row, languages=languages, to_device=to_device,
        seed=seed,
    ):  # fmt: skip
        id, texts = row.record
        candidates[row.lang][id], references[row.lang][id] = row.result, texts
    if empty := [lang for lang in languages if not candidates[lang]]:
        raise ValueError(f"the evaluation split has no captions in {', '.join(empty)}; see config.data.languages")
    predictions = {lang: _choose(candidates[lang], lang, attribute_shares) for lang in languages}
    results = {lang: score(predictions[lang], references[lang], lang=lang, metrics=metrics) for lang in languages}
    return Evaluation.of(predictions, references, results)


def _choose(
    candidates: Mapping[str, Sequence[tuple[str, float]]], lang: str, attribute_shares: AttributeShares | None
) -> dict[str, str]:
    """Returns the caption of each record: its best candidate, which comes first, unless a constraint chooses."""
    best = attribute_shares.choose([*candidates.values()], lang) if attribute_shares else [0] * len(candidates)
    return {id: own[number][0] for (id, own), number in zip(candidates.items(), best, strict=True)}
