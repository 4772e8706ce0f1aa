"""Compiles training and decoding of every config for its TPU slices: compile time, memory, estimated time.

    python tests/benchmarks/measure_compile.py
    python tests/benchmarks/measure_compile.py --configs configs/pod_1b.py:v5e:4x4 configs/photos.py --root DIR

Runs `launch.py --mode=compile` for each config, one after another, unless its reports exist under --root, and prints a
line per program. Seconds are those of the whole command; memory is the TPU compiler's figure; time and utilization are
experimental estimates.
"""

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path

from jobs import ROOT, call, print_table

sys.path.append(str(ROOT))
from tests.helpers.every_config import every_config  # noqa: E402


def compiled(source: str, folder: Path) -> Path:
    """Returns the folder of a config's reports, and writes them where they do not exist."""
    if not (folder / "seconds.json").is_file():
        start = time.monotonic()
        call("launch.py", "--config", source, "--workdir", folder, "--mode=compile", log=folder / "compile.log")
        timing = {"seconds": time.monotonic() - start, "load": os.getloadavg()[0]}
        (folder / "seconds.json").write_text(json.dumps(timing))
    return folder


def rows(source: str, folder: Path) -> list[dict[str, str]]:
    timing, table = json.loads((folder / "seconds.json").read_text()), []
    for path in sorted((folder / "compile").glob("*.json")):
        report = json.loads(path.read_text())
        estimated, fits = report.get("estimated"), report["memory"]["fits"]
        table.append(
            {
                "config": str(Path(source).relative_to(ROOT)) if Path(source).is_absolute() else source,
                "program": f"{report['program']} on {report['topology']}",
                "batch": f"{report['batch_size']:,}",
                "parameters": f"{report['parameters'] / 1e6:,.1f} M",
                "GB a chip": f"{report['memory']['peak'] / 1e9:.2f} of {report['memory']['chip'] / 1e9:.0f}",
                "estimated": f"{estimated['seconds'] * 1e3:,.1f} ms" if fits else "does not fit",
                "utilization": f"{estimated['utilization']:.1%}" if fits else "",
                "compiled in": f"{report['compile_seconds']:.0f} s" if fits else "",
                "command": f"{timing['seconds']:.0f} s",
                "load": f"{timing['load']:.1f}",
            }
        )
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configs", nargs="+", default=every_config(), metavar="FILE[:ARG]")
    parser.add_argument("--root", type=Path, default=ROOT / "runs/compile", help="folder of the reports")
    args = parser.parse_args()
    table = []
    for source in args.configs:
        name = re.sub(r"[^\w.]+", "-", source.removeprefix(f"{ROOT}/configs/"))
        table += rows(source, compiled(source, args.root / name))
        print(table[-1], file=sys.stderr, flush=True)
    print_table(table)


if __name__ == "__main__":
    main()
