"""The command `capjax`."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

# What a folder is searched for.
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".avif"}


def _caption_parser(commands):
    told = "Captions for photos and videos; of a model that was trained to find events, the events of videos."
    parser = commands.add_parser("caption", help="captions for photos and videos", description=told)
    add = parser.add_argument
    add("media", nargs="+", metavar="FILE", help="photos, videos, folders of them, or - for a photo on standard input")
    add("--workdir", required=True, type=Path, help="of a training run")
    add("--lang", help="language to write; default: the model's first")
    add("--beams", type=int, help="hypotheses kept by beam search; default: the run's config")
    add("--max-len", type=int, help="pieces at most")
    add("--batch", type=int, help="photos, videos or windows at a time (default 32; of events 8)")
    add("--json", action="store_true", help="one object a line: path, caption, lang, score; of events: path, lang, "
        "duration, events with start, end, caption, score")  # fmt: skip
    events = parser.add_argument_group("events").add_argument
    events("--dense", action="store_true", help="each event with its start and end, one a line; needs a model trained "
           "for it (data.task is dense), and is what such a model does anyway")  # fmt: skip
    events("--window", type=float, metavar="SECONDS", help="of what is looked at at a time (default: as in training)")
    events("--overlap", type=float, metavar="SECONDS", help="that two windows share (default: as in training)")
    parser.set_defaults(run=caption)


def _expand(names: list[str], dense: bool) -> list[str]:
    """Files as given, folders as the images (but for `dense`) and videos below them in order."""
    from capjax.data.video import VIDEO_SUFFIXES

    paths, suffixes = [], VIDEO_SUFFIXES if dense else IMAGE_SUFFIXES | VIDEO_SUFFIXES
    for name in names:
        path = Path(name)
        if name != "-" and path.is_dir():
            found = sorted(str(p) for p in path.rglob("*") if p.suffix.lower() in suffixes)
            if not found:
                what = "videos" if dense else "images or videos"
                print(f"capjax: no {what} in the folder {name}", file=sys.stderr)
            paths += found
        else:
            paths.append(name)
    return paths


def caption(args) -> int:
    """Prints a caption for each photo or video, or the events of each video; one that cannot be read is named on
    standard error, and the status is then 1."""
    from capjax import runtime
    from capjax.predict import finds_events, load
    from capjax.workdir.layout import Workdir

    if args.batch is not None and args.batch < 1:
        raise ValueError(f"--batch {args.batch}: expected 1 or more")
    config = Workdir(args.workdir).config()
    if not finds_events(config):
        for name in ("dense", "window", "overlap"):
            if getattr(args, name):
                raise ValueError(
                    f"--{name} is for models that find events; the one in {args.workdir} was trained with data.task = "
                    f"{config.data.task}"
                )
    runtime.start()
    decode = {
        name: value for name, value in (("num_beams", args.beams), ("max_len", args.max_len)) if value is not None
    }
    if decode.get("num_beams"):
        decode["method"] = "beam"
    predictor = load(args.workdir, **decode)
    if args.lang and args.lang not in predictor.languages:
        raise ValueError(f"--lang {args.lang}: this model writes {', '.join(predictor.languages)}")
    paths = _expand(args.media, predictor.dense)
    say = _say_events if predictor.dense else _say_captions
    failed = say(predictor, paths, args, decode)
    return 1 if failed or not paths else 0


def _say_captions(predictor, paths: list[str], args, decode: dict) -> bool:
    """Prints captions; returns whether a file could not be read."""
    from capjax.predict import MediaError

    failed, batch = False, args.batch or 32
    for start in range(0, len(paths), batch):
        names, seen = [], []
        for path in paths[start : start + batch]:
            try:
                seen.append(predictor.read(sys.stdin.buffer.read() if path == "-" else Path(path)))
                names.append(path)
            except MediaError as error:
                failed = True
                where = "standard input: " if path == "-" else ""  # of a file the message has the name
                print(f"capjax: {where}{error}", file=sys.stderr)
        captions = predictor.caption_samples(seen, lang=args.lang, **decode) if seen else []
        for path, result in zip(names, captions, strict=True):
            if args.json:
                row = {"path": path, "caption": result.text, "lang": result.lang, "score": result.score}
                print(json.dumps(row, ensure_ascii=False), flush=True)
            else:
                print(f"{path}\t{result.text}" if len(paths) > 1 else result.text, flush=True)
    return failed


def _say_events(predictor, paths: list[str], args, decode: dict) -> bool:
    """Prints the events of videos; returns whether a file could not be read."""
    from tqdm import tqdm

    if "-" in paths:
        raise ValueError("standard input is for photos; events are found in video files")
    failed, lang = False, args.lang or predictor.languages[0]
    # Where a person looks on, and only if it takes longer than it takes to start.
    form = "{percentage:3.0f}% of the video read |{bar}| {elapsed}, {remaining} to go"
    with tqdm(total=0.0, disable=None, delay=2, leave=False, bar_format=form) as bar:

        def progress(looked: float, opened: float):
            bar.total = opened
            bar.update(looked - bar.n)

        found = predictor.localize(
            paths, lang=lang, window=args.window, overlap=args.overlap, batch_size=args.batch or 8, progress=progress,
            **decode,
        )  # fmt: skip
        for path, video in zip(paths, found, strict=True):
            if video.error:
                failed = True
                bar.write(f"capjax: {video.error}", file=sys.stderr)
                continue
            if not video.events:
                bar.write(f"capjax: {path}: no event was found", file=sys.stderr)
            bar.write("".join(_lines(path, video, lang, args.json, len(paths) > 1)), file=sys.stdout, end="")
            sys.stdout.flush()
    return failed


def _lines(path: str, video, lang: str, as_json: bool, several: bool) -> Iterator[str]:
    if as_json:
        events = [{"start": e.start, "end": e.end, "caption": e.text, "score": e.score} for e in video.events]
        row = {"path": path, "lang": lang, "duration": video.duration, "events": events}
        yield json.dumps(row, ensure_ascii=False) + "\n"
        return
    for event in video.events:
        times = f"{clock(event.start)} - {clock(event.end)}"
        yield f"{path}\t{times}  {event.text}\n" if several else f"{times}  {event.text}\n"


def clock(seconds: float) -> str:
    """0:03.2, 12:03.2, 1:02:03.2."""
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{tenths // 10:02}.{tenths % 10}"
    return f"{hours}:{minutes:02}:{rest}" if hours else f"{minutes}:{rest}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="capjax", description="Captions for photos and videos, with a model trained by launch.py."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _caption_parser(commands)
    args = parser.parse_args(argv)
    try:
        return args.run(args)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough; Python must not try to flush once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError) as error:
        print(f"capjax: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
