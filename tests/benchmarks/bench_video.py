"""Videos to JPEG frames: this project's data preparation against FFmpeg's command line and OpenCV, on the same files.

    python tests/benchmarks/bench_video.py [--rounds 5] [--repeat 4] [--times 3]

Every contender takes the same list of real videos and writes two frames of each second as JPEG files with a short side
of at most 256 pixels, in as many processes as there are cores. FFmpeg and OpenCV run with one decoding thread each and
with as many as they choose. Ours and OpenCV's processes are started before the clock; FFmpeg's command line has to be
started anew for each file, so there is a second list: a longer file for each core. They take turns, round after round,
and the median over rounds counts. On a machine that others use, many threads get a larger share of it: there the
seconds of video for each second of processor time say more than those by the clock.

FFmpeg's program comes with the system: `apt-get install ffmpeg`, `brew install ffmpeg`.
"""

import argparse
import functools
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np

FPS, SIZE, QUALITY = 2.0, 256, 95
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))
from tests.helpers.real_data import find_real_data  # noqa: E402

# ---- Contenders: each writes the frames of one video into a folder


def ours(path: Path, folder: Path):
    from capjax.data.photo import MediaSettings
    from capjax.data.video import VideoFile

    video = VideoFile(path)
    for shown in video.frames_at(np.arange(0, video.duration, 1 / FPS)):
        data = video.jpeg(shown.frame, MediaSettings(SIZE, QUALITY))
        for moment in shown.indices:
            (folder / f"{moment:06}.jpg").write_bytes(data)


def opencv(path: Path, folder: Path, threads: list[int]):
    import cv2

    cv2.setNumThreads(1)
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, threads)
    moment = 0
    while video.grab():
        if video.get(cv2.CAP_PROP_POS_MSEC) < moment / FPS * 1000:
            continue
        _, frame = video.retrieve()
        scale = min(1.0, SIZE / min(frame.shape[:2]))
        if scale < 1:
            frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"{moment:06}.jpg"), frame, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        moment += 1


def opencv_one_thread(path: Path, folder: Path):
    import cv2

    opencv(path, folder, [cv2.CAP_PROP_N_THREADS, 1])


def opencv_default(path: Path, folder: Path):
    opencv(path, folder, [])


def ffmpeg(path: Path, folder: Path, threads: list[str]):
    scale = f"scale=w='if(gt(iw,ih),-2,min({SIZE},iw))':h='if(gt(iw,ih),min({SIZE},ih),-2)'"
    command = ["ffmpeg", "-v", "error", *threads, "-i", path, "-vf", f"fps={FPS},{scale}", "-q:v", "2"]
    subprocess.run([*command, folder / "%06d.jpg"], check=True, stdin=subprocess.DEVNULL)


def ffmpeg_one_thread(path: Path, folder: Path):
    ffmpeg(path, folder, ["-threads", "1"])


def ffmpeg_default(path: Path, folder: Path):
    ffmpeg(path, folder, [])


CONTENDERS: dict[str, Callable[[Path, Path], None]] = {
    "capjax": ours,
    "FFmpeg, 1 thread each": ffmpeg_one_thread,
    "FFmpeg, threads as it chooses": ffmpeg_default,
    "OpenCV, 1 thread each": opencv_one_thread,
    "OpenCV, threads as it chooses": opencv_default,
}


# ---- Measurement


def warm(function: Callable, path: Path):
    with tempfile.TemporaryDirectory() as folder:
        function(path, Path(folder))
    time.sleep(1)  # so that each process gets one


def in_folder(function: Callable, task: tuple[Path, Path]) -> float:
    """Seconds of processor time that this process took."""
    path, folder = task
    folder.mkdir()
    before = time.process_time()
    function(path, folder)
    return time.process_time() - before


def children_time() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(name: str, files: list[Path], repeat: int) -> tuple[float, float, int]:
    """Seconds by the clock, seconds of processor time, and the number of frames, of one contender over all files."""
    function = CONTENDERS[name]
    with tempfile.TemporaryDirectory() as out:
        tasks = [(path, Path(out) / str(number)) for number, path in enumerate(files * repeat)]
        if programs := function in (ffmpeg_one_thread, ffmpeg_default):
            pool = ThreadPoolExecutor(CORES)
        else:
            pool = ProcessPoolExecutor(CORES, multiprocessing.get_context("spawn"))
            list(pool.map(warm, [function] * CORES, [files[0]] * CORES))
        with pool:
            before, start = children_time(), time.perf_counter()
            used = sum(pool.map(functools.partial(in_folder, function), tasks))
            seconds = time.perf_counter() - start
            if programs:
                used = children_time() - before
        return seconds, used, sum(1 for _ in Path(out).rglob("*.jpg"))


def lengthened(path: Path, times: int, folder: Path) -> Path:
    """A video over and over in one file, its packets copied."""
    made = folder / path.name
    command = ["ffmpeg", "-v", "error", "-stream_loop", str(times - 1), "-i", path, "-map", "0:v:0", "-c", "copy", made]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return made


def durations(files: list[Path]) -> list[float]:
    from capjax.data.video import VideoFile

    return [VideoFile(path).duration for path in files]


def compare(title: str, files: list[Path], repeat: int, rounds: int):
    total = sum(durations(files)) * repeat
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    costs: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name in CONTENDERS:
            seconds, used, frames = run(name, files, repeat)
            costs[name].append(total / used)
            if abs(frames - total * FPS) > 2 * len(files) * repeat + 0.01 * total:
                raise AssertionError(f"{name} gave {frames} frames of {total:.0f} s at {FPS} a second")
            rates[name].append(total / seconds)
    mine = statistics.median(rates["capjax"])
    best = max(statistics.median(values) for name, values in rates.items() if name != "capjax")
    print(f"\n{title}: {total:.0f} s of video, {CORES} cores; capjax is {mine / best:.2f} times the best other")
    print(f"{'':34}{'s of video/s':>14}{'capjax is':>12}{'each core-second':>18}{'capjax is':>12}   rounds")
    lean = statistics.median(costs["capjax"])
    for name, values in rates.items():
        rate, cost = statistics.median(values), statistics.median(costs[name])
        rounds_told = " ".join(f"{value:.0f}" for value in values)
        print(f"{name:34}{rate:14.0f}{mine / rate:11.2f}x{cost:18.0f}{lean / cost:11.2f}x   {rounds_told}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=4, help="times that the list of videos is gone through")
    parser.add_argument("--times", type=int, default=3, help="that the last video is in the longer file")
    args = parser.parse_args()
    data = find_real_data()
    files = (
        [path for name in ("msvd/YouTubeClips/*.avi", "video/*.mp4") for path in sorted(data.glob(name))]
        if data
        else []
    )
    if not files:
        print("no real videos here; $CAPJAX_DATA may name a folder with flickr8k/Flickr8k_text, msvd and video")
        return
    if shutil.which("ffmpeg") is None:
        sys.exit(f"{Path(__file__).name}: there is no ffmpeg program; `apt-get install ffmpeg`, `brew install ffmpeg`")
    compare("as they are", files, args.repeat, args.rounds)
    with tempfile.TemporaryDirectory() as folder:
        long = lengthened(files[-1], args.times, Path(folder))
        compare(f"{files[-1].name} {args.times} times in one file", [long], CORES, args.rounds)


if __name__ == "__main__":
    main()
