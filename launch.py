"""The one door for jobs.

python launch.py --config configs/NAME.py[:arg] --workdir DIR --mode=train|eval [--config.key=value ...]
"""

import argparse
import sys


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="launch.py", description="Trains or evaluates what a config describes.", allow_abbrev=False,
        epilog="Any setting of configs/common.py can be given as --config.KEY=VALUE. Exit status: 0 done, 1 an error, "
        "2 wrong arguments, 143 or 130 stopped by SIGTERM or Ctrl-C: training has then saved, and goes on when the "
        "command is repeated.",
    )  # fmt: skip
    parser.add_argument("--config", required=True, metavar="FILE[:ARG]", help="such as configs/shapes.py")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="where the job keeps all that it makes")
    parser.add_argument("--mode", choices=("train", "eval"), default="train")
    args, rest = parser.parse_known_args()
    overrides = []
    for text in rest:
        if not text.startswith("--config."):
            parser.error(f"unknown argument {text!r}; settings are given as --config.KEY=VALUE")
        overrides.append(text.removeprefix("--config."))

    from capjax import jobs, runtime

    runtime.start(training=args.mode == "train")
    return jobs.run(args.mode, args.config, args.workdir, overrides)


if __name__ == "__main__":
    sys.exit(main())
