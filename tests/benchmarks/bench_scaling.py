"""How the time and the memory of a training step grow: over batch, model size, frames, caption length and devices.

    python tests/benchmarks/bench_scaling.py [--axis batch] [--svg FILE]

Of the model in the middle (ViT-S/16 at 112 px, 4 frames, a decoder of 4 layers, 32 pieces, batch 8, float32) one thing
is changed at a time. Each point is a process of its own: the median of its steps, and the most memory in use.
Devices are pretended, on the same cores: what more of them cost is what laying the program out costs.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from jobs import made_up_training, print_table

MIDDLE = {"batch": 8, "size": "S", "frames": 4, "length": 32, "devices": 1}
AXES = {
    "batch": (2, 4, 8, 16, 32),
    "size": ("Ti", "S", "B"),
    "frames": (1, 2, 4, 8, 16),
    "length": (16, 32, 64, 128),
    "devices": (1, 2, 4, 8),
}
ENCODERS = {"Ti": ("vit_ti16", 192), "S": ("vit_s16", 384), "B": ("vit_b16", 768)}
SIDE, STEPS = 112, 5


def measure(point: dict) -> dict:
    """{seconds, megabytes, parameters} of a point, in this process."""
    encoder, width = ENCODERS[point["size"]]
    settings = {
        "data.image_size": SIDE, "data.num_frames": point["frames"], "data.target_len": point["length"],
        "train.batch_size": point["batch"], "model.width": width, "model.encoder.name": encoder,
        "model.decoder.options.layers": 4, "model.decoder.options.heads": width // 64, "mesh.data": point["devices"],
    }  # fmt: skip
    state, step = made_up_training([f"{key}={value}" for key, value in settings.items()])
    parameters, times = sum(value.size for value in state.params.values()), []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        state = step(state)
        times.append(time.perf_counter() - start)
    return {
        "seconds": float(np.median(times[1:])),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
        "parameters": parameters,
    }


def run(point: dict) -> dict:
    """The same in a process of its own."""
    flags = f"--xla_force_host_platform_device_count={point['devices']}"
    done = subprocess.run(
        [sys.executable, __file__, "--point", json.dumps(point)], env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{point} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def draw(rows: dict[str, list[tuple]], path: Path):
    """A panel an axis: milliseconds and megabytes."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(rows), figsize=(3.2 * len(rows), 3.0), layout="constrained")
    for panel, (axis, points) in zip(panels if len(rows) > 1 else [panels], rows.items(), strict=True):
        names = [str(value) for value, _ in points]
        panel.plot(names, [1e3 * result["seconds"] for _, result in points], "o-", color="#1f5fa8")
        panel.set(title=axis, ylim=(0, None))
        panel.set_ylabel("ms a step", color="#1f5fa8")
        other = panel.twinx()
        other.plot(names, [result["megabytes"] for _, result in points], "s--", color="#b5541c")
        other.set(ylim=(0, None))
        other.set_ylabel("MB", color="#b5541c")
    figure.savefig(path, format="svg")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axis", choices=AXES, action="append", help="only this one; may be repeated")
    parser.add_argument("--svg", type=Path, help="draw the curves")
    parser.add_argument("--point", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.point:
        print(json.dumps(measure(args.point)))
        return
    rows, results = {}, {}
    for axis in args.axis or AXES:
        for value in AXES[axis]:
            point = MIDDLE | {axis: value}
            key = json.dumps(point)
            results[key] = results.get(key) or run(point)
            rows.setdefault(axis, []).append((value, results[key]))
        print_table([
            {
                axis: str(value), "ms a step": f"{1e3 * result['seconds']:.0f}", "MB": f"{result['megabytes']:.0f}",
                "parameters": f"{result['parameters'] / 1e6:.1f} M",
            }
            for value, result in rows[axis]
        ])  # fmt: skip
        print(flush=True)
    if args.svg:
        draw(rows, args.svg)


if __name__ == "__main__":
    main()
