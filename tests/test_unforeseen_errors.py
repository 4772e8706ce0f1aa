"""An unforeseen error ends with a line that names what was being processed. Ctrl-C is none."""

import subprocess
import sys

import pytest

from capjax import jobs
from capjax.cli import main
from capjax.data.media_reader import MediaReader
from capjax.metrics.messages import noting
from capjax.runtime import run_guarded
from capjax.workdir.layout import Workdir
from tests.helpers.tiny_job import DEFAULT_CONFIG


def fail(*arguments, **options):
    raise KeyError("boom")


def test_the_last_line_names_all_that_was_being_processed(capsys):
    def work() -> int:
        with noting("the workdir a"), noting("photos/b.jpg"):
            fail()

    assert run_guarded("capjax caption", work) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    noted = "while processing photos/b.jpg, while processing the workdir a"
    assert last.startswith(f"capjax caption: unforeseen KeyError: 'boom', {noted} (in test_unforeseen_errors.py:")


@pytest.mark.parametrize("mode", ["train", "eval", "export"])
def test_a_job_names_its_workdir(tiny, tmp_path, capsys, monkeypatch, mode):
    monkeypatch.setattr(Workdir, "config", fail)
    monkeypatch.setattr(Workdir, "has_checkpoint", fail)
    assert jobs.run(mode, DEFAULT_CONFIG, str(tmp_path / "run"), tiny.settings()) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("launch.py: unforeseen KeyError: 'boom', while processing") and str(tmp_path / "run") in last


def test_a_photo_is_named(tiny, capsys, monkeypatch):
    monkeypatch.setattr(MediaReader, "read", fail)
    photo = str(tiny.photos / "000.jpg")
    assert main(["caption", "--workdir", str(tiny.trained()), photo]) == 1
    assert photo in capsys.readouterr().err.splitlines()[-1]


def test_ctrl_c_during_an_import_is_an_interruption(capsys):
    def work():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:  # as pybind11 does
            raise ImportError("Encountered an error while initializing the extension.") from interrupt

    assert run_guarded("capjax train", work) == 130
    assert capsys.readouterr().err == ""


def test_ctrl_c_in_a_callback_of_the_garbage_collector_is_not_lost():
    script = """
import gc, sys, time
from capjax import runtime

def interrupt(*args):
    gc.callbacks.remove(interrupt)
    raise KeyboardInterrupt

def work():
    gc.callbacks.append(interrupt)
    gc.collect()
    time.sleep(20)
    return 0

runtime.start()
sys.exit(runtime.run_guarded("capjax caption", work))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "")
