"""Bulk captioning on Apache Beam writes the files of one process."""

import os
import subprocess

import pytest

from tests.bulk.conftest import write_tar
from tests.helpers.kill_bulk import command
from tests.helpers.tiny_job import ROOT

pytest.importorskip("apache_beam", reason="pip install 'capjax[beam]'")


def test_two_beam_workers_write_the_shards_of_one_process(tiny, run, tmp_path):
    photos = sorted(tiny.photos.glob("*.jpg"))[:20]
    path = write_tar(tmp_path / "a.tar", [(each.name, each.read_bytes()) for each in photos])
    arguments = ["--input", str(path), f"{tiny.data}@val", "--prefix-ids", "--shard-size", "12"]
    assert run(*arguments, output=tmp_path / "alone")[0] == 0
    full = command("--workdir", str(tiny.trained()), *arguments, "--output", str(tmp_path / "out"), "--beam")
    environment = tiny.environment() | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [*full, "--direct_num_workers=2"], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "32 media: 32 captioned, 0 failed" in done.stdout
    files = {path.name for path in (tmp_path / "alone").iterdir()}
    assert {path.name for path in (tmp_path / "out").iterdir()} == files
    for name in files - {"manifest.json"}:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name


def test_options_that_beam_does_not_have_are_refused(tiny, run):
    status, _, err = run("--input", tiny.photos, "--beam", "--direct_num_worker=2")
    assert status == 1 and "Beam has no option --direct_num_worker" in err
    with pytest.raises(SystemExit):
        run("--input", tiny.photos, "--beam", "--shard-size=2")
