"""Measures `capjax serve` under overload, and when it is killed with jobs in its queue.

    python tests/benchmarks/measure_serve.py overload --workdir runs/flickr8k --media photos/*.jpg
    python tests/benchmarks/measure_serve.py kills --workdir runs/events --media clips/*.mp4

`overload`: the best rate of 64 clients, then requests at ten times this rate for two minutes, whether answers come or
not. `kills`: 50 jobs are submitted, and the server is killed with SIGKILL and started again 20 times while it works on
them; at the end each job has the result that `Predictor` gives in this process.
"""

import argparse
import asyncio
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import uvloop  # of the extra `serve`; a cheaper load generator leaves more of the machine to the server

PORT = 8611


def start(args, *options: str) -> subprocess.Popen:
    """Starts a server and waits until it is ready."""
    command = [
        sys.executable, "-m", "capjax", "serve", "--workdir", f"measured={args.workdir}", "--port", str(PORT),
        *(f"--decode={each}" for each in args.decode), *options,
    ]  # fmt: skip
    log = Path(args.log).open("a")  # noqa: SIM115 - the process writes to it
    server = subprocess.Popen(command, stderr=log)
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/readyz", timeout=5):
                return server
        except OSError:
            if server.poll() is not None:
                raise RuntimeError(f"the server ended; see {args.log}") from None
            time.sleep(0.1)


def ask(method: str, path: str, body: bytes | None = None) -> dict:
    """Returns the JSON of an answer."""
    headers = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", body, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


# ---- Overload


async def _post(photo: bytes, answers: list[tuple[int, float, float]]):
    """Sends a photo over a connection of its own; appends status, time of the answer, and seconds."""
    start = time.perf_counter()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        head = f"POST /v1/captions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(photo)}\r\n"
        writer.write(head.encode() + b"Content-Type: image/jpeg\r\n\r\n" + photo)
        status = int((await reader.read(-1)).split(b" ", 2)[1])
        writer.close()
    except (OSError, IndexError):
        status = 0
    now = time.perf_counter()
    answers.append((status, now, now - start))


async def _closed(photos: list[bytes], clients: int, seconds: float) -> float:
    answers: list[tuple[int, float, float]] = []
    end = time.perf_counter() + seconds

    async def client(number: int):
        while time.perf_counter() < end:
            await _post(photos[number % len(photos)], answers)
            number += clients

    await asyncio.gather(*map(client, range(clients)))
    return sum(status == 200 for status, *_ in answers) / seconds


async def _open(photos: list[bytes], rate: float, seconds: float) -> list[tuple[int, float, float]]:
    answers: list[tuple[int, float, float]] = []
    tasks, start = [], time.perf_counter()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(_post(photos[number % len(photos)], answers)))
    await asyncio.gather(*tasks)
    return answers


def overload(args) -> dict:
    photos = [Path(path).read_bytes() for path in args.media]
    server = start(args, "--max-queue", str(args.queue))
    try:
        uvloop.run(_closed(photos, 64, 5.0))
        best = uvloop.run(_closed(photos, 64, 20.0))
        began, generator = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        answers = uvloop.run(_open(photos, 10 * best, args.seconds))
        end, wall, usage = began + args.seconds, time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
        after = uvloop.run(_closed(photos, 64, 20.0))
    finally:
        server.terminate()
        server.wait()
    accepted = sorted(seconds for status, _, seconds in answers if status == 200)
    rate = sum(status == 200 and time_ <= end for status, time_, _ in answers) / args.seconds
    statuses = {status: sum(each[0] == status for each in answers) for status in sorted({each[0] for each in answers})}
    return {
        "best captions/s": best, "captions/s under overload": rate, "ratio": rate / best, "statuses": statuses,
        "p50 of accepted": accepted[len(accepted) // 2], "p99 of accepted": accepted[int(0.99 * len(accepted))],
        "queue / rate": args.queue / rate, "captions/s afterwards": after,
        "generator, cores": (usage.ru_utime + usage.ru_stime - generator.ru_utime - generator.ru_stime) / wall,
    }  # fmt: skip


# ---- Kills


def kills(args) -> dict:
    import capjax
    from capjax import runtime
    from capjax.commands.serve import decoding_option

    videos = [Path(path) for path in args.media]
    runtime.start()
    model = capjax.load(args.workdir, **dict(decoding_option(each) for each in args.decode))
    if model.dense:
        expected = [[(e.start, e.end, e.text) for e in model.events([path])[0]] for path in videos]
    else:
        expected = [model.caption([path])[0].text for path in videos]
    folder = tempfile.mkdtemp(prefix="measure-serve-")
    server, jobs, rng = start(args, "--jobs", folder), [], random.Random(0)
    for number in range(50):
        which = number % len(videos)
        jobs.append((which, ask("POST", f"/v1/videos?mode=job&seed={number}", videos[which].read_bytes())["id"]))
    done = []
    for _ in range(args.kills):
        time.sleep(rng.uniform(0.0, 1.5))
        server.kill()
        server.wait()
        server = start(args, "--jobs", folder)
        done.append(sum(ask("GET", f"/v1/jobs/{job}")["state"] == "done" for _, job in jobs))
    states = {}
    try:
        while True:
            rows = [(which, ask("GET", f"/v1/jobs/{job}")) for which, job in jobs]
            states = {
                state: sum(row["state"] == state for _, row in rows) for state in {row["state"] for _, row in rows}
            }
            if not states.keys() & {"queued", "running"}:
                break
            time.sleep(1.0)
    finally:
        server.terminate()
        server.wait()
    right = 0
    for which, row in rows:
        result = row.get("result") or {}
        got = (
            [(e["start"], e["end"], e["text"]) for e in result.get("events", ())]
            if model.dense
            else (result.get("captions") or [{"text": None}])[0]["text"]
        )
        right += got == expected[which]
    return {"states": states, "right": right, "done after each kill": done}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("overload", "kills"))
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--media", nargs="+", required=True)
    parser.add_argument("--decode", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--seconds", type=float, default=120.0, help="of overload (default: 120)")
    parser.add_argument("--queue", type=int, default=256, help="photos that may wait (default: 256)")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--log", default="measure_serve.log", help="the server's log")
    args = parser.parse_args()
    print(json.dumps({"overload": overload, "kills": kills}[args.what](args), indent=1))


if __name__ == "__main__":
    main()
