"""What the compiler tells of a program, as JSON and as Markdown."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from capjax.compile.compiler import Compiled, DoesNotFitError, Lowered
from capjax.compile.estimate import Estimate, estimate
from capjax.compile.hlo import HloProgram
from capjax.compile.topology import Topology
from capjax.compile.traffic import FREE, arrays_in_memory
from capjax.files import write_text

ASSUMPTIONS = (
    "Products and what is fused with them take the cycles that the TPU compiler's cost model gives them, once a trip "
    "of the loops around them.",
    "Of copies, zeroes and loops of elementwise operations and sums the compiler writes a rough count alone, by which "
    "zeroes would be written at a seventh of the memory's speed. They take the time of their bytes, with the padding "
    "of tiles, at the memory's full speed, or of their operations, 4,096 a cycle, an exponential as 8; the time by the "
    "rough counts is told beside it.",
    "Collectives run on rings in both directions at the full speed of the links, 1 microsecond a hop, and nothing else "
    "uses these links; between slices each chip has its share of the network, and a hop takes 20 microseconds.",
    "A collective that the compiler starts and ends apart is hidden by what is computed between; the others are not.",
    "Input is there when it is asked for, no chip waits for another, and the host takes no time.",
    "Operations are those of matrix products and convolutions; what is computed twice is no utilization.",
)
_LARGEST = 10


def make_report(config_name: str, topology: Topology, lowered: Lowered, compiled: Compiled) -> dict:
    """Everything about one program, as JSON. Times are in seconds, sizes in bytes a chip, operations over all chips."""
    found = estimate(compiled.program, lowered.mesh, topology, trips=lowered.trips)
    chip, count = topology.chip, lowered.mesh.size
    roofline = {"flops": lowered.flops / count / chip.flops, "bytes": found.memory_bytes / chip.bandwidth}
    return {
        **_about(config_name, topology, lowered),
        "compile_seconds": compiled.seconds,
        "memory": {**compiled.memory, "chip": int(chip.memory), "fits": True, "largest": _largest(lowered, compiled)},
        "bytes_moved": found.memory_bytes,
        "collectives": _collectives(found),
        "estimated": {
            "seconds": found.seconds,
            "compute_seconds": found.compute,
            "exposed_collective_seconds": found.exposed,
            "seconds_by_rough_counts": found.by_cycles + found.exposed,
            "roofline_seconds": max(roofline.values()),
            "roofline": roofline,
            "utilization": lowered.model_flops / count / chip.flops / found.seconds,
            "items_per_second": lowered.batch_size / found.seconds,
            "compute_by_source": dict(found.by_source.most_common(_LARGEST)),
            "unknown_loops": found.unknown_loops,
        },
        "assumptions": [*ASSUMPTIONS, *lowered.assumed],
    }


def make_refusal(config_name: str, topology: Topology, lowered: Lowered, error: DoesNotFitError) -> dict:
    """What is known of a program that does not fit: `memory` tells what it needs and what there is for programs."""
    # The compiler does not always tell what takes most.
    largest = [{"name": name, "bytes": size, "kind": "array"} for size, name in error.largest] or _given(lowered)
    return {
        **_about(config_name, topology, lowered),
        "memory": {"peak": error.used, "chip": error.capacity, "fits": False, "largest": _most(largest)},
        "assumptions": list(lowered.assumed),
    }


def _about(config_name: str, topology: Topology, lowered: Lowered) -> dict:
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


def _largest(lowered: Lowered, compiled: Compiled) -> list[dict]:
    """The largest arrays on a chip: what the program is given, and what it makes."""
    return _most([*_given(lowered), *_made(compiled.program)])


def _most(arrays: list[dict]) -> list[dict]:
    return sorted(arrays, key=lambda one: -one["bytes"])[:_LARGEST]


def _given(lowered: Lowered) -> list[dict]:
    return [{"name": name, "bytes": size, "kind": "argument"} for name, size in lowered.arguments.items()]


def _made(program: HloProgram) -> list[dict]:
    made = {}
    for one, _, _ in program.runs():
        # The root of a computation is its caller's array.
        if one.opcode in FREE or one.opcode.endswith(("-start", "-done")) or one.root:
            continue
        source = program.source(one)
        for array, size in arrays_in_memory(one.shape):
            key = f"{array} {one.op_name or one.name}", source
            made[key] = max(size, made.get(key, 0))
    return [
        {"name": f"{name} ({source})" if source else name, "bytes": size, "kind": "temporary"}
        for (name, source), size in made.items()
    ]


def _collectives(found: Estimate) -> list[dict]:
    """Those of one kind, place and size as one, by the time that they leave exposed."""
    alike = defaultdict(lambda: {"runs": 0, "seconds": 0.0, "exposed_seconds": 0.0})
    for each in found.exchanges:
        one = each.collective
        entry = alike[one.kind, one.bytes, one.axes, one.source, each.overlaps]
        entry["runs"] += each.runs
        entry["seconds"] += one.seconds * each.runs
        entry["exposed_seconds"] += each.exposed
    rows = [
        {"kind": kind, "bytes": size, "axes": list(axes), "source": source, "overlaps": overlaps, **entry}
        for (kind, size, axes, source, overlaps), entry in alike.items()
    ]
    return sorted(rows, key=lambda row: (-row["exposed_seconds"], -row["seconds"]))


def to_markdown(report: Mapping) -> str:
    """For people."""
    sizes = " x ".join(f"{axis} {size}" for axis, size in report["mesh"].items() if size > 1)
    mesh = f"{report['chips']} chips as {sizes}" if sizes else "One chip"
    lines = [
        f"# {report['config']}, {report['program']}, on {report['topology']}",
        "",
        f"{mesh}; a batch of {report['batch_size']:,}; {report['parameters'] / 1e6:,.1f} M parameters.",
        "",
        *(_told(report) if report["memory"]["fits"] else _refused(report)),
    ]
    if report["assumptions"]:
        lines += ["", "## Assumptions", "", *(f"- {line}" for line in report["assumptions"])]
    return "\n".join(lines) + "\n"


def _refused(report: Mapping) -> list[str]:
    memory = report["memory"]
    lines = [
        f"**Does not fit**: it needs {_gb(memory['peak'])} a chip, which has {_gb(memory['chip'])} for programs.",
        "",
        *_arrays(memory),
    ]
    if (advice := report.get("advice")) is not None:
        lines += ["", advice]
    return lines


def _arrays(memory: Mapping) -> list[str]:
    rows = [f"- {_mb(row['bytes'])}, {row['kind']}: {row['name']}" for row in memory["largest"]]
    return ["## Largest arrays on a chip", "", *rows]


def _told(report: Mapping) -> list[str]:
    memory, guess = report["memory"], report["estimated"]
    lines = [
        "| what | figure |",
        "|---|---|",
        f"| memory a chip | at most {_gb(memory['peak'])} of {_gb(memory['chip'])} at a time; arguments "
        f"{_gb(memory['arguments'])}, set aside for temporaries {_gb(memory['temporaries'])} |",
        f"| compiled in | {report['compile_seconds']:.0f} s |",
        f"| operations | {report['flops']:.3g}, {report['flops'] / report['chips']:.3g} a chip |",
        f"| bytes moved a chip | {_gb(report['bytes_moved'])} |",
        f"| estimated time | {_ms(guess['seconds'])}: computing {_ms(guess['compute_seconds'])}, waiting for other "
        f"chips {_ms(guess['exposed_collective_seconds'])} |",
        f"| by the compiler's rough counts | {_ms(guess['seconds_by_rough_counts'])}: utilization "
        f"{guess['utilization'] * guess['seconds'] / guess['seconds_by_rough_counts']:.1%} |",
        f"| roofline | {_ms(guess['roofline_seconds'])}: operations {_ms(guess['roofline']['flops'])}, memory "
        f"{_ms(guess['roofline']['bytes'])} |",
        f"| estimated model-FLOPs utilization | {guess['utilization']:.1%} |",
        f"| estimated items/s | {guess['items_per_second']:,.0f} |",
        "",
        "## Collectives",
        "",
        "| what | axes | array | runs | alone | exposed | overlaps | asked for by |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {row['kind']} | {', '.join(row['axes'])} | {_mb(row['bytes'])} | {row['runs']} | "
            f"{_ms(row['seconds'])} | {_ms(row['exposed_seconds'])} | {'yes' if row['overlaps'] else 'no'} | "
            f"{row['source']} |"
            for row in report["collectives"]
        ),
        "",
        *_arrays(memory),
        "",
        "## Where time goes, as estimated",
        "",
        *(f"- {_ms(seconds)}: {source}" for source, seconds in guess["compute_by_source"].items()),
    ]
    if guess["unknown_loops"]:
        lines += ["", f"{guess['unknown_loops']} loops end when the data say so: they count as long as they may be."]
    return lines


def write_report(report: Mapping, folder: Path, name: str = "") -> Path:
    """Writes NAME-SLICE.json and NAME-SLICE.md, by the program's name unless another is given; returns the path of the
    latter."""
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
