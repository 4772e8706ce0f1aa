"""The command `capjax`."""

import argparse
import os
import sys

from capjax.commands import caption


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="capjax", description="Captions for photos and videos, with a model trained by launch.py."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    caption.add_parser(commands)
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
