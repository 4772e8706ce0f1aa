"""Shell scripts and Dockerfiles pass the linters."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent  # where pip puts the linters


@pytest.mark.parametrize("path", ["slurm/train.sbatch", "tpu_vm/tpu.sh", "tpu_vm/worker.sh"])
def test_scripts_pass_shellcheck(path):
    subprocess.run([BIN / "shellcheck", ROOT / "launch" / path], check=True)


@pytest.mark.parametrize("name", ["train", "serving", "server", "beam"])
def test_dockerfiles_pass_hadolint(name):
    subprocess.run([BIN / "hadolint", ROOT / f"launch/docker/{name}.Dockerfile"], check=True)
