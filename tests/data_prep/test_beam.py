"""Datasets written on Apache Beam are those that one process writes."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_prep.build_report import Report
from data_prep.cli import main
from data_prep.media import Storage
from data_prep.plan import check_items, clear_stale, make_shards
from data_prep.readers import READERS
from data_prep.shards import Shard, write_shard
from tests.helpers.folders import contents
from tests.helpers.killed_builds import children, start, wait_for_end

pytest.importorskip("apache_beam", reason="pip install 'capjax[beam]'")
from data_prep import beam  # noqa: E402
from data_prep.staging import StagingFolder  # noqa: E402

BEAM = ["--beam", "--direct_num_workers=2"]


def build(folder: Path, output: Path, *options: str) -> int:
    return main(["jsonl", "--input", str(folder), "--output", str(output), *options])


@pytest.fixture
def photos(make_jsonl):
    """420 photos in 4 shards, four of them bad in different ways."""
    folder = make_jsonl(420)
    (folder / "0003.jpg").unlink()
    (folder / "0017.jpg").write_bytes(b"hello")
    (folder / "0018.jpg").write_bytes((folder / "0019.jpg").read_bytes()[:300])
    (folder / "0020.jpg").write_bytes(b"")
    return folder


def test_two_beam_workers_write_the_bytes_of_one_process(photos, tmp_path, capsys):
    assert build(photos, tmp_path / "alone", "--workers", "1") == 0
    output = capsys.readouterr().out.splitlines()[:-2]  # the last two name the folder and the time
    assert build(photos, tmp_path / "beam", *BEAM) == 0
    assert capsys.readouterr().out.splitlines()[:-2] == output
    assert contents(tmp_path / "beam") == contents(tmp_path / "alone")
    report = json.loads((tmp_path / "beam" / "report.json").read_text())
    assert report["photos"] == {"found": 420, "bad": 4}
    assert sum("array_record" in path.name for path in (tmp_path / "beam").iterdir()) == 4
    assert not (tmp_path / "beam.partial").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["FlinkRunner"], "'FlinkRunner' after --beam is not an option of Beam; write --NAME=VALUE"),
        (["--runner=FlinkRunner", "x"], "'x' after --beam"),
        (["--runner", "FlinkRunner", "x"], "'x' after --beam"),
        (["--runner=FlinkRunner", "--strict"], "--strict is not an option of Beam; write it before --beam"),
        (["--stage=gs://x/y"], "--stage=gs://x/y is not an option of Beam"),
    ],
)
def test_words_that_are_not_beams_are_not_passed_over(photos, tmp_path, capsys, words, message):
    with pytest.raises(SystemExit) as ended:
        build(photos, tmp_path / "out", "--beam", *words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_videos_are_written_alike(tmp_path):
    for name, options in (("alone", ["--workers", "1"]), ("beam", BEAM)):
        words = ["--count", "6", "--languages", "en", "--clips", "events", *options]
        assert main(["moving", "--output", str(tmp_path / name), *words]) == 0
    assert contents(tmp_path / "beam") == contents(tmp_path / "alone")


def test_too_much_bad_input_is_told_as_ever(photos, tmp_path, capsys):
    failures = []
    for name, options in (("alone", ["--workers", "1"]), ("beam", BEAM)):
        assert build(photos, tmp_path / name, "--max-bad", "0.005", *options) == 1
        errors = capsys.readouterr().err
        message = errors[errors.index("capjax prepare jsonl:") :].replace(f"/{name}.partial", "/out.partial")
        failures.append((message, (tmp_path / f"{name}.partial/report.json").read_bytes()))
    assert failures[0] == failures[1]
    assert "4 of 420 photos are bad" in failures[0][0]


@pytest.mark.slow
def test_a_strict_run_stops_at_the_first_bad_photo(photos, tmp_path, capsys):
    (photos / "0003.jpg").write_bytes((photos / "0004.jpg").read_bytes())
    (photos / "0020.jpg").write_bytes((photos / "0004.jpg").read_bytes())
    assert build(photos, tmp_path / "out", "--strict", *BEAM) == 1
    errors = capsys.readouterr().err
    assert "--strict stops at the first problem" in errors
    assert not (tmp_path / "out.partial/stop").exists()
    assert not (tmp_path / "out").exists()


def descendants(pid: int) -> list[int]:
    near = children(pid)
    return near + [pid for child in near for pid in descendants(child)]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_interrupted_job_goes_on_with_or_without_beam(tmp_path, make_jsonl, number):
    folder = make_jsonl(1200, size=(480, 320))
    process = start(folder, tmp_path / "out", *BEAM)
    workers = descendants(process.pid)
    assert len(workers) >= 2
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGTERM else -signal.SIGKILL)
    wait_for_end(workers)
    assert not (tmp_path / "out").exists()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out.partial/shards").glob("*.json")}
    assert 0 < len(kept) < 11
    assert build(folder, tmp_path / "out", "--workers", "1") == 0
    assert build(folder, tmp_path / "whole", "--workers", "1") == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.slow
def test_a_worker_that_cannot_write_fails_the_job_in_a_line(photos, tmp_path):
    (tmp_path / "out.partial").mkdir()
    limited = f"ulimit -f 20; exec {sys.executable} -m data_prep jsonl --input {photos} --output {tmp_path / 'out'}"
    done = subprocess.run(["bash", "-c", f"{limited} {' '.join(BEAM)}"], capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr[done.stderr.rindex("capjax prepare jsonl:") :]
    assert "the Beam job failed" in last
    assert "File too large" in last
    assert "Traceback" not in last


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--beam", "--direct_num_worker=2"], 1, "Beam has no option --direct_num_worker; did you mean --direct_num_w"),
        (["--beam", "--runner=DataflowRunner"], 1, "Missing required option: project"),
        (["--stage", "gs://b/s", "--beam"], 1, "pip install apache-beam[gcp]"),
        (["--beam", "--runner=FlinkRuner"], 1, "could not be started: Unexpected pipeline runner: FlinkRuner"),
        (
            ["--beam", "--runner=PortableRunner", "--job_endpoint=localhost:1"],
            1,
            "nothing answers at --job_endpoint=localhost:1",
        ),
        (
            ["--beam", "--runner=FlinkRunner", "--flink_master=http://localhost:99999"],
            1,
            "nothing answers at --flink_master=http://localhost:99999",
        ),
        (["--workers", "2", "--beam"], 2, "--workers cannot be combined with --beam"),
        (["--stage", "x"], 2, "--stage needs --beam, and is written before it"),
        (["--beam", "--direct_num_workers=many"], 2, "--direct_num_workers: invalid int value"),
    ],
)
def test_wrong_options_are_named(photos, tmp_path, capsys, options, status, message):
    if status == 2:
        with pytest.raises(SystemExit) as stop:
            build(photos, tmp_path / "out", *options)
        assert stop.value.code == 2
    else:
        assert build(photos, tmp_path / "out", *options) == status
    assert message in capsys.readouterr().err


@pytest.fixture
def job_service(tmp_path):
    """Beam's own job service in a process of its own, which jobs reach as they reach Flink's and Spark's; its port."""
    port = tmp_path / "port"
    command = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main", "--port_file", port]
    with (tmp_path / "service.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--staging_dir", tmp_path / "staged"], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + 60
            while not port.exists() or not port.read_text():
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.1)
            yield port.read_text()
        finally:
            process.terminate()
            process.wait()


@pytest.mark.slow
def test_a_job_service_makes_the_bytes_of_one_process(photos, tmp_path, job_service):
    service = ["--beam", "--runner=PortableRunner", f"--job_endpoint=localhost:{job_service}"]
    assert build(photos, tmp_path / "alone", "--workers", "1") == 0
    assert build(photos, tmp_path / "beam", *service, "--environment_type=LOOPBACK") == 0
    assert contents(tmp_path / "beam") == contents(tmp_path / "alone")


@pytest.mark.slow
def test_a_service_that_has_no_workers_is_told_in_a_line(photos, tmp_path, job_service, capsys):
    service = ["--beam", "--runner=PortableRunner", f"--job_endpoint=localhost:{job_service}"]
    workers = ["--environment_type=PROCESS", '--environment_config={"command": "/nowhere"}']
    assert build(photos, tmp_path / "out", *service, *workers) == 1
    errors = capsys.readouterr().err
    last = errors[errors.rindex("capjax prepare jsonl:") :]
    assert "the Beam job failed: KeyError: 'beam:env:process:v1'" in last
    assert f"Its workers must see {tmp_path / 'out.partial'} under this name" in last


def test_media_and_shards_go_through_a_stage(photos, tmp_path):
    assert build(photos, tmp_path / "alone", "--workers", "1") == 0
    stage = tmp_path / "stage"
    assert build(photos, tmp_path / "beam", "--stage", str(stage), *BEAM) == 0
    assert contents(tmp_path / "beam") == contents(tmp_path / "alone")
    assert len(list((stage / "media").iterdir())) == 418  # of 420 one is missing and one is empty
    assert not list((stage / "shards").iterdir())


def shards_of(folder: Path, work_dir: Path) -> list[Shard]:
    """What the driver plans, with the folders that it makes."""
    splits, files = check_items(READERS.make("jsonl", folder), Report("jsonl", 0.1, strict=False))
    made = [shard for part in make_shards("jsonl", splits, files, Storage(), work_dir).values() for shard in part]
    clear_stale(work_dir, made)
    return made


def through_a_stage(shard: Shard, folder: Path, stage: StagingFolder):
    """Makes a shard as a worker does that sees the stage alone."""
    (task,) = stage.send([shard])
    aside = folder.rename(folder.with_name("aside"))
    task.make(lambda count: None)
    aside.rename(folder)
    assert not shard.path.exists()


def test_a_worker_needs_nothing_but_the_stage(photos, tmp_path):
    stage = StagingFolder(str(tmp_path / "stage"))
    shard = next(s for s in shards_of(photos, tmp_path / "work") if "0018.jpg" in [item.id for item in s.items])
    through_a_stage(shard, photos, stage)
    ((name, report),) = stage.fetch({"it": shard})
    staged = shard.path.read_bytes()
    assert (name, report) == ("it", write_shard(shard))
    assert shard.path.read_bytes() == staged
    assert [problem.id for problem in report.problems if problem.kind == "damaged"] == ["0018.jpg"]


def test_what_is_said_of_a_staged_video_names_the_users_own_file(tmp_path):
    folder, stage = tmp_path / "videos", StagingFolder(str(tmp_path / "stage"))
    folder.mkdir()
    (folder / "captions.jsonl").write_text('{"video": "a.mp4", "captions": ["A cat."], "split": "train"}\n')
    (folder / "a.mp4").write_bytes(b"no video at all" * 100)
    (shard,) = shards_of(folder, tmp_path / "work")
    through_a_stage(shard, folder, stage)
    ((_, report),) = stage.fetch({"it": shard})
    assert report == write_shard(shard)
    assert str(folder / "a.mp4") in report.problems[0].message


def test_a_stage_that_cannot_be_written_is_named(photos, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert build(photos, tmp_path / "out", "--stage", str(tmp_path / "file/stage"), *BEAM) == 1
    assert f"--stage {tmp_path / 'file/stage'}: cannot be written" in capsys.readouterr().err


def test_a_worker_stops_when_it_is_asked_to(tmp_path):
    (tmp_path / "stop").touch()
    assert beam._write(None, str(tmp_path / "stop")) is None  # it does not so much as look at its shard
