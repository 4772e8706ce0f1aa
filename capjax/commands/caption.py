"""`capjax caption`: captions of photos and videos, or the events of videos."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from capjax import plugins
from capjax.commands.media_arguments import expand, printable
from capjax.metrics.messages import noting


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    return run(_parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    description = "Captions photos and videos. A model trained to find events lists the events of each video."
    parser = argparse.ArgumentParser(prog="capjax caption", description=description)
    add = parser.add_argument
    add(
        "media",
        nargs="+",
        metavar="FILE",
        help="photos, videos, folders of them, or - for a photo or video on standard input",
    )
    add("--workdir", required=True, type=Path, help="folder of a training run")
    add("--lang", help="language to write (default: the first language of the model)")
    add("--num-beams", "--beams", type=int, help="hypotheses kept by beam search (default: as in the run's config)")
    add("--max-len", type=int, help="largest number of tokens in a caption (default: as in the run's config)")
    add("--attribute-shares", choices=("training", "equal"), help="of the words of the run's mitigation.attribute, in "
        "all captions of the command (default: as in the run's config)")  # fmt: skip
    add("--batch", type=int, help="photos, videos or windows in a batch (default: 32; for events 8)")
    add("--json", action="store_true", help="print one JSON object per line: path, caption, lang, score; for events "
        "path, lang, duration, and events with start, end, caption, score")  # fmt: skip
    plugins.add_argument(parser)
    add = parser.add_argument_group("events").add_argument
    add("--dense", action="store_true", help="fail unless the model finds events; such a model lists events with or "
        "without this option")  # fmt: skip
    add("--window", type=float, metavar="SECONDS", help="length of a window (default: as in training)")
    add("--overlap", type=float, metavar="SECONDS", help="overlap of two windows (default: as in training)")
    return parser


def run(args) -> int:
    """Prints the caption of each photo or video, or the events of each video. Those that cannot be read are named on
    standard error, and the exit status is then 1."""
    from capjax import runtime

    if args.batch is not None and args.batch < 1:
        raise ValueError(f"--batch {args.batch}: expected 1 or more")
    runtime.start()
    from capjax import predict  # imports JAX, which then reads the environment that `start` sets
    from capjax.workdir.layout import Workdir

    names = ("num_beams", "max_len", "attribute_shares")
    options = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if options.get("num_beams"):
        options["method"] = "beam"
    plugins.import_plugins(args.plugins)
    with noting(f"the workdir {args.workdir}"):
        config = Workdir(args.workdir).config()
        _check(args, config)
        predictor = predict.Predictor(args.workdir, config, **options)
    paths, any_skipped = expand("capjax caption", args.media, videos_only=predictor.dense)
    any_failed = (_print_events if predictor.dense else _print_captions)(predictor, paths, args, options)
    return 1 if any_failed or any_skipped or not paths else 0


def _check(args, config):
    """Raises ValueError for options that do not go with the config of the model."""
    from capjax.predict import finds_events

    if finds_events(config):
        if "-" in args.media:
            raise ValueError("standard input is for photos; events are found in video files")
    elif wrong := [name for name in ("dense", "window", "overlap") if getattr(args, name)]:
        raise ValueError(
            f"--{wrong[0]} is for models that find events; the one in {args.workdir} was trained with data.task = "
            f"{config.data.task}"
        )
    if args.lang and args.lang not in config.data.languages:
        raise ValueError(f"--lang {args.lang}: this model writes {', '.join(config.data.languages)}")


def _print_captions(predictor, paths: list[str], args, options: dict) -> bool:
    """Returns whether a file could not be read."""
    any_failed, size = False, args.batch or 32
    # A constraint on all captions needs all of them; else those of a batch are printed once they are there.
    is_constrained = options.get("attribute_shares") or predictor.config.decode.attribute_shares
    step = max(len(paths), 1) if is_constrained else size
    for start in range(0, len(paths), step):
        batch = paths[start : start + step]
        media = (sys.stdin.buffer.read() if path == "-" else Path(path) for path in batch)
        captions = predictor.caption(media, lang=args.lang, batch_size=size, **options)
        for path, caption in zip(batch, captions, strict=True):
            if caption.error:
                any_failed = True
                source = "standard input: " if path == "-" else ""  # messages name files themselves
                print(printable(f"capjax caption: {source}{caption.error}"), file=sys.stderr)
            elif args.json:
                row = {"path": path, "caption": caption.text, "lang": caption.lang, "score": caption.score}
                print(json.dumps(row, ensure_ascii=False), flush=True)
            else:
                print(f"{printable(path)}\t{caption.text}" if len(paths) > 1 else caption.text, flush=True)
    return any_failed


def _print_events(predictor, paths: list[str], args, options: dict) -> bool:
    """Returns whether a file could not be read."""
    from tqdm import tqdm

    any_failed, lang = False, args.lang or predictor.languages[0]
    # Shown on a terminal, and only if reading takes longer than two seconds.
    bar_format = "{percentage:3.0f}% of the video read |{bar}| {elapsed}, {remaining} to go"
    with tqdm(total=0.0, disable=None, delay=2, leave=False, bar_format=bar_format) as bar:

        def progress(seconds_read: float, seconds_opened: float):
            bar.total = seconds_opened
            bar.update(seconds_read - bar.n)

        videos = predictor.localize(
            paths, lang=lang, window=args.window, overlap=args.overlap, batch_size=args.batch or 8, progress=progress,
            **options,
        )  # fmt: skip
        for path, video in zip(paths, videos, strict=True):
            if video.error:
                any_failed = True
                bar.write(printable(f"capjax caption: {video.error}"), file=sys.stderr)
                continue
            if not video.events:
                bar.write(printable(f"capjax caption: {path}: no event was found"), file=sys.stderr)
            bar.write("".join(_lines(path, video, lang, args.json, len(paths) > 1)), file=sys.stdout, end="")
            sys.stdout.flush()
    return any_failed


def _lines(path: str, video, lang: str, as_json: bool, several: bool) -> Iterator[str]:
    if as_json:
        events = [{"start": e.start, "end": e.end, "caption": e.text, "score": e.score} for e in video.events]
        row = {"path": path, "lang": lang, "duration": video.duration, "events": events}
        yield json.dumps(row, ensure_ascii=False) + "\n"
        return
    for event in video.events:
        times = f"{clock(event.start)} - {clock(event.end)}"
        yield f"{printable(path)}\t{times}  {event.text}\n" if several else f"{times}  {event.text}\n"


def clock(seconds: float) -> str:
    """Formats seconds as 0:03.2, 12:03.2 or 1:02:03.2."""
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{tenths // 10:02}.{tenths % 10}"
    return f"{hours}:{minutes:02}:{rest}" if hours else f"{minutes}:{rest}"
