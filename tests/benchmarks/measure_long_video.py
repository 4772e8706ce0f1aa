"""Memory of preparing a video of two hours in 1080p, and what is left of it after a kill.

    python tests/benchmarks/measure_long_video.py [--hours 2] [--rate 25] [--fps 2] [--video FILE]

Makes the video with FFmpeg's program (20 s of a test picture, its packets copied over and over), prepares it once from
start to end, and once more with a SIGKILL on the way, after which the same command goes on. Prints the largest resident
memory of all processes together, the seconds, the lines of progress, how much the second start found done, and whether
both gave the same bytes.
"""

import argparse
import filecmp
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PART = 20


def make_video(path: Path, hours: float, rate: float):
    if shutil.which("ffmpeg") is None:
        sys.exit(f"{Path(__file__).name}: there is no ffmpeg program; `apt-get install ffmpeg`, `brew install ffmpeg`")
    part = path.with_name("part.mp4")
    source = ["-f", "lavfi", "-i", f"testsrc=size=1920x1080:rate={rate:g}:duration={PART}"]
    codec = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "4", "-g", "250", "-pix_fmt", "yuv420p"]
    subprocess.run(["ffmpeg", "-v", "error", *source, *codec, part], check=True)
    times = math.ceil(hours * 3600 / PART)
    subprocess.run(
        ["ffmpeg", "-v", "error", "-stream_loop", str(times - 1), "-i", part, "-c", "copy", path], check=True
    )


def build(video: Path, output: Path, fps: float):
    sys.path.insert(0, str(ROOT))
    from capjax.data.record import RecordCaption
    from data_prep.build import RecordBuilder
    from data_prep.media import Storage
    from data_prep.readers.item import Item

    captions = tuple(RecordCaption(f"part {k}", "en", 60.0 * k, 60.0 * k + 60, "event") for k in range(119))
    item = Item("long", video, "train", captions, where="here", name=video.name, video=True)
    RecordBuilder(name="long", reader=iter([item]), output_dir=output, settings=Storage(fps=fps)).download_and_prepare()


def start(video: Path, output: Path, fps: float) -> subprocess.Popen:
    command = [sys.executable, __file__, "--build", str(output), "--video", str(video), "--fps", str(fps)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def tree(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(one for child in children for one in tree(int(child)))]


def resident(pid: int) -> float:
    """MB of a process and all that it started."""
    total = 0
    for one in tree(pid):
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        except OSError:
            continue
    return total / 2**20


def watch(process: subprocess.Popen, limit: float = math.inf) -> tuple[float, float, list[str]]:
    """(largest MB, seconds, lines of progress). Kills it after `limit` seconds."""
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stderr.read().replace("\r", "\n").split("\n")))
    reader.start()
    peak, begin = 0.0, time.monotonic()
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        if time.monotonic() - begin > limit:
            process.kill()
        time.sleep(0.1)
    reader.join()
    if process.returncode not in (0, -9):
        sys.exit("\n".join(lines[-30:]))
    return peak, time.monotonic() - begin, [line for line in lines if "%|" in line]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--rate", type=float, default=25.0, help="frames a second of the video")
    parser.add_argument("--fps", type=float, default=2.0, help="that are kept")
    parser.add_argument("--video", type=Path, help="take this one instead")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.build:
        build(args.video, args.build, args.fps)
        return
    with tempfile.TemporaryDirectory() as name:
        folder, video = Path(name), args.video or Path(name) / "long.mp4"
        if not args.video:
            make_video(video, args.hours, args.rate)
        peak, seconds, progress = watch(start(video, folder / "whole", args.fps))
        print(f"unbroken: {peak:.0f} MB at most, {seconds:.0f} s, {len(progress)} lines of progress; one of them:")
        print(progress[len(progress) // 2], flush=True)
        killed, _, _ = watch(start(video, folder / "killed", args.fps), limit=seconds / 2)
        resumed, seconds, progress = watch(start(video, folder / "killed", args.fps))
        names = sorted(path.name for path in (folder / "whole").iterdir())
        others = [name for name in names if not filecmp.cmp(folder / "whole" / name, folder / "killed" / name, False)]
        print(
            f"killed at half of that time: {killed:.0f} MB; resumed: {resumed:.0f} MB, {seconds:.0f} s; first progress:"
        )
        print(progress[1] if len(progress) > 1 else progress)
        print(f"OTHER BYTES: {', '.join(others)}" if others else "the same bytes")


if __name__ == "__main__":
    main()
