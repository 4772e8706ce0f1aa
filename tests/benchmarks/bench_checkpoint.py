"""What a checkpoint costs: the steps beside it, and the disk against a plain copy.

    python tests/benchmarks/bench_checkpoint.py [--folder DIR]

A ViT-S/16 with a decoder of 6 layers under AdamW (batch 16, 112 px, float32) takes steps, some without a save and some
with one at their beginning, which is written while they run. The stall is what the latter took longer, as a share of
the steps between two saves. Then a save alone is timed, until all is on disk, and a plain copy of the same
files, each made sure of with fsync. At last the files are compared with their digests, and the weights are loaded, both
from the page cache.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from jobs import made_up_training

EVERY = 100  # steps between two saves
SETTINGS = (
    "data.image_size=112", "train.batch_size=16", "model.width=384", "model.encoder.name=vit_s16",
    "model.decoder.options.layers=6", "model.decoder.options.heads=6",
)  # fmt: skip


def synced(path: Path):
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.close(file)


def copied(source: Path, target: Path) -> tuple[int, float]:
    """(bytes, seconds) of a copy of a folder that is on disk at the end."""
    start, size = time.perf_counter(), 0
    for path in sorted(source.rglob("*")):
        to = target / path.relative_to(source)
        if path.is_dir():
            to.mkdir(parents=True)
            continue
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)
        synced(to)
        size += path.stat().st_size
    return size, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="on the disk to measure (default: the one for temporary files)")
    parser.add_argument("--steps", type=int, default=12, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    state, step = made_up_training(SETTINGS)
    from capjax.digests import verify
    from capjax.workdir.checkpoint import Checkpoints, load_weights

    def taken(state) -> tuple[float, object]:
        start = time.perf_counter()
        for _ in range(args.steps):
            state = step(state)
        return time.perf_counter() - start, state

    state = step(state)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        workdir = Path(name)
        checkpoints = Checkpoints(workdir, keep=1)
        checkpoints.save(1, state, {})
        checkpoints.wait()
        plain, beside = [], []
        for number in range(args.rounds):
            seconds, state = taken(state)
            plain.append(seconds)
            start = time.perf_counter()
            checkpoints.save(2 + number, state, {})
            called = time.perf_counter() - start
            seconds, state = taken(state)
            beside.append(called + seconds)
            checkpoints.wait()
        one = statistics.median(plain) / args.steps
        stall = statistics.median(beside) - statistics.median(plain)
        print(
            f"a step takes {1e3 * one:.0f} ms; a save holds up the steps beside it for {1e3 * stall:.0f} ms in all, of "
            f"which its call {1e3 * called:.0f} ms: {stall / (EVERY * one):.2%} of {EVERY} steps"
        )
        start = time.perf_counter()
        checkpoints.save(100, state, {})
        checkpoints.wait()
        for path in (workdir / "checkpoints").rglob("*"):
            if path.is_file():
                synced(path)
        seconds = time.perf_counter() - start
        size, plain_copy = copied(workdir / "checkpoints/100", workdir / "copy")
        print(
            f"{size / 2**20:.0f} MB: saved at {size / seconds / 2**20:.0f} MB/s, copied plainly at "
            f"{size / plain_copy / 2**20:.0f} MB/s, ratio {plain_copy / seconds:.2f}"
        )
        checkpoints.close()
        start = time.perf_counter()
        verify(workdir / "checkpoints/100/state")
        verified = time.perf_counter() - start
        start = time.perf_counter()
        load_weights(workdir)
        loaded = time.perf_counter() - start
        print(
            f"verified at {size / verified / 2**20:.0f} MB/s, {verified / size * 1e9:.2f} s per GB; loaded at "
            f"{size / loaded / 2**20:.0f} MB/s, of which {verified / loaded:.0%} verify"
        )


if __name__ == "__main__":
    main()
