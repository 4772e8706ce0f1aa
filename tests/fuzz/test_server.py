"""A server under damaged files, bombs, wrong types, slow bodies and aborted uploads.

Every answer is checked: no error of the server, each file answered, captions as in process; and memory does not grow.
"""

import base64
import json
import random
import signal
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.commands.test_serve import ServeProcess
from tests.fuzz.test_pictures import hostile, intact
from tests.helpers.fuzzing import count_cases, damaged
from tests.helpers.live_server import wait_until

CLIENTS = 8
# Requests after which all parts of the server have been used, and memory should not grow any more.
WARM_UP = 1000
GROWTH = 0.05
HEAD = "POST /v1/captions HTTP/1.1\r\nHost: a\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n"
# Parts of the messages of limits that the server alone has.
LIMITS = ("are accepted", "decoding took longer", "/v1/videos")


class Files:
    """Photos of clients, whole and damaged, with their captions or errors in process."""

    def __init__(self, predictor, seed: int, whole: list[bytes], count: int):
        rng = np.random.default_rng(seed)
        sources = [*intact(), *whole]
        self.files = [*whole, b"", b"text", b"<svg/>", b"%PDF-1.7", b"GIF89a", bytes(1000)]
        while len(self.files) < count:
            if rng.random() < 0.1:
                self.files.append(hostile(rng))
            else:
                self.files.append(damaged(sources[rng.integers(len(sources))], rng, sources))
        self.expected = [(each.text, bool(each.error)) for each in predictor.caption(self.files)]

    def check(self, number: int, text: str | None, error: str) -> str:
        """Raises AssertionError unless a file has the caption, or as in process an error; returns which it has."""
        expected, fails = self.expected[number]
        if text is not None:
            assert not fails and text == expected, (number, text, expected)
            return "caption"
        # In process a photo may have more pixels and take more time, and a video may be captioned.
        assert fails or any(part in error for part in LIMITS), (number, error, expected)
        return "error"


class Client:
    """Sends random requests, and checks the answers."""

    def __init__(self, address: tuple[str, int], files: Files, seed: int):
        self._address, self._files, self._rng = address, files, random.Random(seed)
        self._client = httpx.Client(base_url="http://{}:{}".format(*address), timeout=120)
        self.outcomes: Counter[str] = Counter()

    def run(self, count: int) -> Counter[str]:
        kinds = [self._multipart] * 5 + [self._raw] * 5 + [self._json] * 3 + [self._tensorflow, self._openai]
        kinds += [self._wrong_type, self._garbage, self._abort, self._lie]
        for _ in range(count):
            self._rng.choice(kinds)()
        return self.outcomes

    def _pick(self) -> int:
        return self._rng.randrange(len(self._files.files))

    def _post(self, path: str, **request) -> httpx.Response | None:
        response = self._client.post(path, **request)
        self.outcomes[f"status {response.status_code}"] += 1
        assert response.status_code < 500, response.text
        assert response.headers["x-request-id"] and "Traceback" not in response.text
        if response.status_code == 429:
            assert int(response.headers["retry-after"]) >= 1
            return None
        return response

    def _check(self, response: httpx.Response | None, numbers: list[int]):
        if response is None:
            return
        assert response.status_code == 200, response.text
        results = response.json()["results"]
        assert len(results) == len(numbers), "no answer is lost"
        for number, result in zip(numbers, results, strict=True):
            text = result["captions"][0]["text"] if "captions" in result else None
            self.outcomes[self._files.check(number, text, result.get("error", {}).get("message", ""))] += 1

    def _multipart(self):
        numbers = [self._pick() for _ in range(self._rng.choice([1, 1, 2, 5]))]
        parts = [("file", (f"{number}.jpg", self._files.files[number])) for number in numbers]
        self._check(self._post("/v1/captions", files=parts), numbers)

    def _raw(self):
        number = self._pick()
        data = self._files.files[number]
        if data:
            kind = self._rng.choice(["image/jpeg", "application/octet-stream", "image/png"])
            self._check(self._post("/v1/captions", content=data, headers={"Content-Type": kind}), [number])

    def _json(self):
        numbers = [self._pick() for _ in range(self._rng.choice([1, 2, 4]))]
        files = [base64.b64encode(self._files.files[number]).decode() for number in numbers]
        self._check(self._post("/v1/captions", json={"files": files}), numbers)

    def _tensorflow(self):
        numbers = [self._pick() for _ in range(3)]
        rows = [{"b64": base64.b64encode(self._files.files[number]).decode()} for number in numbers]
        response = self._post("/v1/models/tiny:predict", json={"instances": rows})
        if response is None:
            return
        for number, row in zip(numbers, response.json()["predictions"], strict=True):
            text = None if row["error"] else row["caption"]
            self.outcomes[self._files.check(number, text, row["error"])] += 1

    def _openai(self):
        number = self._pick()
        url = "data:image/jpeg;base64," + base64.b64encode(self._files.files[number]).decode()
        content = [{"type": "image_url", "image_url": {"url": url}}]
        response = self._post("/v1/chat/completions", json={"messages": [{"role": "user", "content": content}]})
        if response is not None:
            body = response.json()
            text = body["choices"][0]["message"]["content"] if "choices" in body else None
            self.outcomes[self._files.check(number, text, body.get("error", {}).get("message", ""))] += 1

    def _wrong_type(self):
        value = self._rng.choice([None, 1, -1, "x", [], {}, [[]], "\ud800", 1e308, True, "9" * 5000])
        key = self._rng.choice(["files", "lang", "n", "seed", "beams", "max_len", "model", "other"])
        body = json.dumps({"files": ["AAAA"], key: value})
        path = self._rng.choice(["/v1/captions", "/v1/models/tiny:predict", "/v1/chat/completions"])
        self._post(path, content=body, headers={"Content-Type": "application/json"})

    def _garbage(self):
        data = self._rng.randbytes(self._rng.choice([1, 100, 5000]))
        kind = self._rng.choice(
            ["application/json", "multipart/form-data", "multipart/form-data; boundary=a", "text/plain", "image/"]
        )
        self._post("/v1/captions", content=b"--a\r\n" + data, headers={"Content-Type": kind})

    def _abort(self):
        """Leaves within the head, within the body, or before the answer."""
        data = self._files.files[self._pick()]
        head = HEAD.format(len(data)).encode()
        request = head + data
        with socket.create_connection(self._address, timeout=60) as connection:
            connection.sendall(request[: self._rng.choice([10, len(head), len(head) + len(data) // 2, len(request)])])
            time.sleep(self._rng.choice([0.0, 0.0, 0.005]))
        self.outcomes["aborted"] += 1

    def _lie(self):
        """A body that is shorter or longer than announced, and one that arrives byte by byte."""
        data = self._files.files[0]
        length = self._rng.choice([len(data) - 5, 10**12, 0])
        head = HEAD.format(length).encode()
        with socket.create_connection(self._address, timeout=60) as connection:
            answer = b"HTTP/1.1 4"
            with suppress(BrokenPipeError, ConnectionResetError):  # the server has answered and closed
                connection.sendall(head)
                for start in range(0, len(data), 200):
                    connection.sendall(data[start : start + 200])
                answer = connection.recv(4096)
        assert answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4")), answer
        self.outcomes["lie"] += 1


def memory_of(process: int) -> tuple[int, int]:
    """The bytes of a process, and of those that it has started, without what they share with others."""
    own = others = 0
    for path in Path("/proc").glob("[0-9]*/smaps_rollup"):
        number = int(path.parent.name)
        with suppress(OSError):  # the process has ended
            if process in _ancestors(number):
                lines = path.read_text().splitlines()
                size = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
                own, others = (own + size, others) if number == process else (own, others + size)
    return own, others


def _ancestors(process: int) -> list[int]:
    """A process, its parent, and so on."""
    chain = [process]
    while chain[-1] > 1:
        status = Path(f"/proc/{chain[-1]}/status").read_text()
        chain.append(int(status.partition("PPid:")[2].split()[0]))
    return chain


@pytest.mark.slow
def test_every_answer_is_right_and_memory_does_not_grow(tiny, tiny_predictor, tmp_path):
    whole = [path.read_bytes() for path in sorted(tiny.photos.glob("*.jpg"))]
    files = Files(tiny_predictor, 0, whole, count=400)
    server = ServeProcess(tiny, "--workdir", f"tiny={tiny.trained()}", "--jobs", str(tmp_path / "jobs"))
    try:
        wait_until(lambda: server.answers("/readyz"), 180)
        outcomes: Counter[str] = Counter()
        sizes = []
        total = max(count_cases(3000, 10_000), 2 * WARM_UP)
        for part in range(total // WARM_UP):
            clients = [Client(("127.0.0.1", server.port), files, part * CLIENTS + seed) for seed in range(CLIENTS)]
            with ThreadPoolExecutor(CLIENTS) as pool:
                for outcome in pool.map(lambda client: client.run(WARM_UP // CLIENTS), clients):
                    outcomes += outcome
            sizes.append(memory_of(server.process.pid))
        print(f"\n{total} requests: {dict(outcomes)}; MiB {[(a >> 20, b >> 20) for a, b in sizes]}")
        assert outcomes["caption"] > total / 5
        assert outcomes["error"] > total / 5
        # Decoding processes are replaced now and then, and new ones have less memory.
        assert max(own for own, _ in sizes[1:]) < sizes[0][0] * (1 + GROWTH), sizes
        assert sum(sizes[-1]) < sum(sizes[0]) * (1 + GROWTH), sizes
        server.process.send_signal(signal.SIGTERM)
        assert server.end() == 0
        assert not [line for line in server.lines if not line.startswith("{")]
        rows = [json.loads(line) for line in server.lines]
        assert not [row for row in rows if row["level"] == "error" or row.get("status", 0) >= 500]
    finally:
        server.process.kill()


@pytest.fixture
def tiny_predictor(tiny):
    from capjax.predict.predictor import load

    return load(tiny.trained())
