"""All benchmarks in one command and one report.

    python tests/benchmarks/report.py [--output runs/bench] [--all]

Runs every bench_*.py beside this file, with --all also every measure_*.py (trainings: about a day on two cores), one
after another, and writes OUTPUT/report.md with the machine and what each printed, and OUTPUT/COMMIT/scaling.svg. What
has been run for this commit, with the same changes to it, is not run again: an interrupted report goes on when the
command is repeated.
"""

import argparse
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "grain", "torch", "transformers", "tensorflow-cpu", "opencv-python-headless",
    "pycocoevalcap",
)  # fmt: skip


def machine() -> list[str]:
    """Lines of Markdown that say what it was measured on."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next((int(line.split()[1]) / 2**20 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    busy = _busy()
    versions = [f"{name} {version}" for name in PACKAGES if (version := _version(name))]
    return [
        f"- {names[0] if names else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GB of memory, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        f"- processors busy before it began: {busy:.0%}" + (": NOT IDLE, times are too long" if busy > 0.1 else ""),
        f"- {', '.join(versions)}",
    ]


def _busy(seconds: float = 2.0) -> float:
    """The share of the processors' time that others use now; the load average would remember the installing before."""

    def look() -> tuple[int, int]:
        ticks = [int(number) for number in next(iter(_lines("/proc/stat")), "cpu 0 0 0 0 0").split()[1:]]
        return sum(ticks), ticks[3] + ticks[4]  # all, and idle with waiting for the disk

    before, idle_before = look()
    time.sleep(seconds)
    after, idle = look()
    return 1 - (idle - idle_before) / (after - before) if after > before else 0.0


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit() -> str:
    """Of the code that is measured; what was changed since has a hash of its own."""

    def git(*args: str) -> bytes:
        return subprocess.run(["git", *args], cwd=ROOT, capture_output=True).stdout

    changed = git("diff", "HEAD")
    for path in git("ls-files", "--others", "--exclude-standard", "-z").split(b"\0")[:-1]:
        changed += path + b"\0" + (ROOT / os.fsdecode(path)).read_bytes()
    name = git("describe", "--always", "--abbrev=12").decode().strip() or "unknown"
    return f"{name}-dirty-{hashlib.sha256(changed).hexdigest()[:8]}" if changed else name


def run(script: Path, output: Path, options: list[str]) -> tuple[float, int]:
    """Its seconds and exit status; what it prints goes to `output` when it has ended well."""
    start, aside = time.monotonic(), output.with_suffix(".partial")
    with aside.open("w") as file, output.with_suffix(".log").open("w") as log:
        done = subprocess.run([sys.executable, str(script), *options], stdout=file, stderr=log)
    seconds = time.monotonic() - start
    if done.returncode == 0:
        with aside.open("a") as file:
            file.write(f"\n({seconds / 60:.1f} minutes)\n")
        aside.rename(output)
    return seconds, done.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/bench"), metavar="DIR")
    parser.add_argument("--all", action="store_true", help="also what trains for hours")
    args = parser.parse_args()
    version = commit()
    folder = args.output / version
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "machine.md").is_file():
        (folder / "machine.md").write_text("\n".join(machine()) + "\n")
    scripts = sorted(HERE.glob("bench_*.py")) + (sorted(HERE.glob("measure_*.py")) if args.all else [])
    parts, failed = [], 0
    for number, script in enumerate(scripts, 1):
        output = folder / f"{script.stem}.txt"
        options = ["--svg", str(folder / "scaling.svg")] if script.stem == "bench_scaling" else []
        if output.is_file():
            print(f"{number}/{len(scripts)} {script.stem}: has been run for {version}", flush=True)
        else:
            print(f"{number}/{len(scripts)} {script.stem} ...", flush=True)
            seconds, status = run(script, output, options)
            print(f"{number}/{len(scripts)} {script.stem}: {seconds:.0f} s" + f", FAILED ({status})" * bool(status))
        title = script.read_text().split('"""')[1].splitlines()[0]
        parts += [f"## {title}", "", f"`python tests/benchmarks/{script.name}`", ""]
        if output.is_file():
            parts += ["```", output.read_text().strip(), "```", ""]
            parts += [f"![Scaling curves]({version}/scaling.svg)", ""] * bool(options)
        else:
            failed += 1
            parts += [f"Failed; see `{version}/{script.stem}.log`.", ""]
        head = [f"# Benchmarks of capjax {version}", "", (folder / "machine.md").read_text()]
        aside = args.output / "report.md.partial"
        aside.write_text("\n".join(head + parts))
        aside.rename(args.output / "report.md")
    print(f"{args.output / 'report.md'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
