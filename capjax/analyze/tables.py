"""The tables of an analysis, as rows that are shown, and written as CSV and JSON."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from capjax.analyze.analysis import Analysis
from capjax.analyze.dataset_bias import holm
from capjax.analyze.findings import KINDS
from capjax.analyze.frequencies import Frequency
from capjax.metrics.significance import Comparison

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
      name: of its files, without suffix.
      title: heading.
      columns, rows: shares are from 0 to 1.
      note: what a reader must know.
      shown: whether the page shows it; else it is only for download.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    note: str = ""
    shown: bool = True

    def csv(self) -> str:
        """Returns the table as CSV (RFC 4180)."""
        file = io.StringIO()
        writer = csv.writer(file)
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return file.getvalue()

    def json(self) -> str:
        """Returns the table as a list of JSON objects."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return json.dumps(rows, ensure_ascii=False, indent=1) + "\n"


def tables(analysis: Analysis) -> Iterator[Table]:
    """Yields the tables of an analysis."""
    yield _frequencies(analysis)
    if analysis.comparison:
        yield _comparison(analysis)
    for name, slices in analysis.slices.items():
        rows = [(part, *_frequency(kinds[kind], kind)) for part, kinds in slices.items() for kind in KINDS]
        columns = (name, "kind", "captions", "of", "share", "low", "high")
        yield Table(f"slices_{name.replace(' ', '_')}", f"By {name}", columns, rows)
    yield _findings(analysis)
    for matrix in analysis.matrices:
        cells: list[tuple[Cell, ...]] = [
            (present, said, count, share)
            for present, _, cells_of_row in matrix.table()
            for said, count, share, _ in cells_of_row
            if count
        ]
        title = f"Confusion of {matrix.name}"
        yield Table(
            f"confusion_{matrix.name}", title, ("present", "said", "captions", "share"), cells, shown=False
        )  # fmt: skip
    if analysis.detected:
        objects: list[tuple[Cell, ...]] = [
            (str(id), item.category, item.score, *(item.box or (None,) * 4))
            for id, own in analysis.detected.items()
            for item in own
        ]
        names = ("id", "category", "score", "x0", "y0", "x1", "y1")
        yield Table("objects", "Detected objects", names, objects, shown=False)
    yield from _biases(analysis)
    if analysis.near_duplicates:
        pairs: list[tuple[Cell, ...]] = [
            (pair.first[0], str(pair.first[1]), pair.second[0], str(pair.second[1]), pair.correlation)
            for pair in analysis.near_duplicates
        ]
        heads = ("split", "photo", "other split", "other photo", "correlation")
        yield Table("near_duplicates", "Near-duplicates across splits", heads, pairs)


def _frequency(frequency: Frequency, kind: str) -> tuple[Cell, ...]:
    return kind, frequency.count, frequency.items, frequency.share, frequency.low, frequency.high


def _frequencies(analysis: Analysis) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for kind, frequency in analysis.frequencies.items():
        people = analysis.people.get(kind)
        rows.append((*_frequency(frequency, kind), people.share if people else None))
    note = (
        "low and high: 95 % confidence interval (Wilson). people: the share of references in which the same is found "
        "when each is compared with the others of its picture, and so the share of false alarms to expect."
    )
    columns = ("kind", "captions", "of", "share", "low", "high", "people")
    return Table("frequencies", "How often", columns, rows, note)


def _comparison(analysis: Analysis) -> Table:
    kinds = list(analysis.comparison)
    corrected = holm(np.array([analysis.comparison[kind].p_value for kind in kinds]))
    rows: list[tuple[Cell, ...]] = []
    for kind, p_value in zip(kinds, corrected, strict=True):
        compared, own = analysis.comparison[kind], analysis.frequencies[kind]
        rows.append(
            (kind, own.share, own.share - compared.difference, compared.difference, compared.low, compared.high,
             compared.p_value, float(p_value))
        )  # fmt: skip
    columns = ("kind", "share", "other's share", "difference", "low", "high", "p", "p corrected")
    note = (
        "low and high: 95 % confidence interval of the difference. p: approximate randomization, paired by item; "
        "corrected by Holm's method for the ten kinds."
    )
    return Table("comparison", f"Compared with {analysis.inputs.compare}", columns, rows, note)


def _findings(analysis: Analysis) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            str(id), analysis.langs[id], analysis.captions[id], f.kind, f.words, f.said, f.expected, f.source, f.reason,
            json.dumps(f.boxes) if f.boxes else "",
        )
        for id, own in analysis.findings.items()
        for f in own
    ]  # fmt: skip
    columns = ("id", "lang", "caption", "kind", "words", "said", "expected", "source", "reason", "boxes")
    return Table("findings", "All errors", columns, rows, shown=False)


def _biases(analysis: Analysis) -> Iterator[Table]:
    for number, data in enumerate(analysis.data_bias):
        rows: list[tuple[Cell, ...]] = [
            (bias.kind, bias.name, bias.items, bias.expected, bias.ratio, bias.p_value) for bias in data.biases
        ]
        suffix = "training" if number else "references"
        columns = ("kind", "what", "items", "expected", "ratio", "p")
        note = (
            "over-represented: ratio to the median of its kind. together, apart: odds ratio of two terms; what follows "
            "from stronger associations is left out. p is corrected for all tests by Holm's method."
        )
        title = f"Bias in the {data.name}: {data.items:,} items"
        yield Table(f"bias_{suffix}", title, columns, rows, note)
        if len(data.languages) > 1:
            languages: list[tuple[Cell, ...]] = [(lang, count) for lang, count in data.languages.items()]
            yield Table(f"languages_{suffix}", f"Languages of the {data.name}", ("language", "captions"), languages)
    if analysis.amplification and analysis.amplification.terms:
        terms: list[tuple[Cell, ...]] = [
            (f"{term[1]} ({term[0]})", goes_with, data, said, said - data, count)
            for term, goes_with, data, said, count in analysis.amplification.terms
        ]
        columns = ("what", "gender in the data", "share in the data", "share said", "amplification", "captions")
        yield Table("amplification", "Gender by object and action", columns, terms)
    yield from _bias_comparison(analysis)


def _bias_comparison(analysis: Analysis) -> Iterator[Table]:
    amplification, leakage = analysis.other_amplification, analysis.other_leakage
    rows: list[tuple[Cell, ...]] = []
    if (compared := analysis.compared_amplification) and analysis.amplification and amplification:
        rows.append(("amplification", analysis.amplification.value, amplification.value, *_difference(compared)))
    if (compared := analysis.compared_leakage) and analysis.leakage and leakage:
        own, other = analysis.leakage.lic, leakage.lic
        assert own and other  # a comparison has both
        rows.append(("leakage (LIC)", own.difference, other.difference, *_difference(compared)))
    if rows:
        columns = ("measure", "value", "other's value", "difference", "low", "high", "p")
        note = (
            "low and high: 95 % confidence interval of the difference. p: approximate randomization, paired by item. A "
            "mitigation that lowers amplification can raise leakage: compare both."
        )
        yield Table("bias_comparison", f"Bias compared with {analysis.inputs.compare}", columns, rows, note)


def _difference(compared: Comparison) -> tuple[Cell, ...]:
    return compared.difference, compared.low, compared.high, compared.p_value
