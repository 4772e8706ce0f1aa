"""The command `capjax`."""

import argparse
import json
import os
import sys
from pathlib import Path

# What a folder is searched for.
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".avif"}


def _caption_parser(commands):
    told = "Captions for photos and videos."
    parser = commands.add_parser("caption", help="captions for photos and videos", description=told)
    parser.add_argument(
        "media", nargs="+", metavar="FILE", help="photos, videos, folders of them, or - for a photo on standard input"
    )
    parser.add_argument("--workdir", required=True, type=Path, help="of a training run")
    parser.add_argument("--lang", help="language to write; default: the model's first")
    parser.add_argument("--beams", type=int, help="hypotheses kept by beam search; default: the run's config")
    parser.add_argument("--max-len", type=int, help="pieces at most")
    parser.add_argument("--batch", type=int, default=32, help="photos or videos at a time (default 32)")
    parser.add_argument("--json", action="store_true", help="one object a line: path, caption, lang, score")
    parser.set_defaults(run=caption)


def _expand(names: list[str]) -> list[str]:
    """Files as given, folders as the images and videos below them in order."""
    from capjax.data.video import VIDEO_SUFFIXES

    paths = []
    for name in names:
        path = Path(name)
        if name != "-" and path.is_dir():
            found = sorted(str(p) for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES)
            if not found:
                print(f"capjax: no images or videos in the folder {name}", file=sys.stderr)
            paths += found
        else:
            paths.append(name)
    return paths


def caption(args) -> int:
    """Prints a caption for each photo or video; one that cannot be read is named on standard error, and the status is
    then 1."""
    from capjax import runtime
    from capjax.predict import MediaError, load

    runtime.start()
    decode = {name: value for name, value in (("beams", args.beams), ("max_len", args.max_len)) if value is not None}
    if decode.get("beams"):
        decode["method"] = "beam"
    if args.batch < 1:
        raise ValueError(f"--batch {args.batch}: expected 1 or more")
    predictor = load(args.workdir, **decode)
    if args.lang and args.lang not in predictor.languages:
        raise ValueError(f"--lang {args.lang}: this model writes {', '.join(predictor.languages)}")
    paths = _expand(args.media)
    failed = not paths
    for start in range(0, len(paths), args.batch):
        names, seen = [], []
        for path in paths[start : start + args.batch]:
            try:
                seen.append(predictor.read(sys.stdin.buffer.read() if path == "-" else Path(path)))
                names.append(path)
            except MediaError as error:
                failed = True
                where = "standard input: " if path == "-" else ""  # of a file the message has the name
                print(f"capjax: {where}{error}", file=sys.stderr)
        captions = predictor.caption_seen(seen, lang=args.lang, **decode) if seen else []
        for path, result in zip(names, captions, strict=True):
            if args.json:
                row = {"path": path, "caption": result.text, "lang": result.lang, "score": result.score}
                print(json.dumps(row, ensure_ascii=False), flush=True)
            else:
                print(f"{path}\t{result.text}" if len(paths) > 1 else result.text, flush=True)
    return 1 if failed else 0


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
