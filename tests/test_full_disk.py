"""A full disk is an error in one line that names the file and the remedy, whatever was written."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from capjax.data.record import Record
from capjax.decode.consensus import Neighbors
from capjax.files import write_bytes, write_text, write_with_digest
from capjax.metrics.writing import WriteError, write_errors_named
from capjax.workdir.metrics_log import MetricsLog, read_metrics
from data_prep.shards import write_records
from tests.helpers.disks import full_disk, read_only, small_disk
from tests.helpers.tiny_job import ROOT


def named(path) -> str:
    return rf"^{path} cannot be written: File too large; raise the limit of file sizes"


def test_files_that_are_written_whole_stay_as_they_were(tmp_path):
    path = tmp_path / "file"
    for write, data in ((write_bytes, bytes(1000)), (write_text, "x" * 1000), (write_with_digest, bytes(1000))):
        path.write_text("before")
        with full_disk(500), pytest.raises(WriteError, match=named(path)):
            write(path, data)
        assert path.read_text() == "before" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_neighbors(tmp_path):
    neighbors = Neighbors(np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32), {"en": [["a"]] * 50})
    with full_disk(500), pytest.raises(WriteError, match=named(tmp_path / "neighbors.npz")):
        neighbors.save(tmp_path / "neighbors.npz")


def test_metrics_go_on_after_the_last_complete_row(tmp_path):
    path, row = tmp_path / "metrics.jsonl", {"step": 1, "loss": 1.5}
    log = MetricsLog(path, start=0)
    with full_disk(100), pytest.raises(WriteError, match=named(path)):
        for _ in range(10):
            log.append(row)
    log.close()
    rows = read_metrics(path)
    assert rows and all(each == row for each in rows)
    log = MetricsLog(path, start=1)  # the next start of the run
    log.append({"step": 2})
    log.close()
    assert read_metrics(path) == [*rows, {"step": 2}]


def test_records_and_features(tmp_path):
    path = tmp_path / "d.array_record"
    records = (Record(str(i), "a.jpg", (), frames=(bytes(10_000),)) for i in range(100))
    with full_disk(10_000), pytest.raises(WriteError, match=named(path)):
        write_records(path, records)
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_goes_on_when_there_is_room(tiny, tmp_path):
    output = tmp_path / "disk/data"
    with small_disk(tmp_path / "disk", 2**20):
        other = tmp_path / "disk/other"
        other.write_bytes(bytes(2**20 - 2**17))
        command = ("data_prep", "jsonl", "--input", tiny.photos, "--output", output)
        done = capjax(*command, stdout=subprocess.PIPE)
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        assert f"{output}.partial/" in done.stderr and "No space left on device" in done.stderr
        assert "when there is room, the same command goes on from there" in done.stderr
        other.unlink()
        done = capjax(*command, stdout=subprocess.PIPE)
        assert done.returncode == 0, done.stderr


def test_errors_of_libraries_in_other_languages_are_recognized(tmp_path):
    for error in (
        RuntimeError(f"write() failed: {os.strerror(errno.ENOSPC)}; writing x"),
        ValueError("RESOURCE_EXHAUSTED: Failed to write [OS error 28: ENOSPC No space left on device]"),
        OSError(errno.ENOSPC, "No space left on device"),
    ):
        with (
            pytest.raises(WriteError, match=f"{tmp_path} cannot be written: No space left on device; free some space"),
            write_errors_named(tmp_path),
        ):
            raise error
    with pytest.raises(RuntimeError, match="^other$"), write_errors_named(tmp_path):
        raise RuntimeError("other")


def capjax(*arguments, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, **options)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [("capjax", "--help"), ("capjax", "doctor"), ("capjax", "--version")])
def test_the_standard_output(arguments):
    with Path("/dev/full").open("w") as full:
        done = capjax(*arguments, stdout=full)
    assert done.returncode == 1
    assert "the standard output" in done.stderr and "No space left on device; free some space" in done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_scores(tmp_path):
    predictions = [{"image_id": i, "caption": f"a photo of {i} dogs"} for i in range(200)]
    references = {str(i): [f"a photo of {i} dogs", "dogs"] for i in range(200)}
    (tmp_path / "predictions.json").write_text(json.dumps(predictions))
    (tmp_path / "references.json").write_text(json.dumps(references))
    with small_disk(tmp_path / "disk", 4096):
        done = capjax(
            "capjax.metrics",
            "--predictions",
            tmp_path / "predictions.json",
            "--references",
            tmp_path / "references.json",
            "--metrics",
            "bleu",
            "--per-item",
            tmp_path / "disk/out.jsonl",
            stdout=subprocess.PIPE,
        )
    assert done.returncode == 2, done.stderr
    assert f"{tmp_path}/disk/out.jsonl cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_read_only_folder_is_named(tmp_path):
    with read_only(tmp_path), pytest.raises(WriteError, match=f"{tmp_path}/a cannot be written: .*; choose a folder"):
        write_bytes(tmp_path / "a", b"")
