"""The images of launch/docker are built and run: the server captions as in process, training resumes.

They need a Docker daemon, and the base image, which Docker pulls or has. CAPJAX_DOCKER_NETWORK=host lets builds and
containers use the machine's network where Docker has none of its own.
"""

import json
import os
import subprocess
import time
import urllib.request
import uuid
from pathlib import Path

import pytest

import capjax
from tests.helpers.tiny_job import ROOT, copy

pytestmark = pytest.mark.slow

NETWORK = ("--network", os.environ["CAPJAX_DOCKER_NETWORK"]) if "CAPJAX_DOCKER_NETWORK" in os.environ else ()
# The machine that tests run on may have few cores, and an image installs some hundred packages.
BUILD_SECONDS = 3600


def docker(*arguments: str, seconds: float = 300, check: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=seconds)
    assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def daemon():
    try:
        docker("info", seconds=20)
    except (FileNotFoundError, AssertionError, subprocess.TimeoutExpired):
        pytest.skip("no Docker daemon here")


def build(name: str, *arguments: str) -> str:
    tag = f"capjax-test-{name}"
    file = ROOT / f"launch/docker/{name}.Dockerfile"
    docker("build", *NETWORK, "-f", str(file), "-t", tag, *arguments, str(ROOT), seconds=BUILD_SECONDS)
    return tag


@pytest.fixture(scope="module")
def server_image() -> str:
    return build("server")


@pytest.fixture
def container():
    """Starts containers that are removed at the end."""
    names = []

    def start(*arguments: str) -> str:
        names.append(f"capjax-test-{uuid.uuid4().hex[:8]}")
        docker("run", "--detach", "--name", names[-1], *NETWORK, *arguments)
        return names[-1]

    yield start
    for name in names:
        docker("rm", "--force", name, check=False)


def readable_by_all(folder: Path) -> Path:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def caption(port: int, photo: Path) -> str:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/captions", photo.read_bytes(), {"Content-Type": "image/jpeg"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        (result,) = json.load(answer)["results"]
    return result["captions"][0]["text"]


def test_the_server_is_confined_healthy_captions_as_in_process_and_drains(server_image, container, tiny, tmp_path):
    workdir = readable_by_all(copy(tiny.trained(), tmp_path / "model"))
    photos = sorted(tiny.photos.glob("*.jpg"))[:3]
    publish = () if "host" in NETWORK else ("--publish", "8000:8000")
    name = container("--read-only", "--tmpfs", "/tmp", "--volume", f"{workdir}:/model:ro", *publish, server_image)
    deadline = time.monotonic() + 300
    while docker("inspect", "--format", "{{.State.Health.Status}}", name).strip() != "healthy":
        assert time.monotonic() < deadline, docker("logs", name)
        time.sleep(1)
    assert docker("exec", name, "id", "-u").strip() == "1000"
    denied = subprocess.run(["docker", "exec", name, "touch", "/app/file"], capture_output=True, text=True)
    assert "Read-only file system" in denied.stderr
    expected = [each.text for each in capjax.load(workdir).caption(photos)]
    assert [caption(8000, photo) for photo in photos] == expected
    start = time.monotonic()
    docker("stop", "--time", "60", name)
    assert time.monotonic() - start < 45
    assert docker("inspect", "--format", "{{.State.ExitCode}}", name).strip() == "0"


def test_training_resumes_in_a_second_container(container, tmp_path):
    image = build("train", "--build-arg", "EXTRAS=train")
    runs = tmp_path / "runs"
    runs.mkdir()
    runs.chmod(0o777)
    mount = ("--volume", f"{runs}:/runs")
    for command in (
        ["shapes", "--output", "/runs/data", "--count", "200"],
        ["vocabulary", "--input", "/runs/data", "--output", "/runs/data.model", "--size", "800"],
    ):
        docker("run", "--rm", *mount, "--entrypoint", "capjax", image, "prepare", *command, seconds=600)
    arguments = [
        "--config", "configs/shapes.py", "--workdir", "/runs/shapes", "--config.data.train=/runs/data@train",
        "--config.data.eval=/runs/data@val", "--config.data.vocabulary=/runs/data.model",
        "--config.checkpoint.every=10", "--config.train.eval_every=20", "--config.train.log_every=1",
        "--config.train.batch_size=4",
        "--config.eval.limit=8", "--config.train.tensorboard=false",
    ]  # fmt: skip
    docker("run", "--rm", *mount, image, *arguments, "--config.train.steps=20", seconds=1800)
    docker("run", "--rm", *mount, image, *arguments, "--config.train.steps=30", seconds=1800)
    rows = [json.loads(line) for line in (runs / "shapes/metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows if "loss" in row]
    assert steps == list(range(1, 31))
