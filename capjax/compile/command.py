"""What `launch.py --mode=compile` does: reports on programs for TPU slices, and a search for better meshes."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from capjax.compile.programs import NAMES, DoesNotFitError, compile_lowered, lower, mesh_of
from capjax.compile.report import make_report, write_report
from capjax.compile.sweep import changed, smaller, sweep
from capjax.compile.topology import Topology
from capjax.config import ConfigError, to_json
from capjax.files import write_text


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
    for topology in map(Topology.parse, topologies or config.compile.topologies):
        if batches is not None:
            fits &= _sweep(config, topology, batches, folder, say)
            continue
        for program in NAMES:
            try:
                report = _report(config, topology, program)
            except DoesNotFitError as error:
                say(_advice(config, topology, program, error, say))
                fits = False
                continue
            path, guess = write_report(report, folder), report["estimated"]
            say(
                f"{program} on {topology}: {report['memory']['peak'] / 1e9:.2f} of "
                f"{report['memory']['chip'] / 1e9:.0f} GB a chip, estimated {guess['seconds'] * 1e3:,.1f} ms and "
                f"{guess['utilisation']:.1%} utilisation; {path}"
            )
    return fits


def _report(config, topology: Topology, program: str) -> dict:
    lowered = lower(config, mesh_of(config, topology), program)
    return make_report(config.name, topology, lowered, compile_lowered(lowered))


def _advice(config, topology: Topology, program: str, error: DoesNotFitError, say: Callable) -> str:
    """What does not fit, and what would; that is compiled to be sure."""
    say(f"{program} does not fit on {topology}: {error}. Looking for what does ...")
    lines = [f"{program} on {topology} does not fit: {error}"]
    lines += [f"  {size / 1e9:.2f} GB: {name}" for size, name in error.largest[:5]]
    for settings in smaller(config, topology, program):
        try:
            report = _report(changed(config, settings), topology, program)
        except (DoesNotFitError, ConfigError):
            continue
        flags = " ".join(f"--config.{setting}" for setting in settings)
        return "\n".join([*lines, f"It fits, in {report['memory']['peak'] / 1e9:.2f} GB a chip, with {flags}"])
    return "\n".join([*lines, "Nothing that was tried fits: use a larger slice, or a smaller model"])


def _sweep(config, topology: Topology, batches: Sequence[int], folder: Path, say: Callable) -> bool:
    """Tries everything, each once however often it is interrupted, and says which gives the most items a second."""
    path, about = folder / f"sweep-{str(topology).replace(':', '-')}.json", to_json(config)
    done = json.loads(path.read_text()) if path.is_file() else {}
    rows = done["rows"] if done.get("config") == about else {}
    wanted = list(sweep(config, topology, batches))
    if not wanted:
        raise ConfigError(
            f"--sweep on {topology}: no mesh divides a batch of {config.train.batch_size} over its {topology.count} "
            "chips; give another with --batches"
        )
    for number, settings in enumerate(wanted, 1):
        name = " ".join(settings)
        if name not in rows:
            try:
                rows[name] = _report(changed(config, settings), topology, "train")
            except DoesNotFitError as error:
                rows[name] = {"memory": {"fits": False, "peak": error.used}}
            folder.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps({"config": about, "rows": rows}, indent=1) + "\n")
        say(f"{number}/{len(wanted)} {_line(name, rows[name])}")
    fitting = {name: rows[name] for name in map(" ".join, wanted) if rows[name]["memory"]["fits"]}
    if not fitting:
        say(f"nothing fits on {topology}; try smaller --batches")
        return False
    name = max(fitting, key=lambda name: fitting[name]["estimated"]["items_per_second"])
    write_report(fitting[name], folder)
    say(f"best on {topology}: " + " ".join(f"--config.{setting}" for setting in name.split()))
    return True


def _line(name: str, report: dict) -> str:
    memory = f"{report['memory']['peak'] / 1e9:.2f} GB"
    if not report["memory"]["fits"]:
        return f"{name}: {memory}, does not fit"
    guess = report["estimated"]
    return f"{name}: {memory}, {guess['items_per_second']:,.0f} items/s, {guess['utilisation']:.1%} utilisation"
