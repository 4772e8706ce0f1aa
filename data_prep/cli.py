"""Prepares datasets from media and annotations: `capjax prepare NAME --input DIR --output DIR`.

capjax prepare flickr8k --input downloads/flickr8k --output data/flickr8k
capjax prepare jsonl --input my_photos --output data/mine
capjax prepare NAME --help
"""

import argparse
import importlib
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from capjax import plugins
from capjax.beam_options import check_words
from capjax.cli import run_guarded
from capjax.files import local_path
from capjax.metrics.messages import describe_unforeseen, noting
from capjax.registry import nearest
from data_prep.arguments import checked, number
from data_prep.clips import CUTS, ClipSettings
from data_prep.readers import READERS
from data_prep.readers.files import current_location
from data_prep.readers.registry import add_arguments, module_of, read
from data_prep.readers.translations import Source, Translations

# Commands that are not readers: modules with add_arguments(parser) and run(args) -> exit status, imported when used.
_JOBS = {
    "vocabulary": "train a SentencePiece vocabulary on captions of datasets",
    "features": "add the features of a frozen encoder to a dataset",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status: 0, 1 (failed), 2 (wrong arguments) or 130 (stopped)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview())
        return 0 if argv else 2
    return _guarded(argv[0], lambda: _run(argv[0], argv[1:]))


def _run(name: str, words: list[str]) -> int:
    # Readers of plug-ins have arguments of their own. Options of Beam are not ours.
    plugins.import_argument(words[: words.index("--beam")] if "--beam" in words else words)
    if name in _JOBS:
        job = importlib.import_module(f"data_prep.{name}")
        parser = _parser(name, job.__doc__)
        job.add_arguments(parser)
        return job.run(parser.parse_args(words))
    if name not in READERS:
        hint = nearest(name, [*READERS.names(), *_JOBS])
        print(f"capjax prepare: unknown name {name!r}: {hint}", file=sys.stderr)
        return 2
    return _build(name, _parse(name, words))


def _overview() -> str:
    lines = [__doc__.strip(), "", "datasets:"]
    for name in READERS.names():
        summary = (module_of(name).__doc__ or "").strip().split("\n")[0].rstrip(".:")
        lines.append(f"  {name:<12} {summary}")
    lines += ["", "and then:", *(f"  {name:<12} {what}" for name, what in _JOBS.items())]
    return "\n".join(lines)


def _parser(name: str, description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"capjax prepare {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    plugins.add_argument(parser)
    return parser


def _parse(name: str, words: Sequence[str]) -> argparse.Namespace:
    """Parses the arguments of a reader and of the dataset that is written."""
    parser = _parser(name, module_of(name).__doc__)
    add_arguments(name, parser)
    add = parser.add_argument_group("the dataset that is written").add_argument
    add(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the dataset; it is written in DIR.partial until it is complete",
    )
    add("--overwrite", action="store_true", help="replace an existing dataset")
    add(
        "--short-side",
        type=number(int, 1),
        default=256,
        help="shorter side of stored photos and frames in pixels (default: 256); smaller ones are not enlarged",
    )
    add(
        "--quality",
        type=number(int, 1, 100),
        default=95,
        help="JPEG quality of photos and frames that are encoded again (default: 95)",
    )
    add(
        "--translations",
        type=checked(Source.parse),
        action="append",
        default=[],
        metavar="FILE[:LANG]",
        help="captions in a further language, joined by photo name; lines NAME.jpg#0<TAB>TEXT, NAME.jpg#de#0<TAB>TEXT "
        "or NAME.jpg#zhc#0 TEXT; may be given again",
    )
    add = parser.add_argument_group("videos").add_argument
    add("--fps", type=number(float, 0.01, 60), default=2.0, help="frames per second to keep (default: 2)")
    add(
        "--clips",
        choices=CUTS,
        default="whole",
        help="the unit of a record: the whole video (default), each event with its captions, overlapping windows, or "
        "each shot between two cuts",
    )
    add("--window", type=number(float, 0.1), default=60.0, metavar="SECONDS", help="length of a window (default: 60)")
    add("--overlap", type=number(float, 0), default=5.0, metavar="SECONDS", help="overlap of two windows (default: 5)")
    add("--max-frames", type=number(int, 1), default=1024, metavar="N",
        help="largest number of frames of a record (default: 1024); longer videos are split into windows")  # fmt: skip
    add = parser.add_argument_group("how it is written").add_argument
    add(
        "--workers",
        type=number(int, 1),
        help="number of processes (default: all cores); the result does not depend on it",
    )
    add(
        "--max-bad",
        type=number(float, 0, 1),
        default=0.01,
        metavar="SHARE",
        help="largest accepted share of bad photos or videos, and of bad captions (default: 0.01); missing videos are "
        "listed and do not count",
    )
    add("--strict", action="store_true", help="stop at the first bad input")
    add(
        "--keep-copies",
        action="store_true",
        help="keep photos and videos of val and test of which an exact copy is in another split; by default they are "
        "listed and dropped",
    )
    add("--stage", metavar="URL", help="with --beam: a folder that this machine and the workers reach, such as "
        "gs://BUCKET/FOLDER; media and shards travel through it, and workers need no other shared path")  # fmt: skip
    add(
        "--beam",
        nargs=argparse.REMAINDER,
        metavar="OPTION",
        help="write the dataset with Apache Beam. What follows are Beam's own options, such as --runner=FlinkRunner; "
        "without any, the cores of this machine are used. Without --stage, workers must see DIR and the media under "
        "the same paths",
    )
    args = parser.parse_args(words)
    if args.beam is not None and args.workers:
        parser.error("--workers cannot be combined with --beam; use --beam --direct_num_workers=N")
    if args.stage and args.beam is None:
        parser.error("--stage needs --beam, and is written before it")
    check_words(parser, args.beam or ())
    return args


def _guarded(name: str, work: Callable[[], int]) -> int:
    """Runs a command. Errors that users can fix are printed in one line, without a traceback."""

    def run() -> int:
        try:
            with noting(current_location):
                return work()
        except KeyboardInterrupt as stop:  # its message says what is kept
            print(f"\nStopped. {stop}".rstrip(), file=sys.stderr)
            raise
        except (ValueError, OSError, ModuleNotFoundError):
            raise
        except RuntimeError as error:  # of a build, a worker process or a Beam job
            raise ValueError(str(error)) from error
        except Exception as error:
            raise ValueError(describe_unforeseen(error)) from error

    return run_guarded(f"capjax prepare {name}", run)


def _build(name: str, args: argparse.Namespace) -> int:
    from capjax.data.photo import MediaSettings
    from data_prep.build import RecordBuilder
    from data_prep.media import Storage

    start = time.monotonic()
    builder = RecordBuilder(
        name=name,
        reader=read(name, args),
        output_dir=local_path(args.output),
        settings=Storage(
            MediaSettings(args.short_side, args.quality),
            args.fps,
            ClipSettings(args.clips, args.window, args.overlap, args.max_frames),
        ),
        translations=Translations(args.translations) if args.translations else None,
        workers=args.workers,
        beam=args.beam,
        stage=args.stage,
        max_bad=args.max_bad,
        strict=args.strict,
        keep_copies=args.keep_copies,
        overwrite=args.overwrite,
    )
    builder.download_and_prepare()
    _print_summary(builder, time.monotonic() - start)
    return 0


def _print_summary(builder, seconds: float):
    report, noun = builder.report, builder.report.noun
    for split, counts in report.splits.items():
        captions = ", ".join(f"{count:,} in {lang}" for lang, count in counts["captions"].items())
        size = f"{counts['bytes'] / 2**20:,.1f} MB"
        print(f"{split:<6} {counts[noun + 's']:>9,} {noun}s   captions: {captions}   {size}")
        if videos := report.videos.get(split):
            print(f"{'':<6} {videos['there']:,} of the {videos['named']:,} videos in the annotations exist")
    for file, count in builder.report.translations.items():
        print(f"{file}: {count['joined']:,} of {count['captions']:,} captions are of photos in this dataset")
    if builder.report.left_out:
        print(f"{builder.report.left_out:,} {noun}s are in none of the splits and were left out")
    if builder.report.unnamed:
        print(f"{builder.report.unnamed:,} more {noun}s are in these folders, and the annotations do not name them")
    for problem in report.problems:
        if problem.kind in ("other_language", "unknown_key"):
            print(f"{problem.where}: {problem.message}")
    if copies := sum(problem.kind == "copy_across_splits" for problem in report.problems):
        outcome = "they were kept" if builder.keep_copies else "they were left out; --keep-copies keeps them"
        print(f"{copies:,} {noun}s of val or test are exact copies of others in another split: {outcome}")
    if builder.report.problems:
        print(f"{len(builder.report.problems):,} problems, listed in {builder.output_dir / 'report.json'}")
    records = sum(counts[noun + "s"] for counts in report.splits.values())
    print(f"{builder.output_dir}: written in {seconds:.1f} s ({records / seconds:,.0f} {noun}s/s)")


def command(argv: Sequence[str] | None = None) -> int:
    """`main` of a process of its own, which SIGTERM stops as Ctrl-C does."""
    # SIGTERM as well: a shell starts background processes with SIGINT ignored.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return main(argv)
