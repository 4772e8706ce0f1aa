"""The arguments of a job: `launch.py --mode=MODE`, and `capjax train|eval|export|compile`."""

import argparse
from collections.abc import Sequence
from functools import partial

# Mode -> what it does.
_DESCRIPTIONS = {
    "train": "Trains the model of a config; the same command continues a run.",
    "eval": "Scores a checkpoint of a run, or an exported model.",
    "compile": "Compiles the programs of a config for a TPU slice, without a TPU.",
    "export": "Exports a trained model as SavedModel and StableHLO.",
}
MODES = tuple(_DESCRIPTIONS)
_EPILOG = """\
Any setting can be given as --config.KEY=VALUE; the config reference of the documentation lists them.

Exit status: 0: done. 1: an error. 2: wrong arguments. 143 or 130: stopped by SIGTERM or Ctrl-C; training has saved, and
the same command continues it. 70: an unforeseen error after the first step. 75: another process of the job was lost;
start all again."""


def main(argv: Sequence[str] | None = None, mode: str | None = None) -> int:
    """Runs a job; returns the exit status.

    Args:
      mode: one of MODES; None: the option --mode chooses it.
    """
    if mode is None and (bulk_arguments := _bulk_arguments(argv)) is not None:
        from capjax.commands import bulk

        return bulk.main(bulk_arguments, "launch.py --mode=bulk")
    parser = _parser(mode)
    args, rest = parser.parse_known_args(argv)
    mode = mode or args.mode
    _check(parser, args, mode)
    overrides = []
    for text in rest:
        if not text.startswith("--config."):
            parser.error(f"unknown argument {text!r}; settings are given as --config.KEY=VALUE")
        overrides.append(text.removeprefix("--config."))

    from capjax import runtime

    runtime.start(training=mode == "train", compiles_only=mode == "compile")
    from capjax import jobs  # imports JAX, which then reads the environment that `start` sets

    compiles = {"topologies": args.topology, "batches": args.batches if args.sweep else None}
    return jobs.run(
        mode, args.config, args.workdir, overrides, compiles=compiles, output=args.output, model=args.model,
        checkpoint=args.checkpoint, program=parser.prog,
    )  # fmt: skip


train, evaluate, export, compile_ahead = (
    partial(main, mode=mode) for mode in ("train", "eval", "export", "compile")
)  # fmt: skip


def _bulk_arguments(argv: Sequence[str] | None) -> list[str] | None:
    """The other arguments if the mode is bulk, which has arguments of its own; else None."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--mode")
    args, arguments = parser.parse_known_args(argv)
    return arguments if args.mode == "bulk" else None


def _parser(mode: str | None) -> argparse.ArgumentParser:
    """The parser of launch.py, or of one mode, which has only the options of that mode."""
    parser = argparse.ArgumentParser(
        prog=f"capjax {mode}" if mode else "launch.py", allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter, epilog=_EPILOG,
        description=_DESCRIPTIONS[mode] if mode else
        "Trains or evaluates the model of a config, compiles it for a TPU slice, or exports a trained one.",
    )  # fmt: skip

    def of(name: str) -> str:
        """The mode that an option goes with, in the help of a command that has all modes."""
        return "" if mode else f"--mode={name}: "

    parser.set_defaults(topology=[], sweep=False, batches=[], model=None, checkpoint="", output=None)
    parser.add_argument(
        "--config", required=True, metavar="FILE[:ARG]", help="a config file, or the name of a config such as shapes"
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="folder of the run; may be gs://BUCKET/FOLDER")
    if mode is None:
        parser.add_argument(
            "--mode", choices=(*MODES, "bulk"), default="train", help="bulk has arguments of its own: launch.py "
            "--mode=bulk --help",
        )  # fmt: skip
    if mode in (None, "compile"):
        group = parser.add_argument_group("--mode=compile", "reports on the programs, in DIR/compile; needs "
            "no TPU. Memory is the TPU compiler's figure; times are experimental estimates")  # fmt: skip
        group.add_argument(
            "--topology", action="append", metavar="NAME",
            help="a slice such as v5e:16x16, or 4xv5e:16x16 for four; may be repeated; default: the config's",
        )  # fmt: skip
        group.add_argument("--sweep", action="store_true", help="compile for all meshes, and report the best")
        group.add_argument("--batches", type=int, nargs="+", metavar="N", help="batch sizes to sweep over")
    if mode in (None, "eval"):
        parser.add_argument("--model", metavar="DIR", help=of("eval") + "a SavedModel to score, not the checkpoint")
        parser.add_argument(
            "--checkpoint", metavar="STEP|best|PATH", help=of("eval") + "the checkpoint to score (default: best)"
        )
    if mode in (None, "export", "eval"):
        defaults = {"export": "folder to write (default: WORKDIR/export)",
                    "eval": "folder of predictions and scores (default: in the workdir)"}  # fmt: skip
        texts = [defaults[mode]] if mode else [of(name) + text for name, text in defaults.items()]
        parser.add_argument("--output", metavar="DIR", help="; ".join(texts))
    return parser


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace, mode: str):
    for name in ("config", "workdir", "output", "model"):
        try:
            (getattr(args, name) or "").encode()
        except UnicodeEncodeError:
            parser.error(f"--{name} {getattr(args, name)!r}: the name is not UTF-8; rename the file or folder")
    if mode != "compile" and (args.topology or args.sweep or args.batches):
        parser.error("--topology, --sweep and --batches go with --mode=compile")
    if args.batches and not args.sweep:
        parser.error("--batches goes with --sweep")
    if args.checkpoint and (mode != "eval" or args.model):
        parser.error("--checkpoint goes with --mode=eval, without --model")
    if (args.model and mode != "eval") or (args.output and mode not in ("export", "eval")):
        parser.error("--model goes with --mode=eval, and --output with --mode=export and --mode=eval")
