"""Compares a config's mesh with plain data parallelism and plain FSDP on TPU slices, compiled by the TPU compiler.

    python tests/benchmarks/measure_meshes.py
    python tests/benchmarks/measure_meshes.py --config configs/pod_3b.py --slices v5e:16x16 --also fsdp=16,tensor=2

The config takes a slice as its argument. Each mesh is compiled with the config's batch for the slice, unless its report
exists under --root. Times are experimental estimates. The last lines show how the time grows from slice to slice.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from jobs import ROOT, print_table

sys.path.insert(0, str(ROOT))

SLICES = ("v5e:4x4", "v5e:16x16", "4xv5e:16x16", "v5p:4x4x4", "v6e:16x16")


def meshes(config, topology, also) -> dict[str, list[str]]:
    """{name: settings}, without meshes equal to the config's."""
    chips = topology.count // topology.slices
    config_sizes = config.mesh.fsdp, config.mesh.tensor
    candidates = {"the config's": config_sizes, "data parallel": (1, 1), "FSDP": (chips, 1)}
    for text in also:
        sizes = dict(part.split("=") for part in text.split(","))
        candidates[text] = int(sizes.get("fsdp", 1)), int(sizes.get("tensor", 1))
    return {
        name: [f"mesh.fsdp={fsdp}", f"mesh.tensor={tensor}", f"mesh.data={chips // (fsdp * tensor)}"]
        for name, (fsdp, tensor) in candidates.items()
        if name == "the config's" or (fsdp, tensor) != config_sizes
    }


def compiled(config, topology, path: Path) -> dict:
    """The report of the training step."""
    from capjax.compile.compile_job import compile_program
    from capjax.files import write_text

    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(compile_program(config, topology, "train")))
    return json.loads(path.read_text())


def row(slice_name: str, name: str, batch: int, report: dict) -> dict[str, str]:
    sizes = " x ".join(f"{axis} {size}" for axis, size in report["mesh"].items() if size > 1)
    cells = {"slice": slice_name, "batch": f"{batch:,}", "mesh": f"{name}: {sizes}"}
    cells["GB a chip"] = f"{report['memory']['peak'] / 1e9:.1f}"
    if not report["memory"]["fits"]:
        cells["GB a chip"] += ": does not fit"
        return cells | dict.fromkeys(("estimated", "of it waiting", "utilization"), "")
    estimated = report["estimated"]
    return cells | {
        "estimated": f"{estimated['seconds'] * 1e3:,.1f} ms",
        "of it waiting": f"{estimated['exposed_collective_seconds'] * 1e3:,.1f} ms",
        "utilization": f"{estimated['utilization']:.1%}",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default=str(ROOT / "configs/pod_1b.py"), metavar="FILE")
    parser.add_argument("--slices", nargs="+", default=SLICES, metavar="NAME")
    parser.add_argument("--also", nargs="+", default=[], metavar="fsdp=N,tensor=N", help="further meshes")
    parser.add_argument("--root", type=Path, default=ROOT / "runs/meshes", help="folder of the reports")
    args = parser.parse_args()
    from capjax import config as config_lib
    from capjax import runtime
    from capjax.compile.topology import Topology
    from capjax.config import with_overrides

    runtime.start(compiles_only=True)
    table, first = [], {}
    for slice_name in args.slices:
        config = config_lib.load(f"{args.config}:{slice_name}")
        topology = Topology.parse(slice_name)
        for name, settings in meshes(config, topology, args.also).items():
            label = re.sub(r"[^\w.=]+", "-", f"{Path(args.config).stem}-{slice_name}-{'-'.join(settings)}")
            report = compiled(with_overrides(config, settings), topology, args.root / f"{label}.json")
            table.append(row(slice_name, name, config.train.batch_size, report))
            print(table[-1], file=sys.stderr, flush=True)
            if name == "the config's" and report["memory"]["fits"]:
                first[slice_name] = report["estimated"]["seconds"] / (config.train.batch_size / topology.count)
    print_table(table)
    for kind in sorted({name.partition(":")[0].rpartition("x")[2] for name in first}):
        alike = {name: value for name, value in first.items() if name.partition(":")[0].rpartition("x")[2] == kind}
        start = next(iter(alike))
        for name, seconds in alike.items():
            if name != start:
                print(f"{name} against {start}: {seconds / alike[start] - 1:+.1%} time an item of a chip")


if __name__ == "__main__":
    main()
