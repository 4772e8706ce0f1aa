"""Compares `capjax serve` with captions in process, LitServe, and a SavedModel in a plain FastAPI handler.

    python tests/benchmarks/bench_serve.py --workdir runs/flickr8k --photos FOLDER --output serve.json

All four caption the same photos with the same model and 4 beams, without reranking. Each is a process of its own on the
same machine and is measured in turns with the others, so that other programs disturb all alike. `process` captions all
photos with `Predictor.caption` in batches of 32, and single photos. The load generator keeps a fixed number of requests
in progress; its own processor time is reported.
"""

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

DECODE = {"method": "beam", "num_beams": 4, "num_neighbors": 0}
PORTS = {"capjax": 8601, "litserve": 8602, "saved_model": 8603}


# ---- What is measured: each runs in a process of its own


def run_process(args):
    """Answers lines of `PHOTOS BATCH_SIZE` with the seconds that captioning took."""
    import capjax

    model, photos = capjax.load(args.workdir, **DECODE), _photos(args)
    model.caption(photos[:32])
    model.caption(photos[:1])
    print("ready", flush=True)
    for line in sys.stdin:
        number, batch_size = map(int, line.split())
        chosen = (photos * (number // len(photos) + 1))[:number]
        start = time.perf_counter()
        if batch_size == 1:
            for photo in chosen:
                model.caption([photo])
        else:
            model.caption(chosen, batch_size=batch_size)
        print(time.perf_counter() - start, flush=True)


def run_saved_model(args):
    import tensorflow as tf
    import uvicorn
    from fastapi import FastAPI, UploadFile

    signature = tf.saved_model.load(str(args.export)).signatures["serving_default"]
    app = FastAPI()

    @app.post("/predict")
    def predict(file: UploadFile):
        answer = signature(image_bytes=tf.constant([file.file.read()]))
        return {"caption": answer["caption"].numpy()[0].decode()}

    signature(image_bytes=tf.constant([_photos(args)[0].read_bytes()]))
    uvicorn.run(app, port=PORTS["saved_model"], log_level="error")


# ---- The load generator


async def _client(port: int, path: str, numbers, photos: list[bytes], seconds: list[float], texts: dict[int, str]):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in numbers:
        photo = photos[number % len(photos)]
        form = (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        )
        body = form + photo + b"\r\n--x--\r\n"
        start = time.perf_counter()
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        answer = await reader.readexactly(length)
        seconds.append(time.perf_counter() - start)
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(f"{path}: {head.decode()}{answer.decode()}")
        row = json.loads(answer)
        texts[number % len(photos)] = row["caption"] if "caption" in row else row["results"][0]["captions"][0]["text"]
    writer.close()


def load(name: str, photos: list[bytes], clients: int, requests: int) -> tuple[dict, dict[int, str]]:
    """Returns captions per second, seconds of requests, and processor seconds of this generator; and the captions."""
    path, numbers = "/v1/captions" if name == "capjax" else "/predict", iter(range(requests))
    seconds: list[float] = []
    texts: dict[int, str] = {}

    async def run():
        await asyncio.gather(*(_client(PORTS[name], path, numbers, photos, seconds, texts) for _ in range(clients)))

    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    asyncio.run(run())
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    seconds.sort()
    return {
        "captions_per_second": requests / wall,
        "p50": seconds[len(seconds) // 2],
        "p99": seconds[int(0.99 * len(seconds))],
        "generator_cpu": (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / wall,
    }, texts


# ---- In turns


def measure(args) -> dict:
    from PIL import Image

    folder = Path(tempfile.mkdtemp(prefix="bench-serve-"))
    sources = sorted(path for path in args.photos.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    for number, path in enumerate(sources[: args.number]):
        Image.open(path).convert("RGB").resize((640, 480), Image.Resampling.BICUBIC).save(
            folder / f"{number:04d}.jpg", quality=90
        )
    args.photos = folder
    photos = [path.read_bytes() for path in _photos(args)]
    names = [name for name in PORTS if name != "saved_model" or args.export]
    servers = {name: _start(args, name) for name in names if name != "capjax"}
    started = time.perf_counter()
    servers["capjax"] = subprocess.Popen(_serve_command(args), stderr=subprocess.DEVNULL)
    process = _start(args, "process", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        _wait(servers["capjax"], f"http://127.0.0.1:{PORTS['capjax']}/readyz")
        ready_seconds = time.perf_counter() - started
        for name in names[1:]:
            path = "health" if name == "litserve" else "docs"
            _wait(servers[name], f"http://127.0.0.1:{PORTS[name]}/{path}")
        assert process.stdout.readline().strip() == "ready"
        rounds = [_round(args, names, process, photos) for _ in range(args.rounds)]
    finally:
        for each in (*servers.values(), process):
            each.terminate()
    return {"ready_seconds": ready_seconds, "rounds": rounds, "summary": _summary(rounds)}


def _round(args, names: list[str], process, photos: list[bytes]) -> dict:
    row = {"process_32": args.requests / _ask(process, args.requests, 32), "process_1": _ask(process, 20, 1) / 20}
    answers = {}
    for name in names:
        row[f"{name}_1"], _ = load(name, photos, 1, 20)
        row[f"{name}_64"], answers[name] = load(name, photos, 64, args.requests)
    row["other_captions"] = {
        name: sum(text != answers["capjax"].get(number) for number, text in texts.items())
        for name, texts in answers.items()
    }
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


def _summary(rounds: list[dict]) -> dict:
    """Medians over the rounds of ratios within a round."""

    def median(value) -> float:
        return round(statistics.median(value(row) for row in rounds), 3)

    summary = {
        "64 clients, captions/s, to the process": median(
            lambda r: r["capjax_64"]["captions_per_second"] / r["process_32"]
        ),
        "64 clients, p99 to p50": median(lambda r: r["capjax_64"]["p99"] / r["capjax_64"]["p50"]),
        "1 client, p50 to the process": median(lambda r: r["capjax_1"]["p50"] / r["process_1"]),
        "generator, cores": median(lambda r: r["capjax_64"]["generator_cpu"]),
    }
    for name in [name for name in ("litserve", "saved_model") if f"{name}_64" in rounds[0]]:
        for clients in (1, 64):
            key = f"{name}_{clients}"
            summary[f"{clients} clients, captions/s, to {name}"] = median(
                lambda r, key=key, n=clients: r[f"capjax_{n}"]["captions_per_second"] / r[key]["captions_per_second"]
            )
            summary[f"{clients} clients, p50, to {name}"] = median(
                lambda r, key=key, n=clients: r[f"capjax_{n}"]["p50"] / r[key]["p50"]
            )
    return summary


def _ask(process, number: int, batch_size: int) -> float:
    process.stdin.write(f"{number} {batch_size}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def _start(args, name: str, **pipes):
    if name == "litserve":
        script, port = Path(__file__).with_name("litserve_captions.py"), str(PORTS["litserve"])
        return subprocess.Popen([sys.executable, script, args.workdir, args.photos, port, json.dumps(DECODE)])
    command = [sys.executable, __file__, "--run", name, "--workdir", str(args.workdir), "--photos", str(args.photos)]
    return subprocess.Popen([*command, *(["--export", str(args.export)] if args.export else [])], **pipes)


def _serve_command(args) -> list[str]:
    options = [f"--decode={name}={value}" for name, value in DECODE.items()]
    return [
        sys.executable, "-m", "capjax", "serve", "--workdir", f"bench={args.workdir}", "--port", str(PORTS["capjax"]),
        "--jobs", tempfile.mkdtemp(prefix="bench-serve-"), *options,
    ]  # fmt: skip


def _wait(process: subprocess.Popen, url: str):
    """Waits for a server to answer."""
    deadline = time.monotonic() + 300
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _photos(args) -> list[Path]:
    return sorted(args.photos.glob("*.jpg"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--export", type=Path, help="SavedModel of the workdir, exported with 4 beams and no reranking")
    parser.add_argument("--number", type=int, default=96, help="photos (default: 96)")
    parser.add_argument("--requests", type=int, default=512, help="requests of a round with 64 clients (default: 512)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--run", choices=("process", "saved_model"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        from capjax import runtime

        runtime.start()
        {"process": run_process, "saved_model": run_saved_model}[args.run](args)
        return
    result = measure(args)
    print(json.dumps(result["summary"], indent=1))
    if args.output:
        args.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
