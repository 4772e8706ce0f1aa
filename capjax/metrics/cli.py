"""Scores predicted captions against references.

    python -m capjax.metrics --predictions predictions.json --references captions_val2014.json
    python -m capjax.metrics --predictions submission.json --references val_1.json val_2.json

File formats: annotations and results of COCO and MSR-VTT, Karpathy's splits, JSON lines, {id: captions}. ActivityNet's
annotations and submissions are scored as dense captions. Nothing is downloaded, and only `--metrics spice` starts Java.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from capjax.metrics import files
from capjax.metrics.id_matching import match_ids
from capjax.metrics.idf import Idf
from capjax.metrics.languages import check_lang, is_english
from capjax.metrics.messages import command_line_options, describe_unforeseen, noting, shorten
from capjax.metrics.names import DEFAULT_FAMILIES, DENSE_FAMILIES, FAMILIES, TIOUS, check_families
from capjax.metrics.report_tables import caption_table, dense_table
from capjax.metrics.scoring import Scores, default_families, score
from capjax.metrics.strict_json import parse
from capjax.metrics.tokenize import tokenizer_for, tokenizer_name
from capjax.metrics.writing import replacing, standard_output_named

log = logging.getLogger("capjax.metrics")


def main(
    arguments: Sequence[str] | None = None, *, prog: str = "python -m capjax.metrics",
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
    prepare: Callable[[argparse.Namespace], None] | None = None,
) -> int:  # fmt: skip
    """Runs the command. Returns its exit status.

    0: done. 1: a metric that was asked for cannot be computed here; the others are printed. 2: the input is invalid,
    after a one-line message. 70: an unforeseen error.

    Args:
      add_arguments: adds options of the caller to the parser.
      prepare: called with the parsed options before anything is read.
    """
    parser = _parser(prog)
    if add_arguments:
        add_arguments(parser)
    options = parser.parse_args(arguments)
    name = prog.removeprefix("python -m ")
    processed = f"{options.predictions} and {shorten(options.references, show=str)}"
    try:
        with command_line_options(), noting(processed):
            if prepare:
                prepare(options)
            _check(options)
            dense = files.file_format(options.references[0]) in files.DENSE_FORMATS
            report = _dense(options) if dense else _captions(options)
        for warning in report.pop("warnings"):
            print(f"warning: {warning}", file=sys.stderr)
        with standard_output_named():
            if options.json:
                print(json.dumps(report, indent=1, ensure_ascii=False))
            else:
                print(dense_table(report, options.tious or TIOUS) if dense else caption_table(report))
    except (OSError, ValueError, ModuleNotFoundError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted; nothing was written", file=sys.stderr)
        return 130
    except Exception as error:
        log.debug("unforeseen error", exc_info=True)
        print(f"{name}: {describe_unforeseen(error)}", file=sys.stderr)
        return 70
    absent = _requested_but_absent(options, report)
    for metric, reason in absent.items():
        print(f"{name}: --metrics {metric}: {reason}", file=sys.stderr)
    return 1 if absent else 0


def _requested_but_absent(options, report: dict) -> dict[str, str]:
    """Returns {metric: reason} of the metrics that the user named and that could not be computed."""
    families = check_families(options.metrics) if options.metrics else ()
    names = {name for family in families for name in (family, *DENSE_FAMILIES.get(family, ()))}
    return {name: reason for name, reason in report["absent"].items() if name in names}


def _parser(prog: str) -> argparse.ArgumentParser:
    description = __doc__.replace("python -m capjax.metrics", prog)
    parser = argparse.ArgumentParser(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    inputs = parser.add_argument_group("input")
    inputs.add_argument("--predictions", required=True, metavar="FILE", help="captions to score")
    inputs.add_argument(
        "--references", required=True, nargs="+", metavar="FILE",
        help="reference captions; several files are the annotation sets of dense captions",
    )  # fmt: skip
    inputs.add_argument("--split", help="split of the references to score against, if the file names splits")
    inputs.add_argument(
        "--lang",
        default="en",
        help="language of the captions, a code of BCP 47 such as de or zh; decides the tokenizer (default: en)",
    )
    inputs.add_argument(
        "--missing", choices=("error", "zero", "drop"), default="error",
        help="items without a prediction, or with an empty one: error, score an empty caption, or leave them out "
        "(default: error)",
    )  # fmt: skip
    inputs.add_argument(
        "--extra", choices=("error", "ignore"), default="error", help="predictions of other items (default: error)"
    )
    scores = parser.add_argument_group("scores")
    scores.add_argument(
        "--metrics", type=lambda text: text.split(","), metavar="A,B",
        help=f"any of {','.join(FAMILIES)}, also by the names in the table, such as BLEU-4 (default: "
        f"{','.join(DEFAULT_FAMILIES)}, and meteor if it is installed)",
    )  # fmt: skip
    scores.add_argument(
        "--idf", metavar="FILE", help="document frequencies of CIDEr: a file of captions, or one that --save-idf wrote"
    )
    scores.add_argument("--save-idf", metavar="FILE", help="write the document frequencies that were used")
    scores.add_argument(
        "--tious", type=_thresholds, metavar="A,B",
        help=f"tIoU thresholds of dense captions (default: {','.join(map(str, TIOUS))})",
    )  # fmt: skip
    scores.add_argument(
        "--soda-sets", choices=("mean", "best", "merged"),
        help="how SODA combines several annotation sets of dense captions: the mean over the sets, as papers publish "
        "(default); for each video the best set; or the events of all sets as one, as its program does by default",
    )  # fmt: skip
    scores.add_argument(
        "--bootstrap", type=int, default=0, metavar="N",
        help="95 %% confidence intervals from N resamples of the items, such as 1000",
    )  # fmt: skip
    scores.add_argument(
        "--baseline", metavar="FILE", help="predictions of another system: report differences and their significance"
    )
    scores.add_argument("--seed", type=int, default=0, help="seed of the resampling (default: 0)")
    more = parser.add_argument_group("diversity and hallucination")
    more.add_argument(
        "--diversity",
        action="store_true",
        help="distinct n-grams, vocabulary, repetition and length of the predictions",
    )
    more.add_argument("--training", metavar="FILE", help="training captions: adds novel captions to --diversity")
    more.add_argument("--samples", metavar="FILE", help="several captions of each item: their Self-CIDEr and mBLEU")
    more.add_argument("--objects", metavar="FILE", help="object labels (COCO's instances_*.json): CHAIR")
    more.add_argument("--synonyms", metavar="FILE", help="names of each object for CHAIR: {category: [names]}")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print JSON with all digits and signatures")
    output.add_argument("--per-item", metavar="FILE", help="write the scores of each item as JSON lines")
    return parser


def _thresholds(text: str) -> list[float]:
    try:
        return [float(tiou) for tiou in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected numbers from 0 to 1, such as 0.3,0.5") from None


def _check(options):
    """Checks, before anything is read, the options that later steps use, and that the output files can be written."""
    check_lang(options.lang)
    if options.metrics:
        check_families(options.metrics)
    if options.bootstrap:
        from capjax.metrics.significance import MIN_SAMPLES

        if options.bootstrap < MIN_SAMPLES:
            raise ValueError(f"--bootstrap {options.bootstrap}: expected {MIN_SAMPLES} resamples or more")
    if options.seed < 0:
        raise ValueError(f"--seed {options.seed}: expected 0 or more")
    for name in ("per_item", "save_idf"):
        path = getattr(options, name)
        if path and (Path(path).is_dir() or not Path(path).absolute().parent.is_dir()):
            fault = "is a folder" if Path(path).is_dir() else "is in a folder that does not exist"
            raise ValueError(f"--{name.replace('_', '-')}: {path} {fault}; name a file to write")


def _families(options) -> tuple[str, ...]:
    return check_families(options.metrics) if options.metrics else default_families(options.lang)


def _idf(options, references) -> Idf | None:
    """Returns the document frequencies of --idf, or None for those of the references."""
    idf = None
    if options.idf:
        path = Path(options.idf)
        if path.suffix == ".json" and Idf.is_saved(parse(path)):
            idf = Idf.load(path)
        else:
            idf = _count_documents(options, files.read_references(path, lang=options.lang), path)
    if options.save_idf:
        (idf or _count_documents(options, references)).save(Path(options.save_idf))
    return idf


def _count_documents(options, references, path: Path | None = None) -> Idf:
    """Returns the document frequencies of the references in a file, by default those that are scored against."""
    name = (path or Path(options.references[0])).name
    return Idf.of(
        references.values(), tokenize=tokenizer_for(options.lang), tokenizer=tokenizer_name(options.lang),
        source=name.encode(errors="backslashreplace").decode(),  # a name that is not UTF-8 could not be printed
    )  # fmt: skip


def _captions(options) -> dict:
    """Returns the report on captions, one for each item."""
    if len(options.references) > 1:
        raise ValueError("several --references are for dense captions only; give one file with all captions")
    for name in ("tious", "soda_sets"):
        if getattr(options, name):
            flag = f"--{name.replace('_', '-')}"
            raise ValueError(f"{flag} is for dense captions only; {options.references[0]} has captions of single items")
    metrics = _families(options)
    all_references = files.read_references(options.references[0], lang=options.lang, split=options.split)

    def read_predictions(path) -> tuple[dict, dict, dict]:
        predictions = files.read_predictions(path, lang=options.lang)
        empty = [id for id, text in predictions.items() if not text.strip()]
        if empty and options.missing == "error":
            raise ValueError(
                f"{path}: empty captions of {shorten(empty)}; --missing zero scores them, --missing drop omits them"
            )
        if options.missing == "drop":
            predictions = {id: text for id, text in predictions.items() if text.strip()}
        return match_ids(predictions, all_references, missing=options.missing, extra=options.extra)

    predictions, references, counts = read_predictions(options.predictions)
    idf = _idf(options, references)
    scores = score(predictions, references, lang=options.lang, metrics=metrics, idf=idf)
    report = _report(scores, counts)
    if counts["missing"]:
        report["warnings"].append(f"{counts['missing']} items have no prediction")
    if counts["extra"]:
        report["warnings"].append(f"{counts['extra']} predictions of other items were left out")
    if options.baseline:
        baseline_predictions, baseline_references, _ = read_predictions(options.baseline)
        if list(baseline_references) != list(references):
            raise ValueError(f"{options.baseline} has predictions for other items than {options.predictions}")
        baseline = score(baseline_predictions, references, lang=options.lang, metrics=metrics, idf=idf)
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


def _report(scores, counts: dict) -> dict:
    """Returns what the reports on captions and on dense captions share."""
    return {
        "scores": scores.corpus, "absent": scores.absent, "signatures": scores.signatures, "counts": counts,
        "warnings": list(scores.warnings),
    }  # fmt: skip


def _resampled(scores: Scores) -> dict:
    """Returns {metric: (statistics, aggregate)} of the metrics that can be resampled."""
    return {
        name: (measure.statistics, measure.aggregate)
        for name, measure in scores.measures.items()
        if measure.statistics is not None
    }


def _intervals(scores: Scores, options) -> dict[str, dict]:
    from capjax.metrics.significance import confidences

    intervals = confidences(_resampled(scores), samples=options.bootstrap, seed=options.seed)
    return {name: asdict(interval) for name, interval in intervals.items()}


def _compare(scores: Scores, baseline: Scores, options) -> dict[str, dict]:
    from capjax.metrics.significance import comparisons

    samples = options.bootstrap or 1000
    compared = comparisons(_resampled(scores), _resampled(baseline), samples=samples, seed=options.seed)
    return {name: asdict(comparison) for name, comparison in compared.items()}


def _diversity(options, predictions, references) -> dict[str, float]:
    from capjax.metrics.diversity import diversity, mbleu, self_cider

    tokenize = tokenizer_for(options.lang)

    def words(groups) -> list[list[list[str]]]:
        return [[tokenize(text) for text in texts] for texts in groups]

    training = None
    if options.training:
        groups = words(files.read_references(options.training, lang=options.lang).values())
        training = [caption for group in groups for caption in group]
    captions = [tokenize(text) for text in predictions.values()]
    figures = diversity(captions, references=words(references.values()), training=training)
    if options.samples:
        sets = words(files.read_prediction_sets(options.samples, lang=options.lang).values())
        idf = _idf(options, references) or _count_documents(options, references)
        figures["Self-CIDEr"] = float(self_cider(sets, idf).mean())
        figures |= {f"mBLEU-{n}": float(value) for n, value in enumerate(mbleu(sets), 1)}
    return figures


def _chair(options, predictions, references) -> dict[str, float]:
    from capjax.metrics.chair import Lexicon, chair, read_labels, read_names

    if not is_english(options.lang):
        raise ValueError(f"CHAIR finds objects by their English names; --lang is {options.lang}")
    lexicon = Lexicon(read_names(options.synonyms) if options.synonyms else None)
    labels = {id: list(categories) for id, categories in read_labels(options.objects).items()}
    # Labels of images that are not scored are ignored; `chair` raises ValueError for an image without labels.
    matched, _, _ = match_ids(labels, references, missing="drop", extra="ignore")
    hallucination = chair(predictions, matched, references, lexicon=lexicon)
    return {"CHAIRi": hallucination.instance, "CHAIRs": hallucination.sentence}


def _dense(options) -> dict:
    """Returns the report on dense captions: events in time, each with its sentence."""
    from capjax.metrics.activitynet import read_annotations, read_submission
    from capjax.metrics.dense import score_dense

    for name in ("split", "idf", "save_idf", "bootstrap", "baseline", "diversity", "training", "samples", "objects"):
        if getattr(options, name):
            raise ValueError(f"--{name.replace('_', '-')} does not apply to dense captions")
    scores = score_dense(
        read_submission(options.predictions, empty_sentences=options.missing == "zero"),
        [read_annotations(path) for path in options.references],
        tious=options.tious or TIOUS, metrics=_families(options), lang=options.lang, missing=options.missing,
        extra=options.extra, soda_sets=options.soda_sets or "mean",
    )  # fmt: skip
    if options.per_item:
        _write_lines(Path(options.per_item), scores.rows())
    return _report(scores, scores.counts)


def _write_items(path: Path, scores: Scores, predictions):
    rows = (
        {"id": id, "prediction": predictions[id], **{name: float(items[row]) for name, items in scores.items.items()}}
        for row, id in enumerate(scores.ids)
    )
    _write_lines(path, rows)


def _write_lines(path: Path, rows: Iterable[dict]):
    """Writes JSON lines, atomically."""
    with replacing(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
