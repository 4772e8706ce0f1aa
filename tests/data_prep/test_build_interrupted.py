"""Runs that are killed or stopped go on, and end with the same bytes."""

import os
import signal

import pytest

from data_prep.readers import READERS
from tests.helpers.built_records import build_records
from tests.helpers.folders import contents
from tests.helpers.killed_builds import children, start, wait_for_end


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path, make_jsonl):
    folder = make_jsonl(480, size=(480, 320))
    process = start(folder, tmp_path / "out", "--workers", "2")
    workers = children(process.pid)
    assert len(workers) >= 2
    process.kill()
    process.wait()
    wait_for_end(workers)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("dataset_info.json"))
    for name in ("out", "whole"):
        build_records("jsonl", READERS.make("jsonl", folder), tmp_path / name)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_a_run_in_the_background_which_ignores_ctrl_c_heeds_sigterm(tmp_path, make_jsonl):
    folder = make_jsonl(480, size=(480, 320))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited, as from a shell's `&`
    try:
        process = start(folder, tmp_path / "out", "--workers", "2")
    finally:
        signal.signal(signal.SIGINT, before)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"the same command goes on from there" in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_cleanly_and_says_how_to_go_on(tmp_path, make_jsonl, number):
    folder = make_jsonl(480, size=(480, 320))
    process = start(folder, tmp_path / "out", "--workers", "2")
    workers = children(process.pid)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"the same command goes on from there" in errors
    assert b"Traceback" not in errors
    wait_for_end(workers)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("dataset_info.json"))
    assert not list((tmp_path / "out.partial" / "dataset").glob(".*"))
