import io
import tarfile
from pathlib import Path

import jax
import pytest

import capjax
from capjax import runtime
from tests.helpers.tiny_job import one_device


@pytest.fixture(scope="session")
def model(tiny):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAPJAX_CACHE", str(tiny.path / "cache"))
        runtime.start()
    return capjax.load(tiny.trained())


@pytest.fixture
def run(tiny, tmp_path, monkeypatch, capsys, model):
    """Runs `capjax bulk` with the tiny model, loaded once -> (exit status, standard output, standard error)."""
    from capjax import cli

    monkeypatch.setattr("capjax.predict.Predictor", lambda *_, **__: model)

    one_device(monkeypatch)
    monkeypatch.setattr(jax, "local_devices", jax.devices)
    monkeypatch.setenv("CAPJAX_CACHE", str(tiny.path / "cache"))

    def bulk(*args, output=tmp_path / "out"):
        status = cli.main(["bulk", "--workdir", str(tiny.trained()), "--output", str(output), *map(str, args)])
        done = capsys.readouterr()
        return status, done.out, done.err

    return bulk


def write_tar(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path
