"""What `launch.py --mode=compile` does: reports on programs for TPU slices, and a search for better meshes."""

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

from capjax.compile.compile_report import make_refusal, make_report, to_markdown, write_report
from capjax.compile.compiler import NAMES, CompilerError, DoesNotFitError, compile_lowered, lower, mesh_of
from capjax.compile.sweep import smaller, sweep
from capjax.compile.topology import Topology
from capjax.config import to_json, with_overrides
from capjax.files import write_text
from capjax.workdir.layout import Workdir


def run(
    config, workdir: Path, topologies: Sequence[str], *, batches: Sequence[int] | None, say: Callable = print
) -> bool:
    """Compiles a config's programs for slices and writes a report of each into `workdir`/compile.

    Args:
      topologies: by name; none: those of config.compile.
      batches: sizes to sweep over, with all meshes; empty: the config's alone; None: no sweep.

    Returns:
      whether all fits.

    Raises:
      TopologyError, ConfigError, ValueError: no such slice, or the config cannot be laid over it.
    """
    folder, fits = workdir / "compile", True
    vocabulary = Workdir(workdir).vocabulary_path
    if vocabulary.is_file():  # a run that goes on there takes it, whatever the config says
        config = deepcopy(config)
        config.data.vocabulary = str(vocabulary)
    for topology in map(Topology.parse, topologies or config.compile.topologies):
        if batches is not None:
            fits &= _sweep(config, topology, batches, folder, say)
            continue
        for program in NAMES:
            report = compile_program(config, topology, program)
            path = write_report(report, folder)
            if not report["memory"]["fits"]:
                fits = False
                say(f"{program} does not fit on {topology}. Looking for what does ...")
                report["advice"] = _advice(config, topology, program)
                write_report(report, folder)
            say(f"{to_markdown(report)}\nwritten: {path}\n")
    return fits


def compile_program(config, topology: Topology, program: str) -> dict:
    """The report of a program, see `make_report`; of one that does not fit `make_refusal`.

    Raises:
      ConfigError, ValueError: the config cannot be laid over the slice; CompilerError: the compiler fails.
    """
    lowered = lower(config, mesh_of(config, topology), program)
    try:
        return make_report(config.name, topology, lowered, compile_lowered(lowered))
    except DoesNotFitError as error:
        return make_refusal(config.name, topology, lowered, error)


def _advice(config, topology: Topology, program: str) -> str:
    """What would fit; it is compiled to be sure."""
    for settings in smaller(config, topology, program):
        try:
            memory = compile_program(with_overrides(config, settings), topology, program)["memory"]
        except ValueError:  # the config is not possible so
            continue
        if memory["fits"]:
            flags = " ".join(f"--config.{setting}" for setting in settings)
            return f"It fits, in {memory['peak'] / 1e9:.2f} GB a chip, with {flags}"
    return "Nothing that was tried fits: use a larger slice, or a smaller model"


def _sweep(config, topology: Topology, batches: Sequence[int], folder: Path, say: Callable) -> bool:
    """Tries everything, each once however often it is interrupted, and says which gives the most items a second."""
    path, about = folder / f"sweep-{str(topology).replace(':', '-')}.json", to_json(config)
    done = json.loads(path.read_text()) if path.is_file() else {}
    rows = done["rows"] if done.get("config") == about else {}
    wanted = sweep(config, topology, batches)
    for number, settings in enumerate(wanted, 1):
        name = " ".join(settings)
        if name not in rows:
            try:
                rows[name] = compile_program(with_overrides(config, settings), topology, "train")
            except CompilerError as error:
                rows[name] = {"memory": {"fits": False}, "failed": str(error)}
            folder.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps({"config": about, "rows": rows}, indent=1) + "\n")
        say(f"{number}/{len(wanted)} {_line(name, rows[name])}")
    fitting = {name: rows[name] for name in map(" ".join, wanted) if rows[name]["memory"]["fits"]}
    if not fitting:
        say(f"nothing fits on {topology}; try smaller --batches")
        return False
    name = max(fitting, key=lambda name: fitting[name]["estimated"]["items_per_second"])
    path = write_report(fitting[name], folder, "best")
    flags = " ".join(f"--config.{setting}" for setting in name.split())
    say(f"best on {topology}, as estimated: {flags}; {path}")
    return True


def _line(name: str, report: dict) -> str:
    if "failed" in report:
        return f"{name}: {report['failed'].splitlines()[0][:120]}"
    memory = f"{report['memory']['peak'] / 1e9:.2f} GB"
    if not report["memory"]["fits"]:
        return f"{name}: {memory}, does not fit"
    guess = report["estimated"]
    return (
        f"{name}: {memory}, estimated {guess['items_per_second']:,.0f} items/s, {guess['utilization']:.1%} utilization"
    )
