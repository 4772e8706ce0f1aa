"""Scores of a file of predictions against a file of references.

    python -m capjax.metrics --predictions predictions.json --references captions_val2014.json
    python -m capjax.metrics --predictions submission.json --references val_1.json val_2.json

Files: COCO's and MSR-VTT's annotations and results, Karpathy's, JSON lines, {id: captions}; ActivityNet's annotations
and submissions are scored as dense captions. Nothing is fetched, and no Java is started (but for `--metrics spice`).
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from capjax.metrics import files
from capjax.metrics.idf import Idf
from capjax.metrics.messages import shorten
from capjax.metrics.names import DEFAULT_FAMILIES, FAMILIES, check_families
from capjax.metrics.scoring import Scores, default_families, score
from capjax.metrics.strict_json import parse
from capjax.metrics.tokenize import is_english, tokenizer_for, tokenizer_name
from capjax.metrics.writing import replacing

_DENSE = ("activitynet", "activitynet_submission")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0, or 2 where the input does not fit, with a message of one line."""
    options = _parser().parse_args(arguments)
    try:
        _check_outputs(options)
        dense = files.kind_of(options.references[0]) in _DENSE
        report = _dense(options) if dense else _captions(options)
    except (OSError, ValueError, ModuleNotFoundError) as error:
        print(f"capjax.metrics: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("capjax.metrics: interrupted; nothing was written", file=sys.stderr)
        return 130
    for warning in report.pop("warnings"):
        print(f"warning: {warning}", file=sys.stderr)
    if options.json:
        print(json.dumps(report, indent=1, ensure_ascii=False))
    else:
        print(_dense_table(report, options.tious) if dense else _table(report))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m capjax.metrics", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--predictions", required=True, metavar="FILE", help="captions to score")
    add("--references", required=True, nargs="+", metavar="FILE",
        help="captions to score against; several files are annotation sets of dense captions")  # fmt: skip
    add("--metrics", type=lambda text: text.split(","), metavar="A,B",
        help=f"of {', '.join(FAMILIES)} (default: {','.join(DEFAULT_FAMILIES)} and, if installed, meteor)")  # fmt: skip
    add(
        "--lang",
        default="en",
        help="language of the captions, such as de or zh; it decides the tokenizer (default: en)",
    )
    add("--split", help="of the references, where the file names splits")
    add("--missing", choices=("error", "zero", "drop"), default="error",
        help="no prediction of an item, or an empty one: error, score it as empty, or leave it out")  # fmt: skip
    add("--extra", choices=("error", "ignore"), default="error", help="predictions of unknown items (default: error)")
    add("--idf", metavar="FILE", help="CIDEr's document frequencies: captions in any form, or a file of --save-idf")
    add("--save-idf", metavar="FILE", help="write the document frequencies that were used")
    add("--per-item", metavar="FILE", help="write each item's scores as JSON lines")
    add("--json", action="store_true", help="print JSON with all digits and signatures")
    add("--bootstrap", type=int, default=0, metavar="N", help="95 %% intervals from N resamples of the items, say 1000")
    add("--baseline", metavar="FILE", help="predictions of another system: differences, with their significance")
    add("--seed", type=int, default=0, help="of the resampling (default: 0)")
    add("--diversity", action="store_true", help="how different, long, new and repetitive the predictions are")
    add("--samples", metavar="FILE", help="several captions of each item by one system: Self-CIDEr and mBLEU of them")
    add("--training", metavar="FILE", help="training captions, for --diversity's novelty and use of vocabulary")
    add("--objects", metavar="FILE", help="object labels (COCO's instances_*.json): CHAIR, hallucinated objects")
    add("--synonyms", metavar="FILE", help="words of each object, for CHAIR: {category: [phrases]}")
    add("--tious", type=lambda text: [float(t) for t in text.split(",")], metavar="A,B",
        default=[0.3, 0.5, 0.7, 0.9], help="thresholds of dense captions (default: 0.3,0.5,0.7,0.9)")  # fmt: skip
    return parser


def _check_outputs(options):
    """Before the work, whether what it finds can be written."""
    for name in ("per_item", "save_idf"):
        path = getattr(options, name)
        if path and (Path(path).is_dir() or not Path(path).absolute().parent.is_dir()):
            why = "is a folder" if Path(path).is_dir() else "lies in no folder that there is"
            raise ValueError(f"--{name.replace('_', '-')}: {path} {why}; name a file to write")


def _chosen(options) -> tuple[str, ...]:
    return check_families(options.metrics) if options.metrics else default_families(options.lang)


def _idf(options, references) -> Idf | None:
    """The document frequencies that were asked for; None for those of the references."""
    idf = None
    if options.idf:
        path = Path(options.idf)
        if path.suffix == ".json" and Idf.is_saved(parse(path)):
            idf = Idf.load(path)
        else:
            idf = _counted(options, files.read_references(path, lang=options.lang), source=path.name)
    if options.save_idf:
        (idf or _counted(options, references)).save(Path(options.save_idf))
    return idf


def _counted(options, references, source: str | None = None) -> Idf:
    """The document frequencies of references."""
    return Idf.of(
        references.values(), tokenize=tokenizer_for(options.lang), tokenizer=tokenizer_name(options.lang),
        source=source or Path(options.references[0]).name,
    )  # fmt: skip


def _captions(options) -> dict:
    """The report on captions of single images or clips."""
    if len(options.references) > 1:
        raise ValueError("several files of references are for dense captions; give one file with all captions")
    metrics = _chosen(options)
    everything = files.read_references(options.references[0], lang=options.lang, split=options.split)

    def scored(path) -> tuple[dict, dict, dict]:
        found = files.read_predictions(path, lang=options.lang)
        empty = [id for id, text in found.items() if not text.strip()]
        if empty and options.missing == "error":
            raise ValueError(
                f"{path}: empty captions of {shorten(empty)}; --missing zero scores them, --missing drop omits them"
            )
        if options.missing == "drop":
            found = {id: text for id, text in found.items() if text.strip()}
        return files.align(found, everything, missing=options.missing, extra=options.extra)

    predictions, references, counts = scored(options.predictions)
    idf = _idf(options, references)
    scores = score(predictions, references, lang=options.lang, metrics=metrics, idf=idf)
    report = {
        "scores": scores.corpus,
        "absent": scores.absent,
        "signatures": scores.signatures,
        "counts": counts,
        "warnings": list(scores.warnings),
    }
    _count_warnings(report, counts)
    if options.baseline:
        others, same, _ = scored(options.baseline)
        if list(same) != list(references):
            raise ValueError(f"{options.baseline} has predictions for other items than {options.predictions}")
        baseline = score(others, references, lang=options.lang, metrics=metrics, idf=idf)
        report["baseline"] = baseline.corpus
        report["comparison"] = _compare(scores, baseline, options)
    if options.bootstrap:
        report["intervals"] = _intervals(scores, options)
    if options.diversity or options.training or options.samples:
        report["diversity"] = _diversity(options, predictions, references)
    if options.objects:
        report["CHAIR"] = _chair(options, predictions, references)
    if options.per_item:
        _write_items(Path(options.per_item), scores, predictions)
    return report


def _count_warnings(report: dict, counts: dict):
    """What was not as it should be and was let pass, told in words."""
    if counts["missing"]:
        report["warnings"].append(f"{counts['missing']} items have no prediction")
    if counts["extra"]:
        report["warnings"].append(f"{counts['extra']} predictions of other items were left out")


def _resampled(scores: Scores) -> dict:
    """{metric: (statistics, aggregate)} of the measures that can be resampled."""
    return {
        name: (measure.statistics, measure.aggregate)
        for name, measure in scores.measures.items()
        if measure.statistics is not None
    }


def _intervals(scores: Scores, options) -> dict[str, dict]:
    from capjax.metrics.significance import confidences

    found = confidences(_resampled(scores), samples=options.bootstrap, seed=options.seed)
    return {name: {"low": interval.low, "high": interval.high} for name, interval in found.items()}


def _compare(scores: Scores, baseline: Scores, options) -> dict[str, dict]:
    from capjax.metrics.significance import comparisons

    samples = options.bootstrap or 1000
    found = comparisons(_resampled(scores), _resampled(baseline), samples=samples, seed=options.seed)
    return {
        name: {"difference": c.difference, "low": c.low, "high": c.high, "p_value": c.p_value}
        for name, c in found.items()
    }


def _diversity(options, predictions, references) -> dict[str, float]:
    from capjax.metrics.diversity import diversity, mbleu, self_cider

    tokenize = tokenizer_for(options.lang)

    def words(groups) -> list[list[list[str]]]:
        return [[tokenize(text) for text in texts] for texts in groups]

    training = None
    if options.training:
        groups = words(files.read_references(options.training, lang=options.lang).values())
        training = [caption for group in groups for caption in group]
    found = diversity([tokenize(text) for text in predictions.values()], references=words(references.values()),
                      training=training)  # fmt: skip
    if options.samples:
        sets = words(files.read_prediction_sets(options.samples, lang=options.lang).values())
        idf = _idf(options, references) or _counted(options, references)
        found["Self-CIDEr"] = float(self_cider(sets, idf).mean())
        found |= {f"mBLEU-{n}": float(value) for n, value in enumerate(mbleu(sets), 1)}
    return found


def _chair(options, predictions, references) -> dict[str, float]:
    from capjax.metrics.chair import Lexicon, chair, read_labels, read_names

    if not is_english(options.lang):
        raise ValueError(f"CHAIR finds objects by their English names; --lang is {options.lang}")
    lexicon = Lexicon(read_names(options.synonyms) if options.synonyms else None)
    labels = {id: list(found) for id, found in read_labels(options.objects).items()}
    # Labels of images that are not scored are left alone; an image without labels is an error of `chair`.
    labels, _, _ = files.align(labels, references, missing="drop", extra="ignore")
    found = chair(predictions, labels, references, lexicon=lexicon)
    return {"CHAIRi": found.instance, "CHAIRs": found.sentence}


def _dense(options) -> dict:
    """The report on dense captions: events in time, each with its sentence."""
    from capjax.metrics.activitynet import read_annotations, read_submission
    from capjax.metrics.dense import score_dense

    for name in ("split", "idf", "save_idf", "bootstrap", "baseline", "diversity", "training", "samples", "objects"):
        if getattr(options, name):
            raise ValueError(f"--{name.replace('_', '-')} is not for dense captions")
    scores = score_dense(
        read_submission(options.predictions, empty_sentences=options.missing == "zero"),
        [read_annotations(path) for path in options.references],
        tious=options.tious, metrics=_chosen(options), lang=options.lang, missing=options.missing, extra=options.extra,
    )  # fmt: skip
    if options.per_item:
        _write_lines(Path(options.per_item), scores.rows())
    return {
        "scores": scores.corpus, "absent": scores.absent, "signatures": scores.signatures, "counts": scores.counts,
        "warnings": scores.warnings,
    }  # fmt: skip


def _write_items(path: Path, scores: Scores, predictions):
    rows = (
        {"id": id, "prediction": predictions[id], **{name: float(items[row]) for name, items in scores.items.items()}}
        for row, id in enumerate(scores.ids)
    )
    _write_lines(path, rows)


def _write_lines(path: Path, rows: Iterable[dict]):
    """A line of JSON for each; written aside, then renamed."""
    with replacing(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _table(report: dict) -> str:
    """The report as text: a line a metric, then what it was made of."""
    intervals, baseline = report.get("intervals", {}), report.get("baseline", {})
    head = ["metric", "score"]
    head += ["95 % interval"] if intervals else []
    head += ["baseline", "difference", "p"] if baseline else []
    rows = []
    for name, value in report["scores"].items():
        row = [name, f"{value:.4f}"]
        if intervals:
            row.append("{low:.4f} - {high:.4f}".format(**intervals[name]) if name in intervals else "")
        if baseline:
            compared = report["comparison"].get(name)
            row.append(f"{baseline[name]:.4f}")
            row += [f"{compared['difference']:+.4f}", f"{compared['p_value']:.4f}"] if compared else ["", ""]
        rows.append(row)
    rows += [[name, "absent: " + why] for name, why in report["absent"].items()]
    text = _columns([head, *rows])
    for title in ("diversity", "CHAIR"):
        if title in report:
            text += f"\n\n{title}\n" + _columns([[name, f"{v:.4f}"] for name, v in report[title].items()])
    return text + "\n\n" + "\n".join(report["signatures"].values())


def _columns(rows: list[list[str]]) -> str:
    """Rows with columns in line: names to the left, figures to the right."""
    figures = [row for row in rows if not row[-1].startswith("absent: ")]
    widths = [max(len(row[i]) for row in figures if i < len(row)) for i in range(max(map(len, rows)))]
    widths[0] = max(len(row[0]) for row in rows)
    lines = []
    for row in rows:
        cells = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _dense_table(report: dict, tious: Sequence[float]) -> str:
    """Figures at thresholds side by side, then those that have none."""
    scores, levels = report["scores"], [f"{tiou:g}" for tiou in tious]
    at = [name for name in scores if f"{name}@{levels[0]}" in scores]
    rows = [["tIoU", *levels, "mean"]]
    rows += [[name, *(f"{scores[f'{name}@{level}']:.4f}" for level in levels), f"{scores[name]:.4f}"] for name in at]
    rest = [[name, f"{value:.4f}"] for name, value in scores.items() if name not in at and "@" not in name]
    rest += [[name, "absent: " + why] for name, why in report["absent"].items()]
    return "\n\n".join([_columns(rows), _columns(rest), *report["signatures"].values()])
