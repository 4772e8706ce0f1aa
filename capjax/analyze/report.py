"""Writes an analysis: one HTML page, and its tables as CSV and JSON."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from capjax.analyze.analysis import Analysis, Id
from capjax.analyze.findings import KINDS, Finding
from capjax.analyze.labels import SHOWN
from capjax.analyze.tables import Table, tables
from capjax.files import make_folder, remove_tree, write_text
from capjax.metrics.writing import write_errors_named
from capjax.pages.rendering import data_uri, render

_MARKER = "summary.json"
# Items in the gallery of a kind, and photos in the whole page.
_MAX_GALLERY, _MAX_PHOTOS = 12, 400


def check_folder(folder: Path):
    """Checks that a report can be written into a folder: a new or empty one, or one with an earlier report.

    Raises:
      ValueError: the folder has other files.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / _MARKER).is_file()):
        raise ValueError(f"--output {folder} exists and is no analysis; name a new folder")


def write_report(analysis: Analysis, folder: Path):
    """Writes index.html, summary.json and tables/ into a folder, which is complete once it has its name; an earlier
    report there is replaced.

    Raises:
      ValueError: see `check_folder`.
      OSError: the folder cannot be written.
    """
    check_folder(folder)
    make_folder(folder.absolute().parent)
    aside = folder.absolute().with_name(f".{folder.absolute().name}.{os.getpid()}.tmp")
    all_tables = list(tables(analysis))
    try:
        make_folder(aside / "tables")
        for table in all_tables:
            write_text(aside / "tables" / f"{table.name}.csv", table.csv())
            write_text(aside / "tables" / f"{table.name}.json", table.json())
        write_text(aside / "index.html", make_page(analysis, all_tables))
        write_text(aside / _MARKER, json.dumps(summarize(analysis), ensure_ascii=False, indent=1) + "\n")
        with write_errors_named(folder):
            if folder.exists():
                earlier = aside.with_suffix(".old")
                folder.rename(earlier)
                aside.rename(folder)
                shutil.rmtree(earlier, ignore_errors=True)
            else:
                aside.rename(folder)
    finally:
        remove_tree(aside)


def summarize(analysis: Analysis) -> dict:
    """Returns the figures of an analysis as JSON values."""

    def as_json(value) -> dict | None:
        return asdict(value) if value else None

    return {
        "predictions": str(analysis.inputs.predictions),
        "references": str(analysis.inputs.references),
        "items": len(analysis.findings),
        "objects_from": analysis.evidence,
        "detected": _detected(analysis),
        "frequencies": {kind: asdict(f) | {"share": f.share} for kind, f in analysis.frequencies.items()},
        "people": {kind: asdict(f) | {"share": f.share} for kind, f in analysis.people.items()},
        "comparison": {kind: asdict(compared) for kind, compared in analysis.comparison.items()},
        "bias": {data.name: [asdict(bias) for bias in data.biases] for data in analysis.data_bias},
        "amplification": as_json(analysis.amplification),
        "leakage": as_json(analysis.leakage),
        "other_amplification": as_json(analysis.other_amplification),
        "other_leakage": as_json(analysis.other_leakage),
        "amplification_comparison": as_json(analysis.compared_amplification),
        "leakage_comparison": as_json(analysis.compared_leakage),
        "near_duplicates": len(analysis.near_duplicates),
        "unreadable_media": analysis.media.unreadable if analysis.media else {},
        "notes": analysis.notes,
    }


def _detected(analysis: Analysis) -> dict | None:
    """Returns how many objects the detector found, and how sure it is of those that count as shown."""
    if not analysis.detected:
        return None
    scores = [item.score for own in analysis.detected.values() for item in own if item.score >= SHOWN]
    return {
        "items": len(analysis.detected), "shown_from_score": SHOWN, "objects": len(scores),
        "mean_score": sum(scores) / len(scores) if scores else None,
    }  # fmt: skip


def make_page(analysis: Analysis, all_tables: list[Table]) -> str:
    """Returns the HTML page of an analysis."""
    photos = _Photos(analysis)
    galleries = [
        (kind, analysis.frequencies[kind], list(_gallery(analysis, kind, photos)))
        for kind in KINDS
        if analysis.frequencies[kind].count
    ]
    matrices = [(matrix, list(matrix.table()), matrix.names[1]) for matrix in analysis.matrices]
    behind = {
        matrix.name: {
            f"{present}|{said}": [str(id) for id in ids]
            for present, _, cells in rows
            for said, _, _, ids in cells
            if ids and present != said
        }
        for matrix, rows, _ in matrices
    }
    ids = dict.fromkeys(id for cells in behind.values() for listed in cells.values() for id in listed)
    by_text = {str(id): id for id in analysis.captions}
    items = {text: _item(analysis, by_text[text], photos) for text in ids}
    return render(
        "analysis.html",
        scripts=["tables.js", "analysis.js"],
        title=f"Analysis of {analysis.inputs.predictions.name}",
        detected=_detected(analysis),
        analysis=analysis, tables=all_tables, galleries=galleries, matrices=matrices, behind=behind, items=items,
        unreadable=analysis.media.unreadable if analysis.media else {}, format_cell=_format,
        has_media=analysis.media is not None,
    )  # fmt: skip


class _Photos:
    """Thumbnails of items as data URIs, up to a number in all."""

    def __init__(self, analysis: Analysis):
        self._analysis = analysis
        self._uris: dict[Id, str] = {}

    def uri(self, id: Id) -> str:
        """Returns the photo of an item; empty if there is none, or the page has enough."""
        media = self._analysis.media
        if media is None:
            return ""
        if id not in self._uris and len(self._uris) < _MAX_PHOTOS:
            several = len(self._analysis.inputs.langs) > 1
            file_id = str(id).removesuffix(f" ({self._analysis.langs[id]})") if several else id
            jpeg = media.thumbnail(file_id)
            self._uris[id] = data_uri(jpeg) if jpeg else ""
        return self._uris.get(id, "")


def _item(analysis: Analysis, id: Id, photos: _Photos) -> dict:
    return {
        "id": str(id), "caption": analysis.captions[id], "references": analysis.references[id], "photo": photos.uri(id),
    }  # fmt: skip


def _gallery(analysis: Analysis, kind: str, photos: _Photos) -> Iterator[dict]:
    """Yields the items with the most errors among those with a kind of error."""
    ids = [id for id, own in analysis.findings.items() if any(f.kind == kind for f in own)]
    ids.sort(key=lambda id: -len(analysis.findings[id]))
    for id in ids[:_MAX_GALLERY]:
        own = [finding for finding in analysis.findings[id] if finding.kind == kind]
        boxes = [box for finding in own for box in finding.boxes]
        yield _item(analysis, id, photos) | {
            "findings": own, "boxes": boxes, "parts": list(_marked(analysis.captions[id], own)),
        }  # fmt: skip


def _marked(caption: str, findings: list[Finding]) -> Iterator[tuple[str, bool]]:
    """Yields the parts of a caption, each with whether it is wrong."""
    words = next((f.words for f in findings if f.words and f.words.lower() in caption.lower()), "")
    begin = caption.lower().find(words.lower()) if words else -1
    if begin < 0:
        yield caption, False
        return
    end = begin + len(words)
    yield from (
        (text, mark)
        for text, mark in ((caption[:begin], False), (caption[begin:end], True), (caption[end:], False))
        if text
    )


def _format(column: str, value: object) -> str:
    """Returns a value of a table as the page shows it."""
    if value is None:
        return ""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if column in ("p", "p corrected"):
        return "< 0.001" if value < 0.001 else f"{value:.3f}"
    if column in ("expected", "ratio"):
        return f"{value:,.1f}"
    if column == "correlation":
        return f"{value:.3f}"
    return f"{100 * value:.1f} %"
