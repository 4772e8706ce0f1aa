"""The command `capjax`: finds the sub-command and runs it. A sub-command is imported only when it is called."""

import importlib
import sys
from collections.abc import Sequence

from capjax.registry import nearest
from capjax.runtime import run_guarded

# Name -> (MODULE:FUNCTION, which takes the arguments and returns the exit status; help).
COMMANDS = {
    "demo": ("capjax.commands.demo:main", "train a captioner on generated pictures, and write a page that shows it"),
    "prepare": ("data_prep.cli:command", "media and annotations to datasets; their vocabularies and features"),
    "train": ("capjax.commands.launch:train", "train the model of a config"),
    "eval": ("capjax.commands.launch:evaluate", "score a checkpoint, or an exported model"),
    "caption": ("capjax.commands.caption:main", "caption photos and videos"),
    "bulk": ("capjax.commands.bulk:main", "caption large collections, in shards that a stopped job continues"),
    "explain": ("capjax.commands.explain:main", "show which parts of a photo or video each word was written from"),
    "export": ("capjax.commands.launch:export", "export a trained model as SavedModel and StableHLO"),
    "compile": ("capjax.commands.launch:compile_ahead", "compile the programs of a config for a TPU slice"),
    "serve": ("capjax.commands.serve:main", "caption photos and videos over HTTP"),
    "score": ("capjax.commands.score:main", "score predictions against references"),
    "analyze": ("capjax.commands.analyze:main", "find errors and bias in predictions, and write a page about them"),
    "import": ("capjax.commands.import_weights:main", "convert published weights of the object detector"),
    "doctor": ("capjax.commands.doctor:main", "show versions, devices, extras and the compilation cache"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `capjax COMMAND ...`; returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] and argv[0] in COMMANDS:
        name, arguments = argv[0], argv[1:]
        module, _, function = COMMANDS[name][0].partition(":")
        return run_guarded(f"capjax {name}", lambda: getattr(importlib.import_module(module), function)(arguments))
    return run_guarded("capjax", lambda: _without_command(argv))


def _without_command(argv: Sequence[str]) -> int:
    if argv[:1] == ["--version"]:
        from capjax.metrics.signature import version

        print(f"capjax {version()}")
        return 0
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview())
        return 0 if argv else 2
    print(f"capjax: unknown command {argv[0]!r}; {nearest(argv[0], COMMANDS)}", file=sys.stderr)
    return 2


def _overview() -> str:
    commands = "\n".join(f"  {name:<10}{text}" for name, (_, text) in COMMANDS.items())
    return f"usage: capjax COMMAND ...\n\ncommands (`capjax COMMAND --help` shows the options of each):\n{commands}"


if __name__ == "__main__":
    sys.exit(main())
