"""A photo has the same caption, whichever way it takes: Python, command line, bulk, export, and each form of HTTP."""

import base64
import json
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

import capjax
from tests.helpers.exports import signature
from tests.helpers.tiny_job import ROOT

pytestmark = pytest.mark.slow
CAPJAX = sys.executable, "-m", "capjax"


@pytest.fixture(scope="module")
def paths(tiny):
    """Photos of six colors."""
    return sorted(tiny.photos.glob("*.jpg"))[:6]


@pytest.fixture(scope="module")
def expected(tiny, paths) -> list[str]:
    """The captions in Python."""
    captions = [caption.text for caption in capjax.load(tiny.trained()).caption(paths)]
    assert len(set(captions)) > 1
    return captions


@pytest.fixture(scope="module")
def run(tiny):
    """Runs a command to its end -> standard output."""

    def start(*command) -> str:
        done = subprocess.run(list(map(str, command)), env=tiny.environment(), cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return start


@pytest.fixture(scope="module")
def export(tiny, run, tmp_path_factory):
    """The folder of an export."""
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("export") / "model"
    run(*tiny.command(tiny.trained(), mode="export"), "--output", folder)
    return folder


@pytest.fixture(scope="module", params=["workdir", "export"])
def client(request, tiny, tmp_path_factory):
    """A client of `capjax serve`, of the workdir and of its export."""
    model = [] if request.param == "workdir" else ["--model", str(request.getfixturevalue("export"))]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    jobs = tmp_path_factory.mktemp("jobs")
    args = ["--workdir", f"tiny={tiny.trained()}", *model, "--jobs", str(jobs), "--port", str(port)]
    server = subprocess.Popen([*CAPJAX, "serve", *args], env=tiny.environment(), cwd=ROOT)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        deadline = time.monotonic() + 300
        while not is_ready(client):
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield client
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0


def is_ready(client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def encoded(path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_the_command_line(tiny, run, paths, expected):
    rows = run(*CAPJAX, "caption", *paths, "--workdir", tiny.trained(), "--json").splitlines()
    assert [json.loads(row)["caption"] for row in rows] == expected


def test_bulk(tiny, run, paths, expected, tmp_path):
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in paths))
    output = tmp_path / "out"
    run(*CAPJAX, "bulk", "--input", tmp_path / "list.txt", "--workdir", tiny.trained(), "--output", output)
    rows = [json.loads(row) for shard in sorted(output.glob("*.jsonl")) for row in shard.read_text().splitlines()]
    assert [row["captions"][0]["text"] for row in rows if "captions" in row] == expected


def test_the_export_in_tensorflow(export, paths, expected):
    answer = signature(export, "serving_default")(image_bytes=[path.read_bytes() for path in paths])
    assert [caption.decode() for caption in answer["caption"]] == expected


def test_rest(client, paths, expected):
    rows = client.post("/v1/captions", files=[("file", path.read_bytes()) for path in paths]).json()["results"]
    assert [row["captions"][0]["text"] for row in rows] == expected
    rows = client.post("/v1/captions", json={"files": [encoded(path) for path in paths]}).json()["results"]
    assert [row["captions"][0]["text"] for row in rows] == expected
    headers = {"Content-Type": "image/jpeg"}
    answers = [client.post("/v1/captions", content=path.read_bytes(), headers=headers).json() for path in paths]
    assert [answer["results"][0]["captions"][0]["text"] for answer in answers] == expected


def test_the_form_of_tensorflow_serving(client, paths, expected):
    instances = [{"b64": encoded(path)} for path in paths]
    rows = client.post("/v1/models/tiny:predict", json={"instances": instances}).json()["predictions"]
    assert [row["caption"] for row in rows] == expected


def test_the_form_of_openai(client, paths, expected):
    openai = pytest.importorskip("openai")
    texts = []
    with openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none", max_retries=0) as api:
        for path in paths:
            part = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{encoded(path)}"}}
            answer = api.chat.completions.create(model="tiny", messages=[{"role": "user", "content": [part]}])
            texts.append(answer.choices[0].message.content)
    assert texts == expected
