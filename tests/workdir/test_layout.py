"""The paths of a workdir, its lock, and the errors for a folder that holds no run."""

import pytest

from capjax.config import ConfigError
from capjax.workdir.layout import Workdir, checkpoint_steps
from tests.helpers.disks import permissions_checked


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no trained model here \(config.json is missing\)"):
        Workdir(tmp_path / "none").config()


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("config.json", Workdir.config),
        ("media.json", Workdir.media),
        ("encoder/encoder.json", Workdir.feature_shape),
    ],
)
@pytest.mark.parametrize("content", [b"", b'{"data": {"fra', b"\xff\xfe"])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path, name, read, content):
    (tmp_path / "encoder").mkdir()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{tmp_path / name} is .*damaged.*; copy .* again"):
        read(Workdir(tmp_path))


def test_one_run_at_a_time(tmp_path):
    with Workdir(tmp_path / "run").lock():
        with (
            pytest.raises(ConfigError, match=r"another run is training in .*run; wait until it ends"),
            Workdir(tmp_path / "run").lock(),
        ):
            pytest.fail("two runs in one folder")
        with Workdir(tmp_path / "other").lock():
            pass
    with Workdir(tmp_path / "run").lock():
        pass


def test_checkpoints_that_cannot_be_listed_are_not_taken_for_none(tmp_path):
    (tmp_path / "best/40").mkdir(parents=True)
    assert checkpoint_steps(tmp_path / "best") == [40]
    assert checkpoint_steps(tmp_path / "checkpoints") == []
    (tmp_path / "best").chmod(0)
    try:
        with permissions_checked(), pytest.raises(PermissionError, match="best"):
            checkpoint_steps(tmp_path / "best")
    finally:
        (tmp_path / "best").chmod(0o755)
