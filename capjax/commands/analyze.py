"""`capjax analyze`: errors and bias of predicted captions, in one page."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    options = _parser().parse_args(argv)
    from capjax.metrics.messages import command_line_options

    with command_line_options():
        return _run(options)


def _parser() -> argparse.ArgumentParser:
    description = (
        "Analyzes predicted captions: errors of ten kinds with their evidence, confusion matrices, bias of the data "
        "and of the model. Writes one HTML page, and its tables as CSV and JSON."
    )
    parser = argparse.ArgumentParser(prog="capjax analyze", description=description)
    add = parser.add_argument
    add("predictions", type=Path, metavar="PREDICTIONS", help="file of captions, in any format of `capjax score`")
    add("--references", type=Path, required=True, metavar="FILE", help="file of captions by people")
    add("--output", type=Path, required=True, metavar="DIR", help="folder to write; an earlier analysis is replaced")
    add("--split", help="split of the references, if the file names splits")
    add("--lang", default="en", metavar="A,B", help="languages of the captions, codes of BCP 47; what captions say is "
        "analyzed in English, their form in every language (default: en)")  # fmt: skip
    add("--objects", type=Path, metavar="FILE", help="objects in the photos: COCO's instances_*.json, or {id: "
        "[categories]} (default: what the references agree on)")  # fmt: skip
    add("--detect", action="store_true", help="find the objects in the photos or videos of --media with a detector, "
        "where there are no labels; needs JAX, and weights from `capjax import`")  # fmt: skip
    add("--detector", type=Path, metavar="FILE", help="weights of the detector (default: the file that `capjax import` "
        "writes)")  # fmt: skip
    add("--media", type=Path, metavar="DIR", help="folder with the photos or videos, named as the ids")
    add("--training", type=Path, metavar="PATH", help="dataset, or file of captions, that the model was trained on")
    add("--compare", type=Path, metavar="FILE", help="predictions of another system: significance of the differences")
    add("--missing", choices=("error", "drop"), default="error", help="references without a prediction: error, or "
        "leave them out (default: error)")  # fmt: skip
    add("--extra", choices=("error", "ignore"), default="error", help="predictions of other items (default: error)")
    add("--seed", type=int, default=0, help="seed of resampling (default: 0)")
    return parser


def _run(options: argparse.Namespace) -> int:
    from capjax.pages import rendering  # noqa: F401 (first: where Jinja2 is missing, so is the extra `analyze`)
    from capjax.analyze.analysis import Inputs, analyze  # isort: skip
    from capjax.analyze.report import check_folder, write_report
    from capjax.files import check_output, local_path

    logging.basicConfig(level=logging.WARNING, format="capjax analyze: %(message)s")
    detector = _detector(options)
    optional = ("objects", "media", "training", "compare")
    paths = {name: local_path(value) for name in optional if (value := getattr(options, name))}
    inputs = Inputs(
        local_path(options.predictions), local_path(options.references), **paths, detector=detector,
        langs=tuple(code.strip() for code in options.lang.split(",")), split=options.split, missing=options.missing,
        extra=options.extra, seed=_seed(options.seed),
    )  # fmt: skip
    output = local_path(options.output)
    check_folder(output)
    check_output(output)
    analysis = analyze(inputs)
    write_report(analysis, output)
    for note in analysis.notes:
        print(f"capjax analyze: {note}", file=sys.stderr)
    for kind, frequency in analysis.frequencies.items():
        print(f"{kind:<20}  {frequency.count:6}  {frequency.share:6.1%}  ({frequency.low:.1%} to {frequency.high:.1%})")
    print(f"open {(output / 'index.html').resolve().as_uri()}")
    return 0


def _detector(options: argparse.Namespace) -> Path | None:
    """Returns the weights of the detector, or None where there is to be none. Sets up JAX, which it needs.

    Raises:
      ValueError: options do not go together.
    """
    if not options.detect:
        if options.detector:
            raise ValueError("--detector is for --detect; give both")
        return None
    if options.objects:
        raise ValueError("--objects and --detect: give one; labels of people are the better ones")
    if not options.media:
        raise ValueError("--detect needs the photos or videos; name their folder with --media DIR")
    from capjax import runtime

    runtime.start(logging.WARNING)
    from capjax.files import local_path
    from capjax.models.detector import default_weights

    return local_path(options.detector) if options.detector else default_weights()


def _seed(seed: int) -> int:
    if seed < 0:
        raise ValueError(f"--seed {seed}: expected 0 or more")
    return seed
