"""`capjax serve` as a process: its errors, its logs, and its end."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from capjax.cli import main
from tests.helpers.live_server import wait_until
from tests.helpers.tiny_job import ROOT

SECONDS = 180.0


class ServeProcess:
    """`capjax serve`, with the lines of its standard error."""

    def __init__(self, tiny, *arguments: str):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "capjax.cli", "serve", "--port", str(self.port), *arguments]
        self.process = subprocess.Popen(
            command, env=tiny.environment(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr), daemon=True)
        self._reader.start()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    def answers(self, path: str) -> bool:
        assert self.process.poll() is None, self.lines
        try:
            return self.client.get(path).status_code == 200
        except httpx.TransportError:
            return False

    def end(self, *, seconds: float = 60.0) -> int:
        status = self.process.wait(seconds)
        self._reader.join(10)
        self.client.close()
        return status


@pytest.fixture
def serve(tiny, tmp_path):
    started = []

    def serve(*arguments) -> ServeProcess:
        started.append(ServeProcess(tiny, "--jobs", str(tmp_path / "jobs"), *map(str, arguments)))
        return started[-1]

    yield serve
    for each in started:
        each.process.kill()
        each.process.wait()


def test_it_answers_drains_on_sigterm_and_logs_json(serve, tiny):
    server = serve("--workdir", f"tiny={tiny.trained()}", "--api-keys", _keys(tiny))
    wait_until(lambda: server.answers("/readyz"), SECONDS)
    photo = next(tiny.photos.glob("*.jpg")).read_bytes()
    headers = {"Authorization": "Bearer " + "k" * 20}
    answers = []

    def body():
        yield photo[:100]
        started.set()
        time.sleep(1.0)
        yield photo[100:]

    started = threading.Event()

    def ask():
        answers.append(httpx.post(
            f"http://127.0.0.1:{server.port}/v1/captions", content=body(), timeout=60,
            headers=headers | {"Content-Type": "image/jpeg"},
        ))  # fmt: skip

    asking = threading.Thread(target=ask)
    asking.start()
    assert started.wait(30)
    time.sleep(0.2)
    server.process.send_signal(signal.SIGTERM)
    asking.join(60)
    assert server.end() == 0, server.lines
    assert answers[0].status_code == 200
    assert answers[0].json()["results"][0]["captions"][0]["text"], "a request in progress is answered"
    rows = [json.loads(line) for line in server.lines]
    [row] = [row for row in rows if row.get("path") == "/v1/captions"]
    assert (row["status"], row["owner"], row["request_id"]) == (200, "ann", answers[0].headers["x-request-id"])
    assert not [row for row in rows if row["level"] not in ("info", "warning")]
    assert "k" * 20 not in "".join(server.lines)


def _keys(tiny) -> Path:
    path = tiny.path / "keys"
    path.write_text("ann " + "k" * 20 + "\n")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_model_is_loaded_ends_it_soon(serve, tiny, signal_number):
    server = serve("--workdir", tiny.trained())
    wait_until(lambda: server.answers("/healthz"), SECONDS)
    server.process.send_signal(signal_number)
    assert server.end() == (0 if signal_number == signal.SIGTERM else 130), server.lines
    assert not [line for line in server.lines if "Traceback" in line or "is ready" in line]


def test_a_workdir_that_cannot_be_loaded_ends_the_server_with_one_line(serve, tmp_path):
    server = serve("--workdir", tmp_path / "nothing")
    assert server.end(seconds=SECONDS) == 1
    errors = [line for line in server.lines if not line.startswith("{")]
    assert len(errors) == 1 and str(tmp_path / "nothing") in errors[0], server.lines
    assert errors[0].startswith("capjax serve: ")


def test_a_port_in_use_is_an_error_in_one_line(tiny, tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["serve", "--workdir", str(tiny.path), "--jobs", str(tmp_path), "--port", port]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "in use" in line and port in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workdir", "a=x", "--workdir", "b/a"], "same name"),
        (["--workdir", "a="], "NAME=DIR"),
        (["--workdir", "x", "--decode", "num_beams"], "NAME=VALUE"),
        (["--workdir", "x", "--decode", "num_beam=1"], "did you mean 'num_beams'"),
        (["--workdir", "x", "--workdir", "y", "--model", "z"], "one --workdir"),
        (["--workdir", "x", "--api-keys", "/nothing"], "/nothing is missing; write a name and a key"),
        (["--workdir", "x", "--rate", "-1"], "rate"),
        (["--workdir", "x", "--max-queue", "0"], "max-queue"),
        (["--workdir", "x", "--max-requests", "0"], "max-requests"),
        (["--workdir", "x", "--reload-seconds", "-1"], "reload-seconds"),
        (["--workdir", "x", "--beams", "0"], "beams"),
    ],
)
def test_a_wrong_argument_is_an_error_in_one_line(arguments, message, capsys):
    try:
        status = main(["serve", *arguments])
    except SystemExit as error:
        status = error.code
    error = capsys.readouterr().err
    assert status in (1, 2)
    assert re.search(message, error.splitlines()[-1]), error
    assert "Traceback" not in error
