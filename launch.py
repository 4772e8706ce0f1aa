"""The one door for jobs.

python launch.py --config configs/NAME.py[:arg] --workdir DIR --mode=train|eval|compile|export [--config.key=value ...]
"""

import argparse
import sys


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="launch.py", allow_abbrev=False,
        description="Trains or evaluates what a config describes, compiles it for a TPU slice, or exports what was "
        "trained.",
        epilog="Any setting of capjax/config/defaults.py can be given as --config.KEY=VALUE. Exit status: 0: done. "
        "1: an error. 2: wrong arguments. 143 or 130: stopped by SIGTERM or Ctrl-C; training has saved, and the same "
        "command continues it. 70: an unforeseen error after the first step. 75: another process of the job was lost; "
        "start all again.",
    )  # fmt: skip
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE[:ARG]",
        help="a config file, or the name of one in configs/ such as shapes",
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="where the job keeps all that it makes")
    parser.add_argument("--mode", choices=("train", "eval", "compile", "export"), default="train")
    group = parser.add_argument_group("--mode=compile", "reports on the programs in DIR/compile; no TPU is needed")
    group.add_argument(
        "--topology", action="append", default=[], metavar="NAME",
        help="a slice such as v5e:16x16, or 4xv5e:16x16 for four; may be repeated; default: the config's",
    )  # fmt: skip
    group.add_argument("--sweep", action="store_true", help="try all meshes, and say which is best")
    group.add_argument("--batches", type=int, nargs="+", default=[], metavar="N", help="batch sizes to sweep over")
    parser.add_argument("--model", metavar="DIR", help="--mode=eval: a SavedModel to score in place of the checkpoint")
    parser.add_argument("--output", metavar="DIR", help="--mode=export: where to; default: export in the workdir")
    args, rest = parser.parse_known_args()
    if args.mode != "compile" and (args.topology or args.sweep or args.batches):
        parser.error("--topology, --sweep and --batches go with --mode=compile")
    if args.batches and not args.sweep:
        parser.error("--batches goes with --sweep")
    if (args.model and args.mode != "eval") or (args.output and args.mode != "export"):
        parser.error("--model goes with --mode=eval, and --output with --mode=export")
    overrides = []
    for text in rest:
        if not text.startswith("--config."):
            parser.error(f"unknown argument {text!r}; settings are given as --config.KEY=VALUE")
        overrides.append(text.removeprefix("--config."))

    from capjax import jobs, runtime

    runtime.start(training=args.mode == "train", compiles_only=args.mode == "compile")
    compiles = {"topologies": args.topology, "batches": args.batches if args.sweep else None}
    return jobs.run(
        args.mode, args.config, args.workdir, overrides, compiles=compiles, output=args.output, model=args.model
    )


if __name__ == "__main__":
    sys.exit(main())
