"""The job of `launch.py --mode=compile`: reports on a config's programs for TPU slices, and sweeps over meshes."""

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TypedDict

from capjax.compile.compile_report import make_refusal, make_report, to_markdown, write_report
from capjax.compile.compiler import SECTIONS, CompilerError, DoesNotFitError, compile_lowered, lower, mesh_of
from capjax.compile.sweep import smaller, sweep
from capjax.compile.topology import Topology
from capjax.config import to_json, with_overrides
from capjax.files import read_json, write_text
from capjax.workdir.layout import Workdir


class _SweepJson(TypedDict):
    config: str
    rows: dict[str, dict]


def run(
    config, workdir: Path, topologies: Sequence[str], *, batches: Sequence[int] | None, say: Callable = print
) -> bool:
    """Compiles a config's programs for TPU slices and writes a report of each into `workdir`/compile.

    Args:
      topologies: names of slices; config.compile.topologies where empty.
      batches: None for no sweep; otherwise the batch sizes of a sweep over all meshes, the config's where empty.
      say: called with each report and each line of progress.

    Returns:
      Whether all programs fit; of a sweep, whether any mesh fits on each slice.

    Raises:
      TopologyError: there is no such slice.
      ConfigError, ValueError: the config does not fit the slice's mesh.
    """
    folder, fits = workdir / "compile", True
    vocabulary = Workdir(workdir).vocabulary_path
    if vocabulary.is_file():  # a run that resumes there uses it, whatever the config names
        config = deepcopy(config)
        config.data.vocabulary = str(vocabulary)
    for topology in map(Topology.parse, topologies or config.compile.topologies):
        if batches is not None:
            fits &= _sweep(config, topology, batches, folder, say)
            continue
        for program in SECTIONS:
            report = compile_program(config, topology, program)
            path = write_report(report, folder)
            if not report["memory"]["fits"]:
                fits = False
                say(f"{program} does not fit on {topology}. Looking for settings that do ...")
                report["advice"] = _advice(config, topology, program)
                write_report(report, folder)
            say(f"{to_markdown(report)}\nwritten: {path}\n")
    return fits


def compile_program(config, topology: Topology, program: str) -> dict:
    """Returns the report on a program (`make_report`), or on one that does not fit (`make_refusal`).

    Raises:
      ConfigError, ValueError: the config does not fit the slice's mesh.
      CompilerError: the compiler fails.
    """
    lowered = lower(config, mesh_of(config, topology), program)
    try:
        return make_report(config.name, topology, lowered, compile_lowered(lowered))
    except DoesNotFitError as error:
        return make_refusal(config.name, topology, lowered, error)


def _advice(config, topology: Topology, program: str) -> str:
    """The first settings with which the program fits, found by compiling it."""
    for settings in smaller(config, topology, program):
        try:
            memory = compile_program(with_overrides(config, settings), topology, program)["memory"]
        except ValueError:  # the config is invalid with these settings
            continue
        if memory["fits"]:
            flags = " ".join(f"--config.{setting}" for setting in settings)
            return f"It fits, in {memory['peak'] / 1e9:.2f} GB a chip, with {flags}"
    return "No settings that were tried fit: use a larger slice, or a smaller model"


def _sweep(config, topology: Topology, batches: Sequence[int], folder: Path, say: Callable) -> bool:
    """Compiles every combination of mesh and batch size and reports the one with most items per second.

    An interrupted sweep resumes: results are kept in a file.
    """
    path, config_json = folder / f"sweep-{str(topology).replace(':', '-')}.json", to_json(config)
    earlier = read_json(path, "remove it", _SweepJson) if path.is_file() else {}
    rows = earlier["rows"] if earlier.get("config") == config_json else {}
    combinations = sweep(config, topology, batches)
    for number, settings in enumerate(combinations, 1):
        name = " ".join(settings)
        if name not in rows:
            try:
                rows[name] = compile_program(with_overrides(config, settings), topology, "train")
            except CompilerError as error:
                rows[name] = {"memory": {"fits": False}, "failed": str(error)}
            folder.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps({"config": config_json, "rows": rows}, indent=1) + "\n")
        say(f"{number}/{len(combinations)} {_line(name, rows[name])}")
    fitting = {name: rows[name] for name in map(" ".join, combinations) if rows[name]["memory"]["fits"]}
    if not fitting:
        say(f"nothing fits on {topology}; try smaller --batches")
        return False
    name = max(fitting, key=lambda name: fitting[name]["estimated"]["items_per_second"])
    path = write_report(fitting[name], folder, "best")
    flags = " ".join(f"--config.{setting}" for setting in name.split())
    say(f"best on {topology} by the experimental estimate: {flags}; {path}")
    return True


def _line(name: str, report: dict) -> str:
    if "failed" in report:
        return f"{name}: {report['failed'].splitlines()[0][:120]}"
    memory = f"{report['memory']['peak'] / 1e9:.2f} GB"
    if not report["memory"]["fits"]:
        return f"{name}: {memory}, does not fit"
    estimated = report["estimated"]
    rate, utilization = estimated["items_per_second"], estimated["utilization"]
    return f"{name}: {memory}, estimated (experimental) {rate:,.0f} items/s, {utilization:.1%} utilization"
