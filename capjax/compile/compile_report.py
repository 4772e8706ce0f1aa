"""Reports on compiled programs, as JSON and as Markdown."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from capjax.compile.compiler import CompiledProgram, DoesNotFitError, LoweredProgram
from capjax.compile.estimate import Estimate, estimate
from capjax.compile.hlo import HloProgram
from capjax.compile.memory_traffic import FREE, arrays_in_memory
from capjax.compile.topology import Topology
from capjax.files import write_text

ASSUMPTIONS = (
    "Times, utilization and items/s are experimental estimates: they have not been checked on a TPU.",
    "Matrix products and their fusions take the cycles of the TPU compiler's cost model, once per trip of the loops "
    "around them.",
    "For copies, zero fills and loops of elementwise operations and sums the compiler has rough counts only. They take "
    "the time of their bytes, padding of tiles included, at the memory's full speed, or of their operations, 4,096 per "
    "cycle, an exponential as 8; the time by the rough counts is given beside it.",
    "Collectives run on rings in both directions at the full speed of the links, 1 microsecond per hop, and nothing "
    "else uses these links; between slices each chip has its share of the network, and a hop takes 20 microseconds.",
    "A collective with separate start and end is hidden by the computation between them; the others are not.",
    "Input is always ready, no chip waits for another, and the host takes no time.",
    "Operations are those of matrix products and convolutions; rematerialization does not count as utilization.",
)
_LARGEST = 10


def make_report(config_name: str, topology: Topology, lowered: LoweredProgram, compiled: CompiledProgram) -> dict:
    """Returns the report on a program, as JSON: seconds, bytes per chip, operations over all chips."""
    estimated = estimate(compiled.program, lowered.mesh, topology, default_trips=lowered.max_trips)
    chip, count = topology.chip, lowered.mesh.size
    roofline = {"flops": lowered.flops / count / chip.flops, "bytes": estimated.memory_bytes / chip.bandwidth}
    largest = _largest([*_arguments(lowered), *_temporaries(compiled.program)])
    return {
        **_summary(config_name, topology, lowered),
        "compile_seconds": compiled.seconds,
        "memory": {**compiled.memory, "chip": int(chip.memory), "fits": True, "largest": largest},
        "bytes_moved": estimated.memory_bytes,
        "collectives": _collectives(estimated),
        "estimated": {
            "seconds": estimated.seconds,
            "compute_seconds": estimated.compute,
            "exposed_collective_seconds": estimated.exposed,
            "seconds_by_rough_counts": estimated.by_cycles + estimated.exposed,
            "roofline_seconds": max(roofline.values()),
            "roofline": roofline,
            "utilization": lowered.model_flops / count / chip.flops / estimated.seconds,
            "items_per_second": lowered.batch_size / estimated.seconds,
            "compute_by_source": dict(sorted(estimated.by_source.items(), key=lambda item: -item[1])[:_LARGEST]),
            "unknown_loops": estimated.unknown_loops,
        },
        "assumptions": [*ASSUMPTIONS, *lowered.assumptions],
    }


def make_refusal(config_name: str, topology: Topology, lowered: LoweredProgram, error: DoesNotFitError) -> dict:
    """Returns the report on a program that does not fit: `memory` holds what it needs and what a chip has."""
    # The compiler does not always name the largest arrays.
    largest = [{"name": name, "bytes": size, "kind": "array"} for size, name in error.largest] or _arguments(lowered)
    return {
        **_summary(config_name, topology, lowered),
        "memory": {"peak": error.used, "chip": error.capacity, "fits": False, "largest": _largest(largest)},
        "assumptions": list(lowered.assumptions),
    }


def _summary(config_name: str, topology: Topology, lowered: LoweredProgram) -> dict:
    return {
        "config": config_name,
        "program": lowered.name,
        "topology": str(topology),
        "chips": lowered.mesh.size,
        "mesh": dict(lowered.mesh.shape),
        "batch_size": lowered.batch_size,
        "parameters": lowered.parameters,
        "flops": lowered.flops,
        "model_flops": lowered.model_flops,
    }


def _largest(arrays: list[dict]) -> list[dict]:
    return sorted(arrays, key=lambda array: -array["bytes"])[:_LARGEST]


def _arguments(lowered: LoweredProgram) -> list[dict]:
    return [{"name": name, "bytes": size, "kind": "argument"} for name, size in lowered.arguments.items()]


def _temporaries(program: HloProgram) -> list[dict]:
    sizes: dict[tuple[str, str], int] = {}
    for instruction, _ in program.runs():
        # The root of a computation is its caller's array.
        if instruction.opcode in FREE or instruction.opcode.endswith(("-start", "-done")) or instruction.root:
            continue
        source = program.source(instruction)
        for array, size in arrays_in_memory(instruction.shape):
            key = f"{array} {instruction.op_name or instruction.name}", source
            sizes[key] = max(size, sizes.get(key, 0))
    return [
        {"name": f"{name} ({source})" if source else name, "bytes": size, "kind": "temporary"}
        for (name, source), size in sizes.items()
    ]


def _collectives(estimated: Estimate) -> list[dict]:
    """Collectives, those of the same kind, axes, size and source in one row, by their exposed time."""
    totals: dict[tuple, dict[str, float]] = defaultdict(lambda: {"runs": 0, "seconds": 0.0, "exposed_seconds": 0.0})
    for timed in estimated.collectives:
        collective = timed.collective
        total = totals[collective.kind, collective.bytes, collective.axes, collective.source, timed.overlaps]
        total["runs"] += timed.runs
        total["seconds"] += collective.seconds * timed.runs
        total["exposed_seconds"] += timed.exposed
    rows = [
        {"kind": kind, "bytes": size, "axes": list(axes), "source": source, "overlaps": overlaps, **total}
        for (kind, size, axes, source, overlaps), total in totals.items()
    ]
    return sorted(rows, key=lambda row: (-row["exposed_seconds"], -row["seconds"]))


def to_markdown(report: Mapping) -> str:
    """Returns a report as Markdown."""
    sizes = " x ".join(f"{axis} {size}" for axis, size in report["mesh"].items() if size > 1)
    mesh = f"{report['chips']} chips as {sizes}" if sizes else "One chip"
    lines = [
        f"# {report['config']}, {report['program']}, on {report['topology']}",
        "",
        f"{mesh}; a batch of {report['batch_size']:,}; {report['parameters'] / 1e6:,.1f} M parameters.",
        "",
        *(_figures(report) if report["memory"]["fits"] else _refusal(report)),
    ]
    if report["assumptions"]:
        lines += ["", "## Assumptions", "", *(f"- {line}" for line in report["assumptions"])]
    return "\n".join(lines) + "\n"


def _refusal(report: Mapping) -> list[str]:
    memory = report["memory"]
    lines = [
        f"**Does not fit**: it needs {_gb(memory['peak'])} a chip, which has {_gb(memory['chip'])} for programs.",
        "",
        *_largest_arrays(memory),
    ]
    if (advice := report.get("advice")) is not None:
        lines += ["", advice]
    return lines


def _largest_arrays(memory: Mapping) -> list[str]:
    rows = [f"- {_mb(row['bytes'])}, {row['kind']}: {row['name']}" for row in memory["largest"]]
    return ["## Largest arrays on a chip", "", *rows]


def _figures(report: Mapping) -> list[str]:
    memory, estimated = report["memory"], report["estimated"]
    seconds, rough = estimated["seconds"], estimated["seconds_by_rough_counts"]
    lines = [
        "| what | figure |",
        "|---|---|",
        f"| memory per chip | peak {_gb(memory['peak'])} of {_gb(memory['chip'])}; arguments "
        f"{_gb(memory['arguments'])}, reserved for temporaries {_gb(memory['temporaries'])} |",
        f"| compiled in | {report['compile_seconds']:.0f} s |",
        f"| operations | {report['flops']:.3g}, {report['flops'] / report['chips']:.3g} per chip |",
        f"| bytes moved per chip | {_gb(report['bytes_moved'])} |",
        f"| estimated time (experimental) | {_ms(seconds)}: computation {_ms(estimated['compute_seconds'])}, exposed "
        f"collectives {_ms(estimated['exposed_collective_seconds'])} |",
        f"| by the compiler's rough counts | {_ms(rough)}: utilization "
        f"{estimated['utilization'] * seconds / rough:.1%} |",
        f"| roofline | {_ms(estimated['roofline_seconds'])}: operations {_ms(estimated['roofline']['flops'])}, memory "
        f"{_ms(estimated['roofline']['bytes'])} |",
        f"| estimated model-FLOPs utilization (experimental) | {estimated['utilization']:.1%} |",
        f"| estimated items/s (experimental) | {estimated['items_per_second']:,.0f} |",
        "",
        "## Collectives",
        "",
        "| what | axes | array | runs | alone | exposed | overlaps | source |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {row['kind']} | {', '.join(row['axes'])} | {_mb(row['bytes'])} | {row['runs']} | "
            f"{_ms(row['seconds'])} | {_ms(row['exposed_seconds'])} | {'yes' if row['overlaps'] else 'no'} | "
            f"{row['source']} |"
            for row in report["collectives"]
        ),
        "",
        *_largest_arrays(memory),
        "",
        "## Estimated time by source line (experimental)",
        "",
        *(f"- {_ms(seconds)}: {source}" for source, seconds in estimated["compute_by_source"].items()),
    ]
    if estimated["unknown_loops"]:
        lines += ["", f"{estimated['unknown_loops']} loops have a data-dependent length: their upper limit counts."]
    return lines


def write_report(report: Mapping, folder: Path, name: str = "") -> Path:
    """Writes NAME-SLICE.json and NAME-SLICE.md and returns the path of the latter.

    Args:
      name: the program's where empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{name or report['program']}-{report['topology'].replace(':', '-')}"
    write_text(folder / f"{name}.json", json.dumps(report, indent=1) + "\n")
    write_text(folder / f"{name}.md", to_markdown(report))
    return folder / f"{name}.md"


def _gb(size: float) -> str:
    return f"{size / 1e9:.2f} GB"


def _mb(size: float) -> str:
    return f"{size / 1e6:,.3g} MB"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f} ms"
